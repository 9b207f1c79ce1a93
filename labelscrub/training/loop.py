"""The training loop: one network, one set of images, its predictions and its training dynamics."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from labelscrub.errors import EnvironmentProblem, ModelError
from labelscrub.records import EpochRecord, Event, Progress
from labelscrub.training.batches import Batches, draw_moves
from labelscrub.training.capture import steps_on
from labelscrub.training.networks import build_network
from labelscrub.training.plan import TrainingPlan
from labelscrub.training.recipes import learning_rate
from labelscrub.training.step import TrainingStep
from labelscrub.training.weights import load_weights

EVENT_EVERY = 0.25  # seconds
PREDICT_ON_CPU = 64  # images
PREDICT_LEAST, PREDICT_MOST, PREDICT_PIXELS = 256, 2048, 1 << 22  # images, images, pixels, on a GPU
LATE = 0.3  # share of the epochs, the last ones, of the late margin
KEPT = 32_000_000  # bytes, see `_keep_memory`; glibc takes no more than 32 MiB


@dataclass(frozen=True)
class Part:
    """Which of the trainings this is, for progress and messages."""

    number: int
    """From 1."""
    of: int
    kind: str = "fold"
    """fold, or run for the threshold runs of AUM."""

    def __str__(self) -> str:
        return f"{self.kind} {self.number}"


@dataclass(frozen=True, eq=False)
class Dynamics:
    """What the forward passes of training told about each image, at no extra pass."""

    aum: NDArray[np.float32]
    """(n,) margin of the given label in logits, mean over the epochs (paper, section 3.1)."""
    late_margin: NDArray[np.float32]
    """(n,) the same over the last max(1, round(0.3 epochs)) of them alone."""
    probabilities: NDArray[np.float32] | None
    """(n, outputs) softmax, mean over the epochs; None where not asked for."""
    p_given: NDArray[np.float32] | None
    """(epochs, n) probability of the given label in the pass that trained on it; None where not asked for."""
    history: tuple[EpochRecord, ...]


def new_network(plan: TrainingPlan, outputs: int) -> nn.Module:
    """The plan's network on its device, from its starting weights; draws from torch's global generator."""
    network = build_network(plan.network, side=plan.side, channels=plan.channels, outputs=outputs)
    if plan.start is not None:
        load_weights(network, plan.start)
    # mypy: nn.Module.to has no overload for memory_format with a device
    return network.to(device=plan.device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def train_network(
    network: nn.Module,
    batches: Batches,
    index: NDArray[np.int64],  # (n,) images to train on
    labels: NDArray[np.integer],  # (n,) their labels, in 0..outputs-1
    plan: TrainingPlan,
    *,
    seed: int,
    part: Part,
    progress: Progress,
    keep_probabilities: bool = False,
    keep_p_given: bool = False,
    after_epoch: Callable[[nn.Module], None] | None = None,
) -> Dynamics:
    """Train in place. Loss, accuracy and margins add up on the device; one copy an epoch comes back.

    `after_epoch` may put the network into evaluation mode and look; it must draw no random numbers.
    """
    recipe, device, n = plan.recipe, torch.device(plan.device), len(index)
    # Batches of nearly one size: none of a single image, which batch norm can't take.
    count = max(1, min(-(-n // recipe.batch_size), n // 2))
    generator = torch.Generator().manual_seed(seed)
    rows = torch.from_numpy(index)
    given = torch.from_numpy(labels.astype(np.int64)).to(device)
    step = TrainingStep(network, batches, given, plan, keep_probabilities, keep_p_given)
    late = max(1, round(LATE * recipe.epochs))
    early_margins = torch.zeros(n, device=device)
    traces, history = [], []
    news = _News(progress, part, plan, total=n * recipe.epochs)
    network.train()
    with steps_on(device, step.optimizer, news.tell, resident=batches.resident is not None) as steps:
        for epoch in range(1, recipe.epochs + 1):
            if epoch == plan.delay + 1 and plan.loss != "ce":
                step.loss_of = plan.loss_at(epoch)
                steps.begin()
            if epoch == recipe.epochs - late + 1:
                early_margins.copy_(step.margins)
                step.margins.zero_()
            order = batches.order(rows, generator)
            inputs: list[Sequence[Tensor]] = [
                batches.place(rows[order]).tensor_split(count),
                order.to(device).tensor_split(count),
            ]
            if recipe.augment_colour and plan.channels == 3:
                moves = draw_moves(n, plan.side, generator).to(device)
                inputs.append([piece.contiguous() for piece in moves.tensor_split(count, dim=1)])
            for number, batch in enumerate(zip(*inputs, strict=True), start=(epoch - 1) * count):
                step.rate.fill_(learning_rate(recipe, number, recipe.epochs * count))
                steps.run(step, *batch)
                news.step(epoch, len(batch[0]))
            mean_loss, accuracy = (step.loss_and_correct / n).tolist()
            step.loss_and_correct.zero_()
            if not np.isfinite(mean_loss):
                raise ModelError(
                    f"training diverged in {part}, epoch {epoch}: the loss is not finite",
                    f"lower --lr (it was {recipe.lr:g}), or choose another --network or --loss",
                )
            history.append(EpochRecord(part.number, epoch, mean_loss, accuracy))
            news.epoch(history[-1])
            if step.p_given is not None:
                traces.append(step.p_given.cpu().numpy().copy())
            if after_epoch is not None:
                after_epoch(network)
                network.train()
    aum = ((early_margins + step.margins) / recipe.epochs).cpu().numpy()
    if not np.isfinite(aum).all():
        raise ModelError(f"training diverged in {part}: the logits are not finite", "lower --lr")
    mean = None if step.probabilities is None else (step.probabilities / recipe.epochs).cpu().numpy()
    late_margin = (step.margins / late).cpu().numpy()
    return Dynamics(aum, late_margin, mean, np.stack(traces) if traces else None, tuple(history))


def predict(
    network: nn.Module,
    batches: Batches,
    index: NDArray[np.int64],  # (M,)
    plan: TrainingPlan,
    part: Part,
) -> NDArray[np.float32]:  # (M, K)
    """Softmax probabilities of images not trained on; a ModelError where one is not finite."""
    network.eval()
    places = batches.place(torch.from_numpy(index))
    shifts = plan.recipe.views
    # Filled in place: a small tensor kept from each batch would stand between the large ones in the heap.
    found = torch.zeros(len(index), plan.num_classes, device=plan.device)
    size = _predict_batch(plan)
    with torch.inference_mode():
        for where, total in zip(torch.split(places, size), torch.split(found, size), strict=True):
            for images in _shifted(batches.read(where), shifts):
                with torch.autocast(batches.device.type, torch.bfloat16, enabled=plan.precision == "bf16"):
                    logits = network(images)
                total += logits.float().softmax(1)
            total /= len(shifts)
    pred_probs = found.cpu().numpy()
    if not np.isfinite(pred_probs).all():
        raise ModelError(f"{part}'s predictions are not finite: training diverged", "lower --lr")
    return pred_probs


def _shifted(
    images: Tensor,  # (B, C, S, S)
    shifts: Sequence[tuple[int, int]],  # (down, right) in pixels
) -> Iterator[Tensor]:
    """The images moved by each shift, mirrored at the border: slices of one padded batch."""
    side, reach = images.shape[2], max(abs(step) for shift in shifts for step in shift)
    padded = F.pad(images, (reach,) * 4, mode="reflect") if reach else images
    for down, right in shifts:
        yield padded[:, :, reach + down : reach + down + side, reach + right : reach + right + side]


def _predict_batch(plan: TrainingPlan) -> int:
    """Images at a time: what fits a core's cache on the CPU, what fills a GPU but not its memory there."""
    if torch.device(plan.device).type == "cpu":
        return PREDICT_ON_CPU
    return min(PREDICT_MOST, max(PREDICT_LEAST, PREDICT_PIXELS // plan.side**2))


def add_logits(
    total: Tensor,  # (M, K) on the device
    network: nn.Module,
    batches: Batches,
    index: NDArray[np.int64],  # (M,)
    plan: TrainingPlan,
) -> None:
    """Add the logits of images not trained on, each as it is: no shifted views."""
    network.eval()
    places = batches.place(torch.from_numpy(index))
    with torch.inference_mode():
        size = _predict_batch(plan)
        for where, part in zip(torch.split(places, size), torch.split(total, size), strict=True):
            with torch.autocast(batches.device.type, torch.bfloat16, enabled=plan.precision == "bf16"):
                logits = network(batches.read(where))
            part += logits.float()


def fold_seed(plan: TrainingPlan, *tags: int) -> int:
    """A seed for one training, so that its bytes do not depend on which were trained before it."""
    state = np.random.SeedSequence([plan.seed, *tags]).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))


