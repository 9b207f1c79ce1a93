"""What an experiment produces: one record a trial, JSON in and out, and the cells of a table over trials."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from labelscrub.errors import DataError


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """One trial: labels made wrong, models trained, suspects compared with the truth. All JSON-ready."""

    dataset: str
    """fashion-mnist, or a source as given."""
    noise: str
    """none, uniform, pair, confusable, matrix, or given: the labels came wrong."""
    noise_rate: float
    """Share of labels asked to be wrong, 0..1; with noise "given" the share that is."""
    method: str
    """cl, aum or calibrated."""
    loss: str
    parameters: dict[str, float]
    """Of the loss: {"cutoff": 0.005}."""
    delay: int
    """Epochs of cross-entropy first."""
    trial: int
    """From 0; the seed of flips, folds, weights and batch order is the base seed plus this."""
    images: int
    classes: int
    metrics: dict[str, float]
    """f1, precision, recall, balanced_accuracy, ...: see `evaluation.metrics`; NaN where undefined."""
    seconds: float
    """Training and detection, wall clock; folds taken from an earlier, stopped run are not in it."""
    failure: str = ""
    """Why the models could not be trusted; then there are no metrics of suspects."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """network, recipe, device, precision, threads, seed, versions."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; NaN becomes null."""
        values = dataclasses.asdict(self)
        values["metrics"] = {k: None if math.isnan(v) else v for k, v in self.metrics.items()}
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> TrialResult:
        """The inverse of `to_json`; DataError where a field is missing or unknown."""
        try:
            metrics = {k: math.nan if v is None else float(v) for k, v in values["metrics"].items()}
            return cls(**{**values, "metrics": metrics})
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(f"not a trial's result: {error}", "delete it: the trial is run again") from error


@dataclass(frozen=True)
class Cell:
    """Trials that differ in nothing but their number."""

    dataset: str
    noise: str
    noise_rate: float
    method: str
    loss: str
    parameters: tuple[tuple[str, float], ...]
    delay: int
    trials: tuple[TrialResult, ...]

    @property
    def setting(self) -> str:
        """The loss's parameters as the published tables write them: "cutoff=0.005"; "" where it has none."""
        return ", ".join(f"{name}={value:g}" for name, value in self.parameters)

    def mean(self, metric: str) -> float:
        """Mean over the trials that have the metric; NaN where none has, or where it is undefined for one."""
        values = self._values(metric)
        return math.fsum(values) / len(values) if values else math.nan

    def std(self, metric: str) -> float:
        """Sample standard deviation (n - 1) over the same trials; NaN for a single one."""
        values, mean = self._values(metric), self.mean(metric)
        if len(values) < 2:
            return math.nan
        return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))

    def failed(self, metric: str) -> int:
        """Trials without the metric because their models could not be trusted."""
        return sum(1 for trial in self.trials if trial.failure and metric not in trial.metrics)

    def _values(self, metric: str) -> list[float]:
        return [trial.metrics[metric] for trial in self.trials if metric in trial.metrics]


def cells(results: Iterable[TrialResult]) -> tuple[Cell, ...]:
    """Group trials into cells, in order of first appearance, each cell's trials by number."""
    groups: dict[str, list[TrialResult]] = {}
    for result in results:
        key = (result.dataset, result.noise, result.noise_rate, result.method, result.loss, result.delay)
        groups.setdefault(repr((*key, sorted(result.parameters.items()))), []).append(result)
    return tuple(
        Cell(
            dataset=trials[0].dataset,
            noise=trials[0].noise,
            noise_rate=trials[0].noise_rate,
            method=trials[0].method,
            loss=trials[0].loss,
            parameters=tuple(sorted(trials[0].parameters.items())),
            delay=trials[0].delay,
            trials=tuple(sorted(trials, key=lambda trial: trial.trial)),
        )
        for trials in groups.values()
    )
