"""Every setting once: default, range, unit, source. The API, `--help` and the settings file read it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labelscrub.errors import UsageError

LOSSES = ("ce", "focal", "gce", "anl-ce", "anl-fl", "bl", "pz")
AUTO = "auto"  # as a loss: one of LOSSES that planted wrong labels speak for; see training.tuning
METHODS = ("cl", "aum", "calibrated")
FILTERS = ("both", "by-class", "by-noise-rate")
SCORES = ("auto", "self-confidence", "normalized-margin", "aum", "error-probability")
NETWORKS = (
    "auto",
    "fast",
    "mnist-cnn",
    "cifar-resnet34",
    "aum-resnet34",
    "resnet18",
    "resnet34",
    "resnet50",
)
PRECISIONS = ("auto", "float32", "bf16")


def setting(
    default: Any,
    text: str,
    *,
    choices: tuple[str, ...] = (),
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    shown: str | None = None,
) -> Any:
    """A field with its help text and its legal values: `choices`, or low <= value <= high, or value > above.

    `shown` is how `--help` prints the default, where None means "depends".
    """
    metadata = {"help": text, "choices": choices, "low": low, "high": high, "above": above, "shown": shown}
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class _Checked:
    """Validates every field on construction against the metadata that `setting` wrote."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            check_value(field, value)
            if isinstance(value, int) and str(field.type).startswith("float"):
                object.__setattr__(self, field.name, float(value))  # 1 and 1.0 are the same run


@dataclass(frozen=True, kw_only=True)
class SourceSettings(_Checked):
    """How to read the source: columns, splits, limits."""

    path_column: str | None = setting(None, "Manifest column with the image paths or ids.", shown="found")
    label_column: str | None = setting(None, "Manifest column with the labels.", shown="found")
    group_column: str | None = setting(
        None, "Manifest column whose equal values (a patient, a video) stay in one fold.", shown="none"
    )
    image_root: str | None = setting(
        None, "Folder that the manifest's paths are relative to.", shown="the manifest's folder"
    )
    split: str | None = setting(
        None,
        "Which split to read where there are train/val/test; 'all' reads them together.",
        shown="asked for",
    )
    delimiter: str | None = setting(None, "Separator of a text manifest.", shown="by extension")
    classes: str | None = setting(
        None, "Text file with one class name a line, also unseen ones.", shown="as found"
    )
    allow_outside: bool = setting(False, "Read manifest paths that are absolute or leave the image root.")
    max_pixels: int = setting(100_000_000, "Largest image read, in pixels (width x height).", low=1)
    max_file_mb: int = setting(256, "Largest image file read, in MiB.", low=1)
    max_missing: float = setting(
        0.1, "Share of listed images that may be missing before the run stops.", low=0, high=1
    )
    max_unreadable: float = setting(
        0.5, "Share of listed images that may be unreadable before the run stops.", low=0, high=1
    )


@dataclass(frozen=True, kw_only=True)
class TrainingSettings(_Checked):
    """What is trained: loss, network, folds. `None` means: the loss's or the recipe's own value."""

    loss: str = setting(
        "pz",
        "Training loss (Hard Samples, Bad Labels; sections 3.2 and 4); auto: short trainings choose it, with "
        "its parameters.",
        choices=(*LOSSES, AUTO),
        shown="pz; ce with --method calibrated",
    )
    gamma: float | None = setting(
        None, "Exponent of focal or bl (grows with the noise rate).", low=0, high=10, shown="2 focal, 0.3 bl"
    )
    cutoff: float | None = setting(
        None,
        "pz: images whose given label has at most this probability are ignored (grows with the noise rate).",
        low=0,
        high=0.999,
        shown="0.02",
    )
    q: float | None = setting(None, "Exponent of gce.", above=0, high=1, shown="0.7")
    alpha: float | None = setting(None, "anl: weight of the normalised loss.", low=0, shown="1")
    beta: float | None = setting(None, "anl: weight of the normalised negative loss.", low=0, shown="1")
    l1: float | None = setting(None, "anl: weight of the L1 norm of all parameters.", low=0, shown="1e-6")
    delay: int | None = setting(
        None,
        "Epochs of cross-entropy before the robust loss starts.",
        low=0,
        high=10_000,
        shown="1 pz, else 0",
    )
    folds: int = setting(5, "Cross-validation folds.", low=2, high=100)
    epochs: int | None = setting(None, "Epochs a fold.", low=1, high=10_000, shown="by recipe")
    batch_size: int | None = setting(None, "Images a step.", low=2, high=1 << 20, shown="by recipe")
    lr: float | None = setting(None, "Peak learning rate.", above=0, high=1e9, shown="by recipe")
    lr_drop: float | None = setting(
        None,
        "Factor on the learning rate after half of the epochs, where the recipe has steps.",
        above=0,
        high=1,
        shown="by recipe",
    )
    network: str = setting("auto", "Surrogate network.", choices=NETWORKS)
    weights: str = setting(
        "none", "Starting weights: none, default (torchvision's ImageNet ones) or a FILE (.safetensors, .pt)."
    )
    image_size: int | None = setting(
        None,
        "Side of the square training image, in pixels.",
        low=4,
        high=1024,
        shown="by the images, at most 64",
    )
    device: str = setting("auto", "auto, cpu, cuda, cuda:N or mps.")
    precision: str = setting(
        "auto", "Arithmetic of the network; losses are float32 always.", choices=PRECISIONS
    )
    seed: int = setting(0, "Seed of folds, weights and batch order.", low=0, high=2**63 - 1)

    def __post_init__(self) -> None:
        super().__post_init__()
        reject_unused_loss_parameters(self)


