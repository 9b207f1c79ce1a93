"""Recorded steps: the same bytes as steps that run as they are, whatever changes between them."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pretended_graph
import pytest
import torch
from training_cases import CLASSES, images, plan, same

from labelscrub.records import Event, silent
from labelscrub.training import TrainingPlan, assign_folds, capture, loop, train_fold
from labelscrub.training.batches import Batches
from labelscrub.training.capture import WARM_UP, Record, Steps, steps_on


def train(
    made: TrainingPlan, pixels: np.ndarray, label: np.ndarray, tell: Callable[[Event], None] = silent
) -> list[np.ndarray]:
    """All that a training leaves: dynamics, weights, and the next random number."""
    with loop.reproducible(made, 1):
        batches = Batches.on(torch.device("cpu"), pixels, np.arange(len(label)), imagenet=False)
        batches = dataclasses.replace(batches, resident=torch.from_numpy(pixels))  # as on a GPU
        network = loop.new_network(made, CLASSES)
        seen = torch.zeros(len(label), CLASSES)
        dynamics = loop.train_network(
            network,
            batches,
            np.arange(len(label)),
            label,
            made,
            seed=1,
            part=loop.Part(1, 1),
            progress=tell,
            keep_probabilities=True,
            keep_p_given=True,
            after_epoch=lambda network: loop.add_logits(seen, network, batches, np.arange(len(label)), made),
        )
        left = [value.numpy() for value in network.state_dict().values()]
        left += [seen.numpy(), torch.rand(1).numpy()]
    assert dynamics.probabilities is not None and dynamics.p_given is not None
    left += [dynamics.aum, dynamics.late_margin, dynamics.probabilities, dynamics.p_given]
    return [*left, np.array([[record.loss, record.accuracy] for record in dynamics.history])]


class Recorder:
    """Puts pretended graphs in place of no graphs, and counts them."""

    def __init__(self, record: Record = pretended_graph.record) -> None:
        self.recorded, self.replayed, self.record_one = 0, 0, record

    @contextlib.contextmanager
    def steps_on(
        self, device: torch.device, optimizer: Any, tell: Callable[[str], None], *, resident: bool
    ) -> Iterator[Steps]:
        assert resident
        yield Steps(lambda: self.record, tell)

    def record(self, call: capture.Replay) -> capture.Replay:
        replay = self.record_one(call)
        self.recorded += 1

        def counted() -> None:
            self.replayed += 1
            replay()

        return counted


@pytest.mark.parametrize(
    ("network", "channels", "settings", "recipe", "graphs"),
    [
        # 50 images in batches of 8: each epoch one of 8 and six of 7. Cross-entropy first, then another loss.
        ("fast", 3, {"loss": "pz", "cutoff": 0.1, "delay": 1}, {}, 3),
        ("fast", 3, {"loss": "ce"}, {"augment_colour": False}, 2),
        ("mnist-cnn", 1, {"loss": "anl-ce", "l1": 1e-4, "delay": 0}, {}, 2),
        ("mnist-cnn", 1, {"loss": "gce", "delay": 6}, {"schedule": "step", "step_factor": 0.1}, 2),
        ("fast", 1, {"loss": "ce", "precision": "bf16"}, {"optimizer": "sgd", "weight_decay": 1e-3}, 2),
    ],
)
def test_recorded_steps_leave_the_same_bytes(
    monkeypatch: pytest.MonkeyPatch,
    network: str,
    channels: int,
    settings: dict[str, Any],
    recipe: dict[str, Any],
    graphs: int,
) -> None:
    pixels, label = images(50, side=8, channels=channels)
    made = plan(pixels, network=network, epochs=6, batch_size=8, lr=0.01, **settings)
    made = dataclasses.replace(made, recipe=dataclasses.replace(made.recipe, **recipe))
    eager = train(made, pixels, label)
    recorder, notes = Recorder(), list[str]()
    monkeypatch.setattr(loop, "steps_on", recorder.steps_on)
    recorded = train(made, pixels, label, lambda event: notes.append(event.message))
    assert [a.tobytes() for a in recorded] == [a.tobytes() for a in eager]
    assert not any(notes)
    assert recorder.recorded == graphs
    # 7 batches in each of 6 epochs; one in each is of 8 images. With a delay of 1 the first 7 ran before.
    assert recorder.replayed == (6 * 7 - 2 * WARM_UP if graphs == 2 else 35 - 2 * WARM_UP + 3)


def test_a_pretended_graph_does_not_notice_what_python_decides() -> None:
    """Else the test above could not fail."""
    factor, total = 2.0, torch.zeros(3)

    def step(values: torch.Tensor) -> None:
        total.add_(values * factor + torch.rand(3))

    steps = Steps(lambda: pretended_graph.record, print)
    torch.manual_seed(0)
    for _ in range(WARM_UP + 1):
        steps.run(step, torch.ones(3))
    factor = 5.0
    steps.run(step, torch.full((3,), 10.0))
    torch.manual_seed(0)
    expected = sum(torch.rand(3) for _ in range(WARM_UP + 2)) + 2 * (WARM_UP + 1) + 20
    torch.testing.assert_close(total, expected)
    steps.begin()
    total.zero_()
    steps.run(step, torch.ones(3))
    assert (total >= 5).all()


@pytest.mark.parametrize("fails_after", [0, 1])
def test_training_goes_on_where_recording_fails(monkeypatch: pytest.MonkeyPatch, fails_after: int) -> None:
    """Be it before or in the midst of the step."""

    def fail(call: capture.Replay) -> capture.Replay:
        if recorder.recorded < fails_after:
            return pretended_graph.record(call)
        with monkeypatch.context() as broken, pytest.raises(RuntimeError, match="asked"):
            broken.setattr(torch.Tensor, "argmax", ask)
            pretended_graph.record(call)
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nand more lines")

    def ask(tensor: torch.Tensor, dim: int) -> torch.Tensor:
        raise RuntimeError("asked")

    pixels, label = images(50)
    made = plan(pixels, network="mnist-cnn", epochs=5, batch_size=8)
    eager = train(made, pixels, label)
    recorder, notes = Recorder(fail), list[str]()
    monkeypatch.setattr(loop, "steps_on", recorder.steps_on)
    left = train(made, pixels, label, lambda event: notes.append(event.message))
    assert [a.tobytes() for a in left] == [a.tobytes() for a in eager]
    assert [note for note in notes if note] == [
        "NO CUDA GRAPHS, so small networks train slower: recording failed: "
        "CUDA error: operation not permitted when stream is capturing"
    ]


@pytest.mark.parametrize(
    "waits",
    [
        lambda values: values.sum().item(),
        lambda values: values[values > 0],
        lambda values: values.new_tensor(3),
    ],
)
def test_a_step_that_waits_for_the_device_is_told_of(waits: Callable[[torch.Tensor], object]) -> None:
    """So the trainings above, which have no such note, never do."""
    notes: list[str] = []
    steps = Steps(lambda: pretended_graph.record, notes.append)
    for _ in range(WARM_UP + 2):
        steps.run(waits, torch.ones(3))
    assert len(notes) == 1 and "not permitted" in notes[0]


def test_on_the_cpu_steps_run_as_they_are() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1)], fused=True)
    calls: list[tuple[int, ...]] = []
    with steps_on(torch.device("cpu"), optimizer, print, resident=True) as steps:
        for size in (3, 4, 3, 3, 3, 3):
            steps.run(lambda rows, where: calls.append((len(rows), len(where))), *torch.zeros(2, size))
    assert calls == [(3, 3), (4, 4), (3, 3), (3, 3), (3, 3), (3, 3)]


class Cuda:
    """What `steps_on` uses of torch.cuda, noting its use."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, optimizer: torch.optim.Optimizer) -> None:
        self.log: list[object] = []
        self.optimizer, self.pools = optimizer, 0
        for name in ("current_stream", "Stream", "stream", "graph_pool_handle", "CUDAGraph", "graph"):
            monkeypatch.setattr(torch.cuda, name, getattr(self, name))
        monkeypatch.setattr(torch.cuda, "default_generators", [self])
        monkeypatch.setattr(capture, "_own_stream", capture._own_stream.__wrapped__)  # keep no fake

    def clone_state(self) -> str:
        return "state before"

    def graphsafe_set_state(self, state: str) -> None:
        self.log.append(state)

    def current_stream(self, device: torch.device) -> FakeStream:
        return FakeStream("outer", self.log)

    def Stream(self, device: torch.device) -> FakeStream:  # noqa: N802
        return FakeStream("side", self.log)

    @contextlib.contextmanager
    def stream(self, stream: FakeStream) -> Iterator[None]:
        self.log.append(f"{stream.name} begins")
        yield
        self.log.append(f"{stream.name} ends")

    def graph_pool_handle(self) -> int:
        self.pools += 1
        return self.pools

    def CUDAGraph(self) -> Any:  # noqa: N802
        return SimpleNamespace(replay=lambda: self.log.append("replay"))

    @contextlib.contextmanager
    def graph(
        self, graph: object, *, pool: int, stream: FakeStream, capture_error_mode: str
    ) -> Iterator[None]:
        assert self.optimizer.param_groups[0]["capturable"]
        self.log.append((stream.name, pool, capture_error_mode))
        yield


