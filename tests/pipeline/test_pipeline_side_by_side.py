"""Runs whose folds train side by side: the same result as in turn, also when they were cut short."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pictures import QUICK, write_folder
from side_by_side_jobs import all_but_the_first

import labelscrub
from labelscrub import training
from labelscrub.errors import EnvironmentProblem
from labelscrub.records import Event, Progress, silent
from labelscrub.store import RunDirectory, read_arrays
from labelscrub.training import plan


@pytest.fixture
def side_by_side(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As with two threads, and images enough."""
    before = torch.get_num_threads()
    monkeypatch.setattr(plan, "SIDE_BY_SIDE_FROM", {"fast": 0})
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def detect(folder: Path, name: str, progress: Progress = silent, **settings: Any) -> dict[str, np.ndarray]:
    """The predictions of a run."""
    out = folder / name
    labelscrub.detect(folder / "images", out=out, workers=0, progress=progress, **{**QUICK, **settings})
    return read_arrays(out / "predictions.npz")


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for key in found:
        assert found[key].tobytes() == expected[key].tobytes(), key


class StopError(Exception):
    """Stands for a kill."""


def test_what_others_have_trained_is_kept_when_the_run_is_cut_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    write_folder(tmp_path / "images")
    expected = detect(tmp_path, "in-turn", folds=2)  # one thread, as each of two trainings on two has
    request.getfixturevalue("side_by_side")

    def stop(event: Event) -> None:
        if (tmp_path / "run" / "fold-1.npz").exists():
            raise StopError

    with monkeypatch.context() as patch:
        patch.setattr(training, "train_fold", all_but_the_first)
        with pytest.raises(StopError):
            detect(tmp_path, "run", stop, folds=2)
    assert not (tmp_path / "run" / "fold-0.npz").exists()
    messages: list[str] = []
    found = detect(tmp_path, "run", lambda event: messages.append(event.message), folds=2)
    assert any(message.startswith("fold-1 was trained before") for message in messages)
    assert not any(message.startswith("fold-0") for message in messages)
    assert_same(found, expected)


@pytest.mark.parametrize("method", ["aum", "calibrated"])
def test_every_method_repeats_its_bytes(tmp_path: Path, method: str, request: pytest.FixtureRequest) -> None:
    """Of calibrated the first fold has both threads, the others one each."""
    write_folder(tmp_path / "images")
    expected = detect(tmp_path, "in-turn", method=method) if method == "aum" else None
    request.getfixturevalue("side_by_side")
    found = detect(tmp_path, "run", method=method)
    assert_same(found, detect(tmp_path, "again", method=method) if expected is None else expected)


@pytest.mark.usefixtures("side_by_side")
def test_a_disk_that_loses_what_was_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path / "images")
    monkeypatch.setattr(RunDirectory, "get_arrays", lambda self, name: None)
    with pytest.raises(
        EnvironmentProblem, match=r"fold-0\.npz is not as it was written[\s\S]*check the disk"
    ):
        detect(tmp_path, "run", epochs=1)
