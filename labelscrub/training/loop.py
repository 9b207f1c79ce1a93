"""The training loop: one network, one set of images, its predictions and its training dynamics."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from labelscrub.errors import EnvironmentProblem, ModelError
from labelscrub.records import EpochRecord, Event, Progress
from labelscrub.training.batches import Batches, draw_moves
from labelscrub.training.losses import l1_norm
from labelscrub.training.networks import build_network
from labelscrub.training.plan import TrainingPlan
from labelscrub.training.recipes import Recipe, learning_rate
from labelscrub.training.weights import load_weights

ANL_CLIP_NORM = 5.0  # Ye et al. 2023, published configuration
EVENT_EVERY = 0.25  # seconds
PREDICT_BATCH = 512  # images
LATE = 0.3  # share of the epochs, the last ones, of the late margin


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
    steps = max(1, min(-(-n // recipe.batch_size), n // 2))
    generator = torch.Generator().manual_seed(seed)
    rows = torch.from_numpy(index)
    given = torch.from_numpy(labels.astype(np.int64)).to(device)
    optimizer = _optimizer(network, recipe)
    margins, late_margins = torch.zeros(n, device=device), torch.zeros(n, device=device)
    late = max(1, round(LATE * recipe.epochs))
    probabilities: Tensor | None = None
    p_given = torch.zeros(recipe.epochs, n, device=device) if keep_p_given else None
    history = []
    news = _News(progress, part, plan, total=n * recipe.epochs)
    network.train()
    for epoch in range(1, recipe.epochs + 1):
        loss_of = plan.loss_at(epoch)
        order = torch.randperm(n, generator=generator)
        moves = None
        if recipe.augment_colour and plan.channels == 3:
            moves = draw_moves(n, plan.side, generator).to(device).tensor_split(steps, dim=1)
        places = batches.place(rows[order]).tensor_split(steps)
        loss_sum, correct = torch.zeros((), device=device), torch.zeros((), device=device)
        for step, where in enumerate(order.to(device).tensor_split(steps)):
            rate = learning_rate(recipe, (epoch - 1) * steps + step, recipe.epochs * steps)
            for group in optimizer.param_groups:
                group["lr"] = rate
            images = batches.read(places[step], moves[step] if moves else None)
            target = given[where]
            with torch.autocast(device.type, torch.bfloat16, enabled=plan.precision == "bf16"):
                logits = network(images)
            logits = logits.float()  # (B, outputs)
            losses = loss_of(logits, target)
            optimizer.zero_grad(set_to_none=True)
            _total(losses, network, plan).backward()  # type: ignore[no-untyped-call]
            if plan.loss.startswith("anl"):
                nn.utils.clip_grad_norm_(network.parameters(), ANL_CLIP_NORM)
            optimizer.step()
            with torch.no_grad():
                found = margin(logits, target)
                margins.index_add_(0, where, found)
                if epoch > recipe.epochs - late:
                    late_margins.index_add_(0, where, found)
                loss_sum += losses.sum()
                correct += (logits.argmax(1) == target).sum()
                if keep_probabilities:
                    if probabilities is None:
                        probabilities = torch.zeros(n, logits.shape[1], device=device)
                    probabilities.index_add_(0, where, logits.softmax(1))
                if p_given is not None:
                    p_given[epoch - 1, where] = logits.softmax(1).gather(1, target.unsqueeze(1)).squeeze(1)
            news.step(epoch, len(where))
        mean_loss, accuracy = (torch.stack([loss_sum, correct]) / n).tolist()
        if not np.isfinite(mean_loss):
            raise ModelError(
                f"training diverged in {part}, epoch {epoch}: the loss is not finite",
                f"lower --lr (it was {recipe.lr:g}), or choose another --network or --loss",
            )
        history.append(EpochRecord(part.number, epoch, mean_loss, accuracy))
        news.epoch(history[-1])
        if after_epoch is not None:
            after_epoch(network)
            network.train()
    aum, late_margin = (margins / recipe.epochs).cpu().numpy(), (late_margins / late).cpu().numpy()
    if not np.isfinite(aum).all():
        raise ModelError(f"training diverged in {part}: the logits are not finite", "lower --lr")
    mean_probabilities = None if probabilities is None else (probabilities / recipe.epochs).cpu().numpy()
    trace = None if p_given is None else p_given.cpu().numpy()
    return Dynamics(aum, late_margin, mean_probabilities, trace, tuple(history))


def _optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            network.parameters(),
            lr=recipe.lr,
            momentum=0.9,
            nesterov=True,
            weight_decay=recipe.weight_decay,
            fused=True,
        )
    return torch.optim.Adam(network.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True)


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
    views = [torch.tensor([[down], [right], [0]], device=plan.device) for down, right in plan.recipe.views]
    found = [torch.zeros(0, plan.num_classes, device=plan.device)]
    with torch.inference_mode():
        for where in torch.split(places, PREDICT_BATCH):
            total = torch.zeros(len(where), plan.num_classes, device=plan.device)
            for shift, view in zip(plan.recipe.views, views, strict=True):
                # `shift`, as asking `view` would wait for the GPU.
                images = batches.read(where, view.expand(3, len(where)) if any(shift) else None)
                with torch.autocast(batches.device.type, torch.bfloat16, enabled=plan.precision == "bf16"):
                    logits = network(images)
                total += logits.float().softmax(1)
            found.append(total / len(views))
    pred_probs = torch.cat(found).cpu().numpy()
    if not np.isfinite(pred_probs).all():
        raise ModelError(f"{part}'s predictions are not finite: training diverged", "lower --lr")
    return pred_probs


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
        for where, part in zip(
            torch.split(places, PREDICT_BATCH), torch.split(total, PREDICT_BATCH), strict=True
        ):
            with torch.autocast(batches.device.type, torch.bfloat16, enabled=plan.precision == "bf16"):
                logits = network(batches.read(where))
            part += logits.float()


def margin(
    logits: Tensor,  # (B, K)
    labels: Tensor,  # (B,)
) -> Tensor:  # (B,)
    """Logit of the given label minus the largest other logit (paper, section 3.1)."""
    given = labels.unsqueeze(1)
    others = logits.scatter(1, given, -torch.inf).amax(1)
    return logits.gather(1, given).squeeze(1) - others


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
            cudnn.deterministic, cudnn.benchmark = True, False
            torch.default_generator.manual_seed(seed)
            if accelerator:
                accelerator.manual_seed(seed)
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


def _out_of_memory(error: Exception) -> bool:
    """The CPU's allocator raises a plain RuntimeError."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def _total(losses: Tensor, network: nn.Module, plan: TrainingPlan) -> Tensor:
    """Mean of a batch's losses (B,), plus the ANL losses' L1 term."""
    mean = losses.mean()
    weight = plan.parameters.get("l1", 0.0)
    return mean + weight * l1_norm(network.parameters()) if weight else mean


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