@dataclasses.dataclass
class FakeStream:
    name: str
    log: list[object]
    device_index: int = 0

    def wait_stream(self, other: FakeStream) -> None:
        self.log.append(f"{self.name} waits for {other.name}")


def test_on_a_gpu_all_is_on_one_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    optimizer = torch.optim.Adam([torch.zeros(1)], fused=True)
    cuda = Cuda(monkeypatch, optimizer)

    def step(values: torch.Tensor) -> None:
        cuda.log.append(len(values))

    with pytest.raises(KeyError), steps_on(torch.device("cuda"), optimizer, print, resident=True) as steps:
        for size in (3, 2, 3, 3, 2, 2, 3, 2, 3):
            steps.run(step, torch.zeros(size))
        steps.begin()
        for _ in range(WARM_UP + 1):
            steps.run(step, torch.zeros(2))
        assert not optimizer.param_groups[0]["capturable"]
        raise KeyError
    both = ("side", 1, "thread_local")  # graphs of both sizes share a pool
    replays: list[object] = [both, 3, "replay", both, 2, "replay", "replay"]
    anew: list[object] = [2, 2, 2, ("side", 2, "thread_local"), 2, "replay"]
    assert cuda.log == [
        *("side waits for outer", "side begins", 3, 2, 3, 3, 2, 2),
        *replays,
        *anew,
        *("outer waits for side",),
    ]