@dataclass(frozen=True, kw_only=True)
class DetectionSettings(_Checked):
    """How suspects are told from the rest, and in which order they are listed."""

    method: str = setting(
        "cl",
        "cl: confident learning; aum: area under the margin with threshold samples; calibrated: error "
        "probabilities, with the noise rate and what the list is expected to hold.",
        choices=METHODS,
    )
    filter: str = setting("both", "Confident learning's pruning rule.", choices=FILTERS)
    aim: str = setting(
        "f1",
        "What --method calibrated cuts the list for: f1, precision=P or recall=R, as expected of the list.",
    )
    score: str = setting(
        "auto",
        "What ranks the suspects; auto: error-probability with calibrated, aum where it was recorded, else "
        "self-confidence.",
        choices=SCORES,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_aim(self.aim)
        if self.method != "calibrated":
            if self.aim != "f1":
                raise UsageError(
                    f"--aim has no effect with --method {self.method}", "take --method calibrated"
                )
            if self.score == "error-probability":
                raise UsageError(
                    f"--method {self.method} has no error probabilities", "take --method calibrated"
                )


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All that decides a run's result. Field names are unique over the three groups, so they flatten."""

    source: SourceSettings = dataclasses.field(default_factory=SourceSettings)
    training: TrainingSettings = dataclasses.field(default_factory=TrainingSettings)
    detection: DetectionSettings = dataclasses.field(default_factory=DetectionSettings)

    def __post_init__(self) -> None:
        if self.detection.method == "calibrated" and self.training.folds < CALIBRATED_FOLDS:
            raise UsageError(
                f"--method calibrated needs at least {CALIBRATED_FOLDS} folds, not {self.training.folds}: "
                "in one of them an image's label may be a planted one",
                f"choose --folds {CALIBRATED_FOLDS} or more",
            )

    @classmethod
    def of(cls, values: Mapping[str, Any] | None = None, /, **more: Any) -> Settings:
        """Settings from flat names: `Settings.of(loss="bl", gamma=0.3)`. Unknown names are a UsageError.

        Here, where it is known what was said, the loss that fits the method takes the place of one not said.
        """
        flat = {**(values or {}), **more}
        if flat.get("method") == "calibrated":
            flat.setdefault("loss", CALIBRATED_LOSS)
        known = all_settings()
        for name in flat:
            if name not in known:
                raise UsageError(f"unknown setting '{name}'", nearest(name, known))
        groups = {}
        for group, kind in GROUPS.items():
            names = {field.name for field in dataclasses.fields(kind)}
            groups[group] = kind(**{name: value for name, value in flat.items() if name in names})
        return cls(**groups)

    def flat(self) -> dict[str, Any]:
        """Every setting by name, as JSON-ready values."""
        return {k: v for group in GROUPS for k, v in dataclasses.asdict(getattr(self, group)).items()}


GROUPS: dict[str, type[Any]] = {
    "source": SourceSettings,
    "training": TrainingSettings,
    "detection": DetectionSettings,
}

# Which parameters each loss has, and their defaults (paper sections 3.2, 4, 5; anl: Ye et al. 2023, MNIST).
LOSS_PARAMETERS: dict[str, dict[str, float]] = {
    "ce": {},
    "focal": {"gamma": 2.0},
    "gce": {"q": 0.7},
    "anl-ce": {"alpha": 1.0, "beta": 1.0, "l1": 1e-6},
    "anl-fl": {"alpha": 1.0, "beta": 1.0, "l1": 1e-6},
    "bl": {"gamma": 0.3},
    "pz": {"cutoff": 0.02},
}
CALIBRATED_FOLDS = 3  # so that each image is trained on with its own label in one at least
# What a robust loss ignores it does not learn from, and how labels are learnt is what calibrated reads:
# 10,000 Fashion-MNIST images, 20 % wrong: noise rate 0.208 (ce), 0.238 (pz 0.02).
CALIBRATED_LOSS = "ce"
LOSS_DELAY = {"pz": 1}  # epochs of cross-entropy first; 0 for the others (paper, eq. 6 and figure 11)


def loss_parameters(training: TrainingSettings) -> dict[str, float]:
    """The parameters of the chosen loss, never AUTO, defaults filled in: {"cutoff": 0.02} for pz."""
    defaults = LOSS_PARAMETERS[training.loss]
    given = {name: getattr(training, name) for name in defaults}
    return {name: defaults[name] if value is None else value for name, value in given.items()}


def loss_delay(training: TrainingSettings) -> int:
    """Epochs of cross-entropy before the chosen loss starts (paper, equation 6)."""
    return LOSS_DELAY.get(training.loss, 0) if training.delay is None else training.delay


def reject_unused_loss_parameters(training: TrainingSettings) -> None:
    """A parameter the chosen loss does not have is a mistake, not a no-op."""
    legal = LOSS_PARAMETERS.get(training.loss, {})  # AUTO has none
    if training.loss == AUTO and training.delay is not None:
        raise UsageError(
            f"{flag('delay')} has no effect with {flag('loss')} {AUTO}, which chooses it too",
            f"leave {flag('delay')} out, or choose a loss",
        )
    for name in ("gamma", "cutoff", "q", "alpha", "beta", "l1"):
        if getattr(training, name) is not None and name not in legal:
            owners = ", ".join(loss for loss, parameters in LOSS_PARAMETERS.items() if name in parameters)
            raise UsageError(
                f"{flag(name)} has no effect with {flag('loss')} {training.loss}",
                f"it belongs to {owners}: choose one of those with {flag('loss')}, or leave {flag(name)} out",
            )


def all_settings() -> dict[str, dataclasses.Field[Any]]:
    """Every setting's field by its flat name."""
    return {field.name: field for kind in GROUPS.values() for field in dataclasses.fields(kind)}


def flag(name: str) -> str:
    """The command-line spelling of a setting: image_root -> --image-root."""
    return "--" + name.replace("_", "-")


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint naming the closest known setting, or all of them."""
    import difflib

    close = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean '{close[0]}'?" if close else "known: " + ", ".join(sorted(known))


def check_value(field: dataclasses.Field[Any], value: object) -> None:
    """Raise UsageError where a value is of the wrong type, not finite, or out of range."""
    meta, name = field.metadata, flag(field.name)
    if value is None and "None" in str(field.type):
        return
    kind = str(field.type).split(" ")[0]
    types: dict[str, tuple[type, ...]] = {
        "int": (int,),
        "float": (int, float),
        "bool": (bool,),
        "str": (str,),
    }
    if not isinstance(value, types[kind]) or (isinstance(value, bool) and kind != "bool"):
        raise UsageError(f"{name} must be a {kind}, not {value!r}")
    if meta["choices"] and value not in meta["choices"]:
        hint = nearest(str(value), meta["choices"])
        raise UsageError(f"{name} '{value}' is not one of: {', '.join(meta['choices'])}", hint)
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise UsageError(f"{name} must be a finite number, not {value}")
        low, high, above = meta["low"], meta["high"], meta["above"]
        too_low = (low is not None and value < low) or (above is not None and value <= above)
        if too_low or (high is not None and value > high):
            at_least = f"more than {above:g}" if above is not None else f"at least {low:g}"
            at_most = f" and at most {high:g}" if high is not None else ""
            raise UsageError(f"{name} must be {at_least}{at_most}, not {value}")


def parse_aim(aim: str) -> tuple[str, float]:
    """("f1", nan), ("precision", 0.9) or ("recall", 0.95); a UsageError for anything else."""
    name, equals, text = aim.partition("=")
    if name == "f1" and not equals:
        return "f1", math.nan
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if name not in ("precision", "recall") or not 0 < value < 1:
        raise UsageError(
            f"--aim '{aim}' is not understood", "f1, or a share between 0 and 1: precision=0.9 or recall=0.95"
        )
    return name, value


def path_or_none(value: str | None) -> Path | None:
    """A setting that names a file or folder, as a path; `~` is expanded."""
    return None if value is None else Path(value).expanduser()
