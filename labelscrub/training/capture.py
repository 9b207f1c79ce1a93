"""Training steps recorded once and replayed, so that a GPU need not wait for Python (CUDA graphs).

A replay runs the recorded kernels on the same memory again. So what changes from step to step is in tensors
that stay where they are, and what Python decides (sizes, the loss) is fixed by recording.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache, partial

import torch
from torch import Tensor

Step = Callable[..., None]
"""Called with tensors that are new for each step; all else that changes, it reads from memory that stays."""
Replay = Callable[[], None]
Record = Callable[[Replay], Replay]
"""Takes a call and returns what repeats it; recording itself runs nothing. A RuntimeError where it can't."""

WARM_UP = 3  # steps that run before one is recorded, as in torch's notes: they set up libraries and optimizer


class Steps:
    """Runs a training's steps: as they are, or recorded ones again."""

    def __init__(self, start_recording: Callable[[], Record] | None, tell: Callable[[str], None]) -> None:
        """`start_recording` is None where all steps run as they are; `tell` takes a note for the user."""
        self.start_recording, self.tell = start_recording, tell
        self.begin()

    def begin(self) -> None:
        """From here on steps do something else: what was recorded no longer holds, and is freed."""
        self.recorded: dict[tuple[torch.Size, ...], tuple[tuple[Tensor, ...], Replay]] = {}
        self.runs: Counter[tuple[torch.Size, ...]] = Counter()
        # A new one, as graphs share memory that is gone with the last of them.
        self.record = self.start_recording() if self.start_recording else None

    def run(self, step: Step, *inputs: Tensor) -> None:
        """One step on these inputs. Each shape of inputs is recorded for itself, after its own warm-up."""
        shapes = tuple(tensor.shape for tensor in inputs)
        self.runs[shapes] += 1
        if self.record is None or self.runs[shapes] <= WARM_UP:
            step(*inputs)
            return
        if shapes not in self.recorded:
            held = tuple(tensor.clone() for tensor in inputs)
            try:
                self.recorded[shapes] = held, self.record(partial(step, *held))
            except RuntimeError as error:
                self.start_recording = self.record = None
                self.recorded.clear()
                reason = str(error).partition("\n")[0]
                self.tell(f"NO CUDA GRAPHS, so small networks train slower: recording failed: {reason}")
                step(*inputs)
                return
        held, replay = self.recorded[shapes]
        for mine, new in zip(held, inputs, strict=True):
            mine.copy_(new)
        replay()


@contextlib.contextmanager
def steps_on(
    device: torch.device,
    optimizer: torch.optim.Optimizer,
    tell: Callable[[str], None],
    *,
    resident: bool,
) -> Iterator[Steps]:
    """Recorded on a CUDA device that holds the images; else as they are, for then a step reads from the host.

    A recorded training is all on one stream of its own, as the default one can't be recorded.
    """
    if device.type != "cuda" or not resident:
        yield Steps(None, tell)
        return
    outer, stream = torch.cuda.current_stream(device), _own_stream(device)
    stream.wait_stream(outer)
    try:
        with torch.cuda.stream(stream):
            yield Steps(partial(_cuda_graphs, stream, optimizer), tell)
    finally:
        outer.wait_stream(stream)


@cache
def _own_stream(device: torch.device) -> torch.cuda.Stream:
    """One for all trainings: each stream has memory of its own that is never freed."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def _cuda_graphs(stream: torch.cuda.Stream, optimizer: torch.optim.Optimizer) -> Record:
    """Graphs that share the memory of their activations: no two run at once, and none reads the other's."""
    pool = torch.cuda.graph_pool_handle()

    def record(call: Replay) -> Replay:
        graph = torch.cuda.CUDAGraph()
        random = torch.cuda.default_generators[stream.device_index]
        before = random.clone_state()
        # Fused optimizers keep their state on the device either way; set while recording alone, as torch
        # warns where a capturable one steps without a graph.
        _set_capturable(optimizer, True)
        try:
            # thread_local: another thread's allocation must not break this recording.
            with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
                call()
        except RuntimeError:
            # What ends a recording tells the generator so, but not where it fails: dropout would then raise.
            random.graphsafe_set_state(before)
            raise
        finally:
            _set_capturable(optimizer, False)
        return graph.replay

    return record


def _set_capturable(optimizer: torch.optim.Optimizer, capturable: bool) -> None:
    for group in optimizer.param_groups:
        group["capturable"] = capturable
