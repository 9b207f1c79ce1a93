"""The experiments of experiments.toml, the paper's and our own, and the trials that each is made of."""

from __future__ import annotations

import dataclasses
import functools
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal

from labelscrub.config import LOSS_PARAMETERS, LOSSES, DetectionSettings, Settings, nearest
from labelscrub.errors import UsageError
from labelscrub.evaluation.trials import RATELESS, Noise, NoiseKind, Trial, share_wrong

if TYPE_CHECKING:
    from labelscrub.evaluation.datasets import Dataset

PUBLISHED_RATES = (0.1, 0.2, 0.3, 0.4)

MEASUREMENTS = ("speed", "scale")  # of time and memory: `bench` takes their names too

View = Literal["table", "calibrated", "rates", "sweep", "delay", "margins", "gradients", "probabilities"]


@dataclass(frozen=True)
class LossSpec:
    """A loss as experiments and `--losses` write it: "pz" or "pz:cutoff=0.02"."""

    loss: str
    parameters: Mapping[str, float] = field(default_factory=dict)
    """Empty: the published best of the cell, else the guide's, else the default."""

    @classmethod
    def parse(cls, text: str) -> LossSpec:
        """UsageError where the loss or one of its parameters is unknown."""
        name, *pairs = text.strip().lower().split(":")
        if name not in LOSSES:
            raise UsageError(f"unknown loss '{name}' in --losses", nearest(name, LOSSES))
        parameters = {}
        for pair in pairs:
            key, _, value = pair.partition("=")
            if key not in LOSS_PARAMETERS[name]:
                legal = ", ".join(LOSS_PARAMETERS[name]) or "none"
                raise UsageError(f"--losses: {name} has no parameter '{key}'", f"it has: {legal}")
            try:
                parameters[key] = float(value)
            except ValueError:
                raise UsageError(f"--losses: {key} of {name} is '{value}', not a number") from None
        Settings.of({"loss": name, **parameters})  # raises where a value is out of range
        return cls(name, parameters)


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One table or figure. What the command line gives replaces the fields of the same name."""

    name: str
    title: str
    view: View
    """How it is shown: a table beside the published one, or one of the plots."""
    metric: str = "f1"
    method: str = "cl"
    noise: NoiseKind = "uniform"
    """given: the data set's labels are wrong as they come, and it has the true ones too."""
    noises: tuple[NoiseKind, ...] = ()
    """Several kinds of noise; then `noise` does not count."""
    datasets: tuple[str, ...] = ()
    """The paper's; empty where it used one that has to be named with --data."""
    rates: tuple[float, ...] = ()
    trials: int = 1
    losses: tuple[str, ...] = ()
    """Of `LossSpec`."""
    sweep: Mapping[str, str] = field(default_factory=dict)
    """Loss -> "parameter=value,value,...": one more loss for each value."""
    delays: tuple[int, ...] = ()
    """Epochs of cross-entropy first, for the losses of the sweep; empty: each loss's own."""
    trains_on_other: bool = False
    """Trains on the data set's training split as it is, and judges its test split."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """Training settings for the experiment's own data sets, or for all where it has none; the user's win."""

    @property
    def noise_kinds(self) -> tuple[NoiseKind, ...]:
        """Every kind of noise that is planted, or that the labels came with."""
        return self.noises or (self.noise,)

    def loss_specs(self) -> tuple[LossSpec, ...]:
        """The losses, then those of the sweep."""
        specs = [LossSpec.parse(text) for text in self.losses]
        for loss, values in self.sweep.items():
            name, _, listed = values.partition("=")
            specs += [LossSpec(loss, {name: float(value)}) for value in listed.split(",")]
        return tuple(specs)


@functools.cache
def _file() -> dict[str, Any]:
    text = files("labelscrub.evaluation").joinpath("experiments.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


@functools.cache
def experiments() -> dict[str, Experiment]:
    """Every experiment by name."""
    found = {}
    for name, values in _file()["experiments"].items():
        plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        found[name] = Experiment(name=name, **plain)
    return found


def find_experiment(name: str) -> Experiment:
    """UsageError with the nearest name where there is none."""
    name = name.lower()
    if name not in experiments():
        raise UsageError(f"there is no experiment '{name}'", nearest(name, [*experiments(), *MEASUREMENTS]))
    return experiments()[name]


def with_recipe(experiment: Experiment, dataset: str, settings: Settings) -> Settings:
    """The user's settings, and the paper's for this data set where the user has left the default.

    A network that the user names comes with its own recipe: then nothing of the paper's is taken.
    """
    training, default = settings.training, Settings().training
    if training.network != default.network:
        return settings
    paper = dict(_file()["datasets"].get(dataset, {}).get("training", {}))
    if dataset in experiment.datasets or not experiment.datasets:
        paper |= experiment.training
    own = {name: value for name, value in paper.items() if getattr(training, name) == getattr(default, name)}
    return dataclasses.replace(settings, training=dataclasses.replace(training, **own))


def trials_of(
    experiment: Experiment,  # with the user's changes in place
    dataset: Dataset,
    settings: Settings,  # of `with_recipe`
    train_on: Dataset | None = None,  # with `trains_on_other`
) -> Iterator[Trial]:
    """Every trial on one data set: all cells once, then all of them again, so that a first mean is early."""
    noises = [
        Noise(kind, rate)
        for kind in experiment.noise_kinds
        for rate in ((0.0,) if kind in RATELESS else experiment.rates)
    ]
    table = experiment.name if experiment.view == "table" else "table1"
    base = settings.training
    # Only the filter is the user's: a score would change nothing, and what is compared is F1.
    detection = DetectionSettings(method=experiment.method, filter=settings.detection.filter)
    for number in range(experiment.trials):
        for noise in noises:
            for spec in experiment.loss_specs():
                share = noise.rate if noise.kind != "given" else share_wrong(dataset)
                parameters = spec.parameters or _parameters(table, dataset.name, share, spec.loss)
                swept = spec.loss in experiment.sweep
                for delay in experiment.delays if swept and experiment.delays else (base.delay,):
                    training = dataclasses.replace(
                        base,
                        **_loss_settings(spec.loss, parameters),
                        delay=delay,
                        seed=base.seed + number,
                    )
                    changed = dataclasses.replace(settings, training=training, detection=detection)
                    yield Trial(dataset, noise, changed, number, train_on)


def _loss_settings(loss: str, parameters: Mapping[str, float]) -> dict[str, Any]:
    """The loss and all parameters, those of other losses unset."""
    names = {name for legal in LOSS_PARAMETERS.values() for name in legal}
    return {"loss": loss, **{name: parameters.get(name) for name in names}}


def _parameters(table: str, dataset: str, rate: float, loss: str) -> Mapping[str, float]:
    """The published ones for the data set at the nearest noise rate, else the guide's, else the default."""
    from labelscrub.evaluation.published import best_parameters

    for near in (rate, *sorted(PUBLISHED_RATES, key=lambda known: abs(known - rate))):
        if published := best_parameters(table, dataset, near, loss):
            return published
    guide: dict[str, str] = _file()["guide"].get(loss, {})
    if not guide:
        return {}
    at = min(guide, key=lambda known: abs(float(known) - rate))
    return LossSpec.parse(f"{loss}:{guide[at]}").parameters


def parse_losses(text: str) -> tuple[str, ...]:
    """The value of --losses, checked: "ce,pz:cutoff=0.02"."""
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    if not names:
        raise UsageError("--losses names no loss", "such as --losses ce,pz:cutoff=0.02")
    for name in names:
        LossSpec.parse(name)
    return names


def parse_rates(text: str) -> tuple[float, ...]:
    """The value of --rates, checked: "0.1,0.2"."""
    try:
        rates = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--rates '{text}' is not a list of numbers", "such as --rates 0.1,0.2") from None
    if bad := [rate for rate in rates if not 0 < rate < 1]:
        raise UsageError(f"--rates: {bad[0]:g} is not above 0 and below 1", "such as --rates 0.1,0.2")
    return rates


def parse_delays(text: str) -> tuple[int, ...]:
    """The value of --delays, checked: "0,1,2"."""
    try:
        delays = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(
            f"--delays '{text}' is not a list of whole numbers", "such as --delays 0,1,2"
        ) from None
    if min(delays) < 0:
        raise UsageError(f"--delays: {min(delays)} is less than 0", "such as --delays 0,1,2")
    return delays
