"""What exactly will be trained, on what: every default resolved before the first image is touched."""

from __future__ import annotations

import dataclasses
import math
import platform
from dataclasses import dataclass
from typing import Any

import torch

from labelscrub.config import TrainingSettings, loss_delay, loss_parameters
from labelscrub.errors import EnvironmentProblem, UsageError
from labelscrub.training.chunks import IN_CHUNKS_ABOVE
from labelscrub.training.losses import Loss, scheduled
from labelscrub.training.networks import build_network, choose_network
from labelscrub.training.recipes import RECIPES, Recipe, recipe_for
from labelscrub.training.weights import StartingWeights, find_weights, load_weights

SMALLEST_SIDE = 8  # px: below, the networks' own grids run out
# Networks too small to keep all cores busy, and how many images of 28 px, each as often as it is trained on,
# the further processes must take over to be worth loading torch for: 2.5 s each. Not the ResNets: their
# convolutions are large enough to share among threads, and so are their activations to fill the memory.
SIDE_BY_SIDE_FROM = {"fast": 20_000, "mnist-cnn": 8_000}
MOST_AT_ONCE = 8  # processes: each takes up to 1 GB
BL_NOTE = (
    "--loss bl is trained with its weight p^gamma held constant in the gradient, which is --loss gce with "
    "q = gamma: with equation 4's own gradient, networks trained from scratch collapse to few classes."
)


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """Settings with every "auto" and "by recipe" decided. The same plan and data give the same bytes."""

    images: int
    """N."""
    side: int
    """S, in pixels."""
    channels: int
    """1 or 3."""
    num_classes: int
    """K."""
    network: str
    """A name of `config.NETWORKS`, never auto."""
    start: StartingWeights | None
    """None trains from scratch."""
    recipe: Recipe
    """With the user's --epochs, --batch-size and --lr in place."""
    loss: str
    parameters: dict[str, float]
    """Of the loss: {"cutoff": 0.02}."""
    delay: int
    """Epochs of cross-entropy first."""
    device: str
    """cpu, cuda:0, mps."""
    device_name: str
    """What the device calls itself: the processor, the GPU's model."""
    precision: str
    """float32 or bf16; losses are float32 always."""
    threads: int
    """torch's CPU threads in all: other numbers sum in another order and give other bits."""
    side_by_side: bool
    """Whether several networks train at once, in a process each; see `share`."""
    seed: int
    notes: tuple[str, ...] = ()
    """Sentences for the user, such as a fallback."""

    @property
    def imagenet(self) -> bool:
        """Whether the starting weights want ImageNet's normalisation."""
        return self.start is not None and self.start.imagenet

    def loss_at(self, epoch: int) -> Loss:
        """The loss of one epoch, from 1."""
        return scheduled(self.loss, delay=self.delay, epoch=epoch, **self.parameters)

    def share(self, trainings: int) -> tuple[int, int]:
        """How many of so many trainings go side by side, and the threads of each.

        With fewer threads than trainings, so many share them that none is idle when the last ones go: of five
        trainings on two, three and then two.
        """
        if not self.side_by_side:
            return 1, self.threads
        at_once = min(trainings, self.threads + trainings % self.threads, MOST_AT_ONCE)
        return at_once, max(1, self.threads // at_once)

    def fingerprint(self) -> dict[str, Any]:
        """Everything that must be equal for a stored fold to be one of this run's, as JSON values."""
        values = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in ("notes", "start", "recipe")
        }
        views = [list(shift) for shift in self.recipe.views]  # JSON has no tuples
        values["recipe"] = {**dataclasses.asdict(self.recipe), "views": views}
        values["weights"] = self.start.sha256 if self.start else "none"
        values["torch"] = str(torch.__version__)
        return values