def test_a_recording_that_fails_leaves_the_generator_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    optimizer = torch.optim.Adam([torch.zeros(1)], fused=True)
    cuda, notes = Cuda(monkeypatch, optimizer), list[str]()

    def step(values: torch.Tensor) -> None:
        if optimizer.param_groups[0]["capturable"]:
            raise RuntimeError("operation not permitted when stream is capturing\nmore")
        cuda.log.append(len(values))

    with steps_on(torch.device("cuda"), optimizer, notes.append, resident=True) as steps:
        for _ in range(WARM_UP + 2):
            steps.run(step, torch.zeros(3))
    assert not optimizer.param_groups[0]["capturable"]
    recorded = ("side", 1, "thread_local")
    assert cuda.log[2:-2] == [*[3] * WARM_UP, recorded, "state before", 3, 3]
    assert len(notes) == 1 and "operation not permitted when stream is capturing" in notes[0]


def test_steps_that_read_from_the_host_are_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    optimizer = torch.optim.Adam([torch.zeros(1)], fused=True)
    cuda, calls = Cuda(monkeypatch, optimizer), list[int]()
    with steps_on(torch.device("cuda"), optimizer, print, resident=False) as steps:
        for _ in range(WARM_UP + 2):
            steps.run(lambda values: calls.append(len(values)), torch.zeros(3))
    assert calls == [3] * (WARM_UP + 2) and not cuda.log


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("network", "channels"), [("fast", 3), ("mnist-cnn", 1), ("resnet18", 3)])
def test_graphs_on_a_gpu(monkeypatch: pytest.MonkeyPatch, network: str, channels: int) -> None:
    """The same bytes each time, and what steps without graphs give."""
    pixels, label = images(150, side=16, channels=channels)
    made = plan(pixels, network=network, epochs=5, batch_size=16, loss="pz", device="cuda")
    fold, notes = assign_folds(label, None, 3, 0), list[str]()
    graphs = [
        train_fold(pixels, label, fold, 0, CLASSES, made, lambda event: notes.append(event.message))
        for _ in range(2)
    ]
    assert not any(notes)
    assert same(*graphs)
    monkeypatch.setattr(capture, "WARM_UP", 10_000)
    eager = train_fold(pixels, label, fold, 0, CLASSES, made, silent)
    np.testing.assert_allclose(graphs[0].aum, eager.aum, rtol=1e-2, atol=1e-2)
    np.testing.assert_allclose(graphs[0].pred_probs, eager.pred_probs, atol=1e-2)
