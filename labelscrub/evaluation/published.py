"""The figures of "Hard Samples, Bad Labels", tables 1 to 6, and how the paper got them."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib import resources

RATE_TOLERANCE = 0.005  # CIFAR-10N's "worst" labels have 0.4021 wrong and are printed as 0.4


@dataclass(frozen=True, kw_only=True)
class Published:
    """One figure of one table."""

    table: str
    """table1 .. table6."""
    metric: str
    """f1 or balanced_accuracy."""
    framework: str
    """confident-learning; train/clean-test: trained on one split, judged on another; aum."""
    dataset: str
    """As published: cifar-10, fashion-mnist."""
    noise_rate: float
    """Share of wrong labels, 0..1."""
    loss: str
    """A name of `config.LOSSES`."""
    parameter: str
    """"gamma=0.3" or "cutoff=0.005", the best of a sweep; "" for losses that were not swept."""
    mean: float
    """Over the trials."""
    std: float
    """Over the trials."""
    trials: int

    @property
    def parameters(self) -> dict[str, float]:
        """What the loss was given: the swept parameter, or the authors' fixed ones; {} where not known."""
        if self.parameter:
            name, _, value = self.parameter.partition("=")
            return {name: float(value)}
        if self.loss in _FIXED:
            return dict(_FIXED[self.loss])
        return dict(_ANL.get(dataset_key(self.dataset), {}))

    @property
    def noise(self) -> str:
        """uniform: planted (section 5); given: the labels came wrong."""
        return "given" if self.table in ("table4", "table5") else "uniform"

    @property
    def method(self) -> str:
        """cl or aum, as `config.METHODS` has it."""
        return "aum" if self.framework == "aum" else "cl"

    @property
    def delay(self) -> int:
        """Epochs of cross-entropy first: 1 for pz, 0 for all others (section 5, A.2)."""
        return 1 if self.loss == "pz" else 0

    @property
    def setup(self) -> Setup:
        """What was trained on what."""
        return _AUM if self.method == "aum" else _SETUPS[dataset_key(self.dataset)]


@dataclass(frozen=True)
class Setup:
    """How the paper trained on a data set (section 5, A.1)."""

    images: int | None
    """How many were judged; None where nobody else has just these."""
    network: str
    """A name of `config.NETWORKS`."""
    epochs: int
    imagenet: bool
    """Whether training started from ImageNet weights."""
    caveat: str = ""
    """Where `images` is None: why."""


_GREY = Setup(60_000, "mnist-cnn", 10, imagenet=False)
_CIFAR = Setup(50_000, "cifar-resnet34", 10, imagenet=True)
_LARGE = Setup(None, "resnet50", 15, imagenet=True, caveat="published without its number of images")
_CLEANED = Setup(
    None,
    "cifar-resnet34",
    10,
    imagenet=True,
    caveat="published on test images without their known label errors",
)
_AUM = Setup(50_000, "aum-resnet34", 150, imagenet=False)  # section 5: "a ResNet-34 trained for 150 epochs"
_SETUPS = {
    "mnist": _GREY,
    "fashionmnist": _GREY,
    "cifar10": _CIFAR,
    "cifar100": _CIFAR,
    "cifar10n": _CIFAR,
    "cifar100n": _CIFAR,
    "cifar100cleanedtest": _CLEANED,
    "food101n": _LARGE,
    "clothing1m": _LARGE,
}

# Section 5: "Focal Loss is used with gamma = 2", "q is fixed at 0.7", and ANL "exactly as prescribed" by its
# authors (Ye et al. 2023, their published configuration), on Fashion-MNIST as on MNIST.
_FIXED: dict[str, dict[str, float]] = {"ce": {}, "focal": {"gamma": 2.0}, "gce": {"q": 0.7}}
_ANL = {
    "mnist": {"alpha": 1.0, "beta": 1.0, "l1": 1e-6},
    "fashionmnist": {"alpha": 1.0, "beta": 1.0, "l1": 1e-6},
    "cifar10": {"alpha": 5.0, "beta": 5.0, "l1": 5e-5},
    "cifar100": {"alpha": 10.0, "beta": 1.0, "l1": 5e-7},
}


@cache
def published_results() -> tuple[Published, ...]:
    """All 301 figures, in the order of the tables."""
    text = resources.files(__package__).joinpath("published.csv").read_text(encoding="utf-8")
    return tuple(
        Published(
            table=row["table"],
            metric=row["metric"],
            framework=row["framework"],
            dataset=row["dataset"],
            noise_rate=float(row["noise_rate"]),
            loss=row["loss"],
            parameter=row["parameter"],
            mean=float(row["mean"]),
            std=float(row["std"]),
            trials=int(row["trials"]),
        )
        for row in csv.DictReader(text.splitlines())
    )


def dataset_key(name: str) -> str:
    """One spelling of a data set's name: CIFAR-10, cifar_10 and cifar10 are the same."""
    return "".join(c for c in name.lower() if c.isalnum())


def find(*, table: str, metric: str, dataset: str, noise_rate: float, loss: str) -> Published | None:
    """The published figure, or None where there is none.

    Table 3 is found as of CIFAR-100 too, table 4 as of the CIFAR whose labels were given anew.
    """
    rates = _by_key().get(_key(table, metric, dataset, loss), ())
    return next((p for p in rates if abs(p.noise_rate - noise_rate) <= RATE_TOLERANCE), None)


def _key(table: str, metric: str, dataset: str, loss: str) -> tuple[str, str, str, str]:
    name = dataset_key(dataset).removesuffix("cleanedtest")
    return table, metric, name.removesuffix("n") if table == "table4" else name, loss


@cache
def _by_key() -> dict[tuple[str, str, str, str], tuple[Published, ...]]:
    keys: dict[tuple[str, str, str, str], tuple[Published, ...]] = {}
    for figure in published_results():
        key = _key(figure.table, figure.metric, figure.dataset, figure.loss)
        keys[key] = (*keys.get(key, ()), figure)
    return keys


def best_parameters(
    table: str, dataset: str, noise_rate: float, loss: str, *, metric: str | None = None
) -> dict[str, float]:
    """What the paper gave the loss there: {"cutoff": 0.005}; {} where nothing is published.

    `metric` matters in table 5 alone, which reports the best parameter for each of two; F1 unless given.
    """
    metric = metric or ("balanced_accuracy" if table == "table2" else "f1")
    figure = find(table=table, metric=metric, dataset=dataset, noise_rate=noise_rate, loss=loss)
    return figure.parameters if figure else {}