def plan_training(
    training: TrainingSettings,
    *,
    shape: tuple[int, int, int, int],  # (N, S, S, C)
    num_classes: int,
    trainings: int = 1,
) -> TrainingPlan:
    """Decide everything about so many trainings, and fail now rather than in the first fold."""
    images, side, _, channels = shape
    if side < SMALLEST_SIDE:
        raise UsageError(
            f"--image-size {side} is too small to train on", f"choose --image-size {SMALLEST_SIDE} or more"
        )
    device = choose_device(training.device)
    name = choose_network(training.network, side=side, weights=training.weights)
    start, notes = find_weights(training.weights, name)
    if start is not None:  # a file that does not fit must not wait for the first fold
        with torch.random.fork_rng(devices=[]):
            network = build_network(name, side=side, channels=channels, outputs=num_classes)
        load_weights(network, start)
    recipe, delay = recipe_for(name, images=images, side=side, channels=channels), loss_delay(training)
    if training.lr_drop is not None and recipe.schedule != "step":
        steps = ", ".join(known for known, value in RECIPES.items() if value.schedule == "step")
        raise UsageError(
            f"--lr-drop has no effect on --network {name}: its learning rate falls in every step",
            f"leave it out, or choose one of {steps}",
        )
    epochs, threads = training.epochs or recipe.epochs, _threads()
    if delay >= epochs and training.loss != "ce":
        notes += (
            f"--loss {training.loss} is never used: the delay of {delay} takes all {epochs} epochs, "
            "which train with cross-entropy.",
        )
    elif training.loss == "bl":
        notes += (BL_NOTE,)
    return TrainingPlan(
        images=images,
        side=side,
        channels=channels,
        num_classes=num_classes,
        network=name,
        start=start,
        recipe=dataclasses.replace(
            recipe,
            epochs=epochs,
            batch_size=training.batch_size or recipe.batch_size,
            lr=training.lr or recipe.lr,
            step_factor=training.lr_drop or recipe.step_factor,
        ),
        loss=training.loss,
        parameters=loss_parameters(training),
        delay=delay,
        device=str(device),
        device_name=name_device(device),
        precision=choose_precision(training.precision, device),
        threads=threads,
        side_by_side=_side_by_side(device, threads, name, trainings, epochs, shape),
        seed=training.seed,
        notes=notes,
    )


def _threads() -> int:
    """As many as the user allows (OMP_NUM_THREADS), else one a core."""
    threads = torch.get_num_threads()
    torch.set_num_threads(threads)  # MKL may take fewer until it was set once: the bytes must not tell
    return threads


def _side_by_side(
    device: torch.device,
    threads: int,
    network: str,
    trainings: int,
    epochs: int,
    shape: tuple[int, int, int, int],  # (N, S, S, C)
) -> bool:
    """Whether so many trainings get done sooner in several processes.

    One small network keeps 1.2 of 2 cores busy, and hardly 3 of 16. On a GPU processes only take turns. A
    store that is read in chunks is left to one: each would hold a chunk, and all wait for the same disk.
    """
    if device.type != "cpu" or threads == 1 or math.prod(shape) > IN_CHUNKS_ABOVE:
        return False
    taken_over = (trainings - 1) * shape[0] * epochs * (shape[1] / 28) ** 2
    return taken_over >= SIDE_BY_SIDE_FROM.get(network, math.inf)


def choose_device(asked: str) -> torch.device:
    """auto is CUDA, else MPS, else the CPU; a device asked for by name must be there."""
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if asked == "auto":
        return torch.device("cuda:0" if cuda else "mps" if mps else "cpu")
    fix = "choose --device auto, cpu, cuda, cuda:N or mps"
    try:
        device = torch.device(asked)
    except RuntimeError:
        raise UsageError(f"--device '{asked}' is not a device", fix) from None
    if device.type == "cuda":
        index = device.index or 0
        if not cuda or index >= torch.cuda.device_count():
            found = f"{torch.cuda.device_count()} found" if cuda else "no CUDA device was found"
            raise EnvironmentProblem(
                f"--device {asked}: {found}",
                "choose --device cpu, or install a CUDA build of torch and its driver",
            )
        return torch.device("cuda", index)
    if device.type == "mps" and not mps:
        raise EnvironmentProblem("--device mps: this torch or machine has no MPS", "choose --device cpu")
    if device.type not in ("cpu", "mps"):
        raise UsageError(f"--device '{asked}' is not supported", fix)
    return torch.device(device.type)


def name_device(device: torch.device) -> str:
    """What the device calls itself: the GPU, or the processor with its vector unit."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    # The vector unit decides the order of sums, so it belongs to what makes bytes repeat.
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"


def choose_precision(asked: str, device: torch.device) -> str:
    """bf16 where it gains: CUDA with native bf16, CPUs with AMX.

    AVX512-BF16 without AMX is slower than float32: 725 against 857 images/s (MNIST CNN, one thread).
    """
    if asked != "auto":
        return asked
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)  # Ampere; older ones emulate it
        return "bf16" if native else "float32"
    has_amx = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    return "bf16" if device.type == "cpu" and has_amx() else "float32"