@contextlib.contextmanager
def reproducible(plan: TrainingPlan, seed: int) -> Iterator[None]:
    """torch's global generators (weights, dropout) seeded, cuDNN deterministic; all as before afterwards.

    Also turns running out of memory into a sentence.
    """
    device = torch.device(plan.device)
    accelerator = {"cuda": torch.cuda, "mps": torch.mps}.get(device.type)
    cudnn = torch.backends.cudnn
    with torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext():
        before = torch.get_rng_state(), accelerator.get_rng_state() if accelerator else None
        flags = cudnn.deterministic, cudnn.benchmark
        try:
            # Timing algorithms against each other is faster, but may choose others the next time. TF32 stays
            # as torch has it, on in convolutions alone: GPUs that have it train in bf16 unless told not to.
            cudnn.deterministic, cudnn.benchmark = True, False
            torch.default_generator.manual_seed(seed)
            if accelerator:
                accelerator.manual_seed(seed)
            else:
                _keep_memory()
            yield
        except (RuntimeError, MemoryError) as error:
            if not _out_of_memory(error):
                raise
            size = plan.recipe.batch_size
            raise EnvironmentProblem(
                f"{plan.device} ran out of memory training {plan.network} on batches of {size} images",
                f"choose --batch-size {max(2, size // 2)} or a smaller --image-size",
            ) from error
        finally:
            cudnn.deterministic, cudnn.benchmark = flags
            torch.set_rng_state(before[0])
            if accelerator and before[1] is not None:
                accelerator.set_rng_state(before[1])


