"""What `bench speed` found: one record a run, means over trials, ratios within each trial."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from labelscrub.errors import DataError
from labelscrub.evaluation.metrics import Detected

Who = Literal["baseline", "same", "default"]
WHO: tuple[Who, ...] = ("baseline", "same", "default")
TITLES: dict[Who, str] = {
    "baseline": "baseline",
    "same": "ours, same network and epochs",
    "default": "ours, default recipe",
}
STAGES = ("read", "decode", "train", "detect", "report")


@dataclass(frozen=True, kw_only=True)
class SpeedRun:
    """One run of one side, from labelled files to the list of suspects. All JSON-ready."""

    dataset: str
    noise_rate: float
    """Share of labels flipped to another class at random, 0..1."""
    trial: int
    """From 0; the seed is the base seed plus this."""
    who: Who
    images: int
    classes: int
    folds: int
    network: str
    """What the run itself said, like epochs, precision and device: "" and 0 where it gave no verdict."""
    epochs: int
    """A fold."""
    precision: str
    device: str
    """cpu, or what the GPU calls itself."""
    seconds: dict[str, float]
    """Stage -> seconds, as the run itself took them. The baseline decodes while it trains, in every epoch;
    its "train" holds the prediction of held-out images, as ours does."""
    wall: float
    """Seconds from the process's start to its end: imports and all."""
    cpu: float
    """Seconds, user and system, of all processes."""
    others: float
    """Processor seconds that other programs took meanwhile: what made the run slower than it is."""
    peak_memory: int
    """Bytes: largest sum of the PSS of all processes, sampled once a second."""
    planted: int
    """Labels made wrong."""
    suspects: int
    found: int
    """Suspects that were made wrong."""
    failure: str = ""
    """Why the models could not be trusted; then there are no suspects."""
    command: str
    versions: dict[str, str]
    machine: dict[str, Any]

    @property
    def f1(self) -> float:
        """Of the suspects against the planted errors; NaN where the run gave no verdict."""
        if self.failure:
            return math.nan
        return Detected(self.planted, self.suspects, self.found, self.images).f1

    @property
    def images_per_second(self) -> float:
        """Images passed forward and backward a second of "train": those of all folds and epochs."""
        return _rate(self.images * (self.folds - 1) * self.epochs, self.seconds.get("train"))

    @property
    def start(self) -> float:
        """Seconds in no stage: the interpreter's start, imports, the end; NaN without a verdict."""
        return math.nan if self.failure else self.wall - math.fsum(self.seconds.values())

    @property
    def outside(self) -> float:
        """Share of the wall clock outside decoding and training, 0..1; NaN without a verdict."""
        if self.failure:
            return math.nan
        return 1 - math.fsum(self.seconds.get(stage, 0.0) for stage in ("decode", "train")) / self.wall

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> SpeedRun:
        """The inverse of `dataclasses.asdict`; DataError where a field is missing or unknown."""
        try:
            return cls(**values)
        except TypeError as error:
            raise DataError(f"not a run of bench speed: {error}", "delete it: it is run again") from error


