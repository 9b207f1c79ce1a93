"""What torch says of the machine: true here, JSON-ready, and not an exception where a device is odd."""

from __future__ import annotations

import json

import pytest
import torch
import torchvision

from labelscrub.config import TrainingSettings
from labelscrub.training import environment, plan_training


def test_facts_are_those_a_plan_is_made_of() -> None:
    facts = environment.facts()
    assert json.loads(json.dumps(facts)) == facts
    made = plan_training(TrainingSettings(), shape=(100, 16, 16, 1), num_classes=3)
    assert (facts["device"], facts["device_name"]) == (made.device, made.device_name)
    assert (facts["precision"], facts["threads"]) == (made.precision, made.threads)
    assert facts["torch"] == torch.__version__
    assert len(facts["cuda"]) == torch.cuda.device_count() or not torch.cuda.is_available()


def test_this_device_computes_and_torchvision_loads() -> None:
    assert environment.try_device() == ""
    assert environment.try_torchvision() == {"version": torchvision.__version__, "problem": ""}


def test_packages_load_and_one_that_does_not_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment.try_packages() == {}
    monkeypatch.setitem(environment.COMPILED, "numpy", "numpy.no_such_module")
    monkeypatch.setitem(environment.COMPILED, "not-installed-at-all", "os")
    said = {"numpy": "ModuleNotFoundError: No module named 'numpy.no_such_module'"}
    assert environment.try_packages() == said


def test_a_device_that_computes_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "choose_device", lambda asked: torch.device("meta"))
    assert environment.try_device().startswith(("RuntimeError: ", "NotImplementedError: "))


def test_a_device_that_computes_wrongly_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.nn.functional, "conv2d", lambda images, weights: torch.zeros(2, 4, 6, 6))
    assert environment.try_device() == "computed 0 where 7776 is right"


def test_operators_that_are_missing_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*arguments: object) -> None:
        raise RuntimeError("operator torchvision::nms does not exist\nand a second line")

    monkeypatch.setattr(torchvision.ops, "nms", missing)
    said = {"problem": "RuntimeError: operator torchvision::nms does not exist"}
    assert environment.try_torchvision() == said


def test_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "NVIDIA H100")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (3, 4))
    facts = environment.facts()
    assert facts["cuda"] == [{"name": "NVIDIA H100", "capability": "9.0", "free": 3, "total": 4}]
    assert (facts["device"], facts["precision"], facts["cuda_problem"]) == ("cuda:0", "bf16", "")


def test_why_there_is_no_gpu_is_torchs_first_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise RuntimeError("The driver is too old (found version 12). Please update.\nMore: https://x")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "13.2")
    monkeypatch.setattr(torch.cuda, "init", fail)
    assert environment._why_no_cuda() == "The driver is too old (found version 12)"
    monkeypatch.setattr(torch.version, "cuda", None)
    assert environment._why_no_cuda() == ""