def _keep_memory() -> None:
    """Have the C library keep what a step frees for the next one, instead of handing it back to the system.

    glibc learns from what is freed: from now on blocks as large as this one are kept, up to twice its size in
    all. Else each step has the system clear 2,000 pages anew, 6 % of the paper's CNN's time.
    """
    torch.empty(KEPT, dtype=torch.uint8)


def _out_of_memory(error: Exception) -> bool:
    """The CPU's allocator raises a plain RuntimeError."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


class _News:
    """Progress of one training: `done` and `total` count images over its epochs."""

    def __init__(self, progress: Progress, part: Part, plan: TrainingPlan, total: int) -> None:
        self.progress, self.part, self.epochs, self.total = progress, part, plan.recipe.epochs, total
        self.done = 0
        self.start = self.last = time.monotonic()

    def step(self, epoch: int, images: int) -> None:
        self.done += images
        now = time.monotonic()
        if now - self.last >= EVENT_EVERY:
            self.last = now
            self._send(epoch)

    def tell(self, note: str) -> None:
        self.progress(Event("train", message=note))

    def epoch(self, record: EpochRecord) -> None:
        self._send(record.epoch, record.loss, record.accuracy)

    def _send(self, epoch: int, loss: float = float("nan"), accuracy: float = float("nan")) -> None:
        self.progress(
            Event(
                stage="train",
                done=self.done,
                total=self.total,
                unit="images",
                fold=self.part.number,
                folds=self.part.of,
                epoch=epoch,
                epochs=self.epochs,
                loss=loss,
                accuracy=accuracy,
                images_per_second=self.done / max(time.monotonic() - self.start, 1e-9),
            )
        )
