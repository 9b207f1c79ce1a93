"""What a plan decides, refuses and fingerprints."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from labelscrub.config import TrainingSettings
from labelscrub.errors import DataError, EnvironmentProblem, UsageError
from labelscrub.training import TrainingPlan, plan_training
from labelscrub.training.losses import make_loss
from labelscrub.training.networks import build_network
from labelscrub.training.plan import MOST_AT_ONCE, _side_by_side
from labelscrub.training.recipes import RECIPES, learning_rate, recipe_for

SHAPE = (100, 16, 16, 1)


def plan(shape: tuple[int, int, int, int] = SHAPE, num_classes: int = 3, **settings: Any) -> TrainingPlan:
    return plan_training(
        TrainingSettings(**{"device": "cpu", **settings}), shape=shape, num_classes=num_classes
    )


def test_defaults_come_from_the_recipe_and_the_loss() -> None:
    made = plan()
    assert (made.network, made.recipe) == ("fast", recipe_for("fast", images=100, side=16, channels=1))
    assert (made.loss, made.parameters, made.delay) == ("pz", {"cutoff": 0.02}, 1)
    assert (made.device, made.threads, made.start, made.notes) == ("cpu", torch.get_num_threads(), None, ())


def test_settings_win_over_the_recipe() -> None:
    made = plan(epochs=3, batch_size=7, lr=0.5, network="cifar-resnet34", loss="bl", gamma=0.7, delay=2)
    expected = dataclasses.replace(RECIPES["cifar-resnet34"], epochs=3, batch_size=7, lr=0.5)
    assert (made.recipe, made.parameters, made.delay) == (expected, {"gamma": 0.7}, 2)


@pytest.mark.parametrize(
    "settings",
    [
        {"loss": "ce"},
        {"cutoff": 0.03},
        {"delay": 2},
        {"epochs": 3},
        {"batch_size": 9},
        {"lr": 0.1},
        {"network": "mnist-cnn"},
        {"precision": "bf16"},
        {"seed": 1},
        {"shape": (101, 16, 16, 1)},
        {"shape": (100, 17, 17, 1)},
        {"shape": (100, 16, 16, 3)},
        {"num_classes": 4},
    ],
)
def test_fingerprint_tells_everything_that_changes_the_bytes(settings: dict[str, Any]) -> None:
    assert plan(**settings).fingerprint() != plan().fingerprint()


def test_fingerprint_is_json_and_names_the_machine() -> None:
    made = plan()
    fingerprint = json.loads(json.dumps(made.fingerprint()))
    assert fingerprint == made.fingerprint() == plan().fingerprint()
    assert fingerprint["torch"] == str(torch.__version__) and fingerprint["device_name"]
    assert dataclasses.replace(made, threads=made.threads + 1).fingerprint() != fingerprint
    assert dataclasses.replace(made, side_by_side=True).fingerprint() != fingerprint
    assert dataclasses.replace(made, device_name="another").fingerprint() != fingerprint


def test_weights_belong_to_the_fingerprint_by_their_bytes(tmp_path: Path) -> None:
    def saved(name: str) -> str:
        torch.save(build_network("fast", side=16, channels=1, outputs=3).state_dict(), tmp_path / name)
        return str(tmp_path / name)

    one, two = saved("one.pt"), saved("two.pt")
    first, second = (plan(network="fast", weights=path) for path in (one, two))
    assert first.fingerprint() != second.fingerprint()
    assert "trained on these very labels" in first.notes[0]


def test_weights_that_do_not_fit_are_refused_before_training(tmp_path: Path) -> None:
    torch.save(build_network("fast", side=16, channels=3, outputs=3).state_dict(), tmp_path / "w.pt")
    with pytest.raises(DataError, match="don't fit the network"):
        plan(network="fast", weights=str(tmp_path / "w.pt"))


@pytest.mark.parametrize(
    ("device", "error", "message"),
    [
        ("cuda", EnvironmentProblem, "no CUDA device was found"),
        ("cuda:1", EnvironmentProblem, "no CUDA device was found"),
        ("mps", EnvironmentProblem, "no MPS"),
        ("gpu", UsageError, "is not a device"),
        ("meta", UsageError, "is not supported"),
    ],
)
def test_devices_that_are_not_there(
    monkeypatch: pytest.MonkeyPatch, device: str, error: type[Exception], message: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(error, match=message):
        plan(device=device)
    assert plan(device="auto").device == "cpu"


def test_a_gpu_is_taken_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    made = plan(device="auto")
    assert (made.device, made.device_name, made.precision) == ("cuda:0", "NVIDIA H100", "bf16")
    assert plan(device="cuda:1").device == "cuda:1"
    with pytest.raises(EnvironmentProblem, match="2 found"):
        plan(device="cuda:2")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert plan(device="cuda").precision == "float32"


@pytest.mark.parametrize(("amx", "expected"), [(True, "bf16"), (False, "float32")])
def test_cpu_precision_goes_by_amx(monkeypatch: pytest.MonkeyPatch, amx: bool, expected: str) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    assert plan().precision == expected
    assert plan(precision="float32").precision == "float32"


def test_too_small_images_are_refused() -> None:
    with pytest.raises(UsageError, match="--image-size 7 is too small"):
        plan(shape=(100, 7, 7, 1))


def test_a_delay_that_never_ends_is_told() -> None:
    assert "never used" in plan(epochs=2, delay=2).notes[0]
    assert plan(epochs=3, delay=2).notes == ()


def test_how_bl_is_trained_is_told() -> None:
    (note,) = plan(loss="bl").notes
    assert "held constant in the gradient, which is --loss gce with q = gamma" in note
    assert plan(loss="gce").notes == ()
    (note,) = plan(loss="bl", epochs=2, delay=2).notes  # bl trains nothing here
    assert "never used" in note


def test_l1_belongs_to_the_loop_and_not_to_the_loss() -> None:
    made = plan(loss="anl-ce", l1=0.1, delay=0)
    assert made.parameters["l1"] == 0.1
    logits, labels = torch.eye(3), torch.tensor([0, 1, 1])
    expected = make_loss("anl-ce")(logits, labels)
    assert torch.equal(made.loss_at(1)(logits, labels), expected)


def test_planning_leaves_the_global_generator_alone(tmp_path: Path) -> None:
    torch.save(build_network("fast", side=16, channels=1, outputs=3).state_dict(), tmp_path / "w.pt")
    before = torch.get_rng_state()
    plan(network="fast", weights=str(tmp_path / "w.pt"))
    assert torch.equal(torch.get_rng_state(), before)


def test_lr_drop_is_the_recipes_factor() -> None:
    plan = plan_training(
        TrainingSettings(network="mnist-cnn", lr_drop=0.2), shape=(50, 28, 28, 1), num_classes=3
    )
    assert plan.recipe.step_factor == 0.2
    assert learning_rate(plan.recipe, 60, 100) == pytest.approx(0.2 * plan.recipe.lr)
    with pytest.raises(UsageError, match="--lr-drop has no effect on --network fast"):
        plan_training(TrainingSettings(network="fast", lr_drop=0.2), shape=(50, 28, 28, 1), num_classes=3)


@pytest.mark.parametrize(
    ("threads", "trainings", "share"),
    [
        (2, 1, (1, 2)),  # the first of --method calibrated
        (2, 2, (2, 1)),
        (2, 3, (3, 1)),
        (2, 4, (2, 1)),
        (2, 5, (3, 1)),
        (4, 5, (5, 1)),
        (4, 10, (6, 1)),
        (12, 5, (5, 2)),
        (16, 5, (5, 3)),
    ],
)
def test_trainings_share_the_threads(threads: int, trainings: int, share: tuple[int, int]) -> None:
    made = dataclasses.replace(plan(), threads=threads, side_by_side=True)
    assert made.share(trainings) == share
    assert dataclasses.replace(made, side_by_side=False).share(trainings) == (1, threads)


def test_no_thread_is_idle_while_there_is_work() -> None:
    """Trainings of one length, which share threads evenly, take as long as their work on all threads."""
    for threads in range(1, 9):
        made = dataclasses.replace(plan(), threads=threads, side_by_side=True)
        for trainings in range(threads, 40):
            at_once, of_each = made.share(trainings)
            assert of_each == 1 and at_once <= min(trainings, MOST_AT_ONCE)
            if min(trainings, threads + trainings % threads) > MOST_AT_ONCE:
                continue  # memory counts for more
            first = at_once / threads  # of one training's length; then a thread each
            last, rest = divmod(trainings - at_once, threads)
            assert rest == 0 and first + last == pytest.approx(trainings / threads)


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


LARGE = (10_000, 28, 28, 1)


@pytest.mark.parametrize(
    ("shape", "trainings", "settings", "side_by_side"),
    [
        (LARGE, 5, {}, True),
        (LARGE, 5, {"epochs": 1}, True),
        (LARGE, 5, {"epochs": 1, "network": "mnist-cnn"}, True),
        (LARGE, 1, {}, False),
        ((1797, 8, 8, 1), 5, {}, False),  # the demo
        ((1797, 28, 28, 1), 5, {"epochs": 2}, False),
        ((1797, 28, 28, 1), 5, {"epochs": 2, "network": "mnist-cnn"}, True),
        (LARGE, 5, {"network": "resnet18"}, False),
        ((400_000, 64, 64, 1), 5, {}, False),  # a store that is read in chunks
    ],
)
@pytest.mark.usefixtures("two_threads")
def test_small_networks_with_much_to_do_go_side_by_side(
    shape: tuple[int, int, int, int], trainings: int, settings: dict[str, Any], side_by_side: bool
) -> None:
    def made() -> TrainingPlan:
        chosen = TrainingSettings(**{"device": "cpu", **settings})
        return plan_training(chosen, shape=shape, num_classes=3, trainings=trainings)

    assert made().side_by_side is side_by_side
    torch.set_num_threads(1)  # as OMP_NUM_THREADS=1 does
    assert not made().side_by_side
    assert not _side_by_side(torch.device("cuda"), 16, "fast", trainings, 100, LARGE)