def _rate(images: int, seconds: float | None) -> float:
    return images / seconds if seconds else math.nan


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A figure over trials."""

    mean: float
    """NaN where it is not known of every trial."""
    std: float
    """Of the sample (n - 1); NaN of one trial."""

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """NaN where one of them is."""
        if any(map(math.isnan, values)):
            return cls(mean=math.nan, std=math.nan)
        std = statistics.stdev(values) if len(values) > 1 else math.nan
        return cls(mean=math.fsum(values) / len(values), std=std)


FIGURES = (
    "read_s",
    "decode_s",
    "train_s",
    "images_per_second",
    "decoded_per_second",
    "detect_s",
    "report_s",
    "start_s",
    "wall_s",
    "cpu_s",
    "others_cpu_s",
    "peak_memory_mb",
    "outside_share",
    "f1",
    "ratio",
    "cpu_ratio",
    "f1_difference",
)
HOW_TO_READ = {
    "who": "; ".join(f"{who}: {title}" for who, title in TITLES.items()),
    "*_mean, *_std": "over the trials; std is the sample's (n - 1), empty for one trial",
    "train_s": "training and predicting the held-out images; the baseline also decodes in it, in every epoch",
    "decoded_per_second": "images / decode_s",
    "images_per_second": "images x (folds - 1) x epochs / train_s",
    "start_s": "in no stage: the interpreter's start, imports, the end",
    "wall_s": "from the start of the process to its end",
    "cpu_s": "user and system, all processes",
    "others_cpu_s": "processor time that other programs took meanwhile",
    "peak_memory_mb": "largest sum of the proportional set sizes (PSS) of all processes, 4 samples a second",
    "outside_share": "of wall_s, what is neither decode_s nor train_s",
    "f1": "of the suspects against the planted errors",
    "ratio": "wall clock of the baseline / own, within each trial, then mean and spread; so cpu_ratio",
    "f1_difference": "own - baseline's, within each trial",
}


@dataclass(frozen=True)
class Line:
    """One side on one data set and noise rate, over its trials."""

    runs: tuple[SpeedRun, ...]
    """By trial."""
    figures: dict[str, Spread]
    """Of FIGURES."""

    @property
    def who(self) -> Who:
        """Which side."""
        return self.runs[0].who


def lines_of(runs: Sequence[SpeedRun]) -> list[Line]:
    """A line a data set, noise rate and side, in order of first appearance, the baseline first."""
    groups: dict[tuple[str, float], list[SpeedRun]] = {}
    for run in runs:
        groups.setdefault((run.dataset, run.noise_rate), []).append(run)
    lines = []
    for group in groups.values():
        baseline = {run.trial: run for run in group if run.who == "baseline"}
        for who in WHO:
            own = sorted((run for run in group if run.who == who), key=lambda run: run.trial)
            if own:
                lines.append(Line(tuple(own), _figures(own, baseline)))
    return lines


def _figures(own: Sequence[SpeedRun], baseline: Mapping[int, SpeedRun]) -> dict[str, Spread]:
    values = {f"{stage}_s": [run.seconds.get(stage, math.nan) for run in own] for stage in STAGES}
    values |= {
        "images_per_second": [run.images_per_second for run in own],
        "decoded_per_second": [_rate(run.images, run.seconds.get("decode")) for run in own],
        "start_s": [run.start for run in own],
        "wall_s": [run.wall for run in own],
        "cpu_s": [run.cpu for run in own],
        "others_cpu_s": [run.others for run in own],
        "peak_memory_mb": [run.peak_memory / 1e6 for run in own],
        "outside_share": [run.outside for run in own],
        "f1": [run.f1 for run in own],
        "ratio": [baseline[run.trial].wall / run.wall for run in own],
        "cpu_ratio": [baseline[run.trial].cpu / run.cpu for run in own],
        "f1_difference": [run.f1 - baseline[run.trial].f1 for run in own],
    }
    return {name: Spread.of(values[name]) for name in FIGURES}


def as_json(runs: Sequence[SpeedRun]) -> bytes:
    """Lines, every run behind them, and how to read them; NaN is null."""
    rows = [
        {
            name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in row.items()
        }
        for row in _rows(runs)
    ]
    content = {"how_to_read": HOW_TO_READ, "rows": rows, "runs": [dataclasses.asdict(run) for run in runs]}
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()


def as_csv(runs: Sequence[SpeedRun]) -> bytes:
    """One line a data set, noise rate and side."""
    from labelscrub.evaluation.tables import csv_value

    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    rows = _rows(runs)
    writer.writerow(rows[0])
    writer.writerows([csv_value(value) for value in row.values()] for row in rows)
    return text.getvalue().encode()


def _rows(runs: Sequence[SpeedRun]) -> list[dict[str, Any]]:
    rows = []
    for line in lines_of(runs):
        first = line.runs[0]
        names = ("dataset", "noise_rate", "who", "images", "classes", "folds", "network", "epochs")
        row: dict[str, Any] = {name: getattr(first, name) for name in names}
        row |= {"precision": first.precision, "device": first.device, "trials": len(line.runs)}
        for name, spread in line.figures.items():
            row |= {f"{name}_mean": spread.mean, f"{name}_std": spread.std}
        rows.append(row)
    return rows
