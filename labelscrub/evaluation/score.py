"""`score`: a finished run held against the truth.

Symbols: R rows listed by the source, U of them used by the run, N of these with a known true label.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelscrub.errors import DataError, UsageError
from labelscrub.evaluation.expectation import Expectation, compare_expectation
from labelscrub.evaluation.metrics import (
    BestCut,
    Detected,
    average_precision,
    best_cut,
    detected,
    precision_recall,
)
from labelscrub.records import Progress, silent

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_STEPS = 2000  # of each axis: finer than any picture


@dataclass(frozen=True)
class RankingScore:
    """How well a score sorts the wrong labels to the top, wherever one cuts."""

    score: str
    """self-confidence, normalized-margin, aum or error-probability; see `detection.score`."""
    average_precision: float
    best: BestCut


@dataclass(frozen=True)
class MethodScore:
    """The suspects of one way of telling them from the rest."""

    method: str
    filter: str
    """Of method cl; "" for the others."""
    aim: str
    """Of method calibrated: "f1", "precision=0.9"; "" for the others."""
    used: bool
    """Whether it is the run's own."""
    detected: Detected


@dataclass(frozen=True)
class ClassScore:
    """The images of one given label."""

    label: str
    detected: Detected


@dataclass(frozen=True, eq=False)
class Score:
    """A run against the truth. Figures that are not defined are NaN: see `evaluation.metrics`."""

    run: str
    source: str
    truth: str
    """Where the true labels are from, for people."""
    detected: Detected
    """The run's suspects, over the images whose true label is known."""
    unknown: int
    """Images that the run judged and whose true label is unknown: not counted anywhere."""
    rankings: tuple[RankingScore, ...]
    methods: tuple[MethodScore, ...]
    expectation: Expectation | None
    """Of a calibrated run."""
    classes: tuple[ClassScore, ...]
    """In class order, without those that no image has."""
    notes: tuple[str, ...]
    curves: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = field(repr=False)
    """Score -> precision and recall (P,) of its cuts; empty where no label is wrong."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values without the curves; NaN becomes null."""
        document = {
            "run": self.run,
            "source": self.source,
            "truth": self.truth,
            "unknown": self.unknown,
            **_figures(self.detected),
            "rankings": [
                {
                    "score": ranking.score,
                    "average_precision": ranking.average_precision,
                    "best_f1": ranking.best.f1,
                    "best_precision": ranking.best.precision,
                    "best_recall": ranking.best.recall,
                    "best_suspects": ranking.best.suspects,
                }
                for ranking in self.rankings
            ],
            "methods": [
                {
                    "method": m.method,
                    "filter": m.filter or None,
                    "aim": m.aim or None,
                    "used": m.used,
                    **_figures(m.detected),
                }
                for m in self.methods
            ],
            "calibration": None if self.expectation is None else self.expectation.to_json(),
            "classes": [{"label": c.label, **_figures(c.detected)} for c in self.classes],
            "notes": list(self.notes),
        }
        ready: dict[str, Any] = _json_ready(document)
        return ready


def score_run(
    run: str | Path, truth: str, *, source: str | Path | None = None, progress: Progress = silent
) -> Score:
    """Compare a finished run with the true labels; what `labelscrub score` does.

    Args:
        run: a finished run's directory.
        truth: a column of the source's tables, or a file: see `truth.read_truth`.
        source: where the source is now, if it has moved.
    Raises:
        UsageError: no finished run, edited results, or no such truth.
        DataError: the source changed since the run, or the truth does not fit it.
    """
    from labelscrub.evaluation.stored import ranking_keys, read_stored, suspects_by_method
    from labelscrub.evaluation.truth import UNKNOWN, read_truth

    stored = read_stored(Path(run), source, progress)
    known_truth = read_truth(stored.manifest, truth, stored.settings.source, progress)
    true = known_truth.labels[stored.rows]  # (U,)
    known = true != UNKNOWN  # (U,)
    if not known.any():
        raise DataError(
            f"no image that the run judged has a true label in {known_truth.origin}",
            "name the truth of this source",
        )
    wrong = (true != stored.given)[known]  # (N,)
    keys, key_notes = ranking_keys(stored)
    suspects, method_notes = suspects_by_method(stored)
    given, suspect = stored.given[known], stored.suspect[known]
    expectation = None
    if stored.calibration is not None:
        said = stored.columns["error_probability"][known]
        expectation = compare_expectation(stored.calibration, said, suspect, wrong)
    aim = stored.settings.detection.aim
    return Score(
        run=str(run),
        source=str(stored.manifest.source),
        truth=known_truth.origin,
        detected=detected(suspect, wrong),
        unknown=int((~known).sum()),
        rankings=tuple(
            RankingScore(name, average_precision(key[known], wrong), best_cut(key[known], wrong))
            for name, key in keys.items()
        ),
        methods=tuple(
            MethodScore(
                method=method,
                filter=filter_,
                aim=aim if method == "calibrated" else "",
                used=(method, filter_) == stored.own,
                detected=detected(mask[known], wrong),
            )
            for (method, filter_), mask in suspects.items()
        ),
        expectation=expectation,
        classes=_by_class(given, suspect, wrong, stored.manifest.classes),
        notes=(*known_truth.notes, *_truth_notes(wrong, stored.suspect & ~known), *key_notes, *method_notes),
        curves={name: _drawn(*precision_recall(key[known], wrong)) for name, key in keys.items()},
    )


def check_plot(target: Path) -> None:
    """UsageError or EnvironmentProblem where `plot_score` could not write `target`: said before any work."""
    from labelscrub.evaluation.figures import SUFFIXES
    from labelscrub.store import require_folder

    if target.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--plot {target} is no plot's file name", "end it in " + ", ".join(SUFFIXES))
    if target.exists() and not (target.is_file() and b"labelscrub" in target.read_bytes()):
        raise UsageError(f"--plot {target} exists and is no plot of labelscrub", "choose another name")
    require_folder(target)


def plot_score(score: Score, target: Path) -> None:
    """Draw precision against recall for every ranking score, the run's own cut and each best one marked.

    Beside it, for a calibrated run, how reliable its error probabilities are.
    """
    from labelscrub.evaluation import plots

    if not score.detected.planted:
        raise UsageError("there is no curve to draw: no label is wrong", "leave out --plot")
    points = {f"best cut, {r.score}": (r.best.precision, r.best.recall) for r in score.rankings}
    if score.detected.suspects:
        points = {"the run's suspects": (score.detected.precision, score.detected.recall), **points}
    title = f"{Path(score.source).name}: {score.detected.planted:,} of {score.detected.images:,} labels wrong"
    curves = {name: (p.tolist(), r.tolist()) for name, (p, r) in score.curves.items()}
    bins = () if score.expectation is None else score.expectation.reliability
    plots.precision_recall_plot(curves, points, title, target, [(b.probability, b.wrong) for b in bins])


def _by_class(
    given: NDArray[np.int32],  # (N,)
    suspect: NDArray[np.bool_],  # (N,)
    wrong: NDArray[np.bool_],  # (N,)
    classes: tuple[str, ...],  # (K,)
) -> tuple[ClassScore, ...]:
    import numpy as np

    masks = (wrong, suspect, suspect & wrong, np.ones_like(wrong))  # in Detected's order
    counts = zip(*(np.bincount(given[mask], minlength=len(classes)).tolist() for mask in masks), strict=True)
    found = (ClassScore(label, Detected(*row)) for label, row in zip(classes, counts, strict=True))
    return tuple(line for line in found if line.detected.images)


def _truth_notes(
    wrong: NDArray[np.bool_],  # (N,)
    unjudged: NDArray[np.bool_],  # (U,) suspects of unknown truth
) -> list[str]:
    notes = []
    if not wrong.any():
        notes.append("no label is wrong by this truth: there is nothing to find")
    elif wrong.mean() > 0.5:
        notes.append(f"this truth contradicts {wrong.mean():.0%} of the labels: is it of this source?")
    if unjudged.any():
        notes.append(f"{int(unjudged.sum()):,} suspects have no known true label and are not counted")
    return notes


def _drawn(
    precision: NDArray[np.float64],  # (P,)
    recall: NDArray[np.float64],  # (P,)
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The curve without the points that no picture could tell apart: a million make an SVG of 50 MB."""
    import numpy as np

    place = np.stack([precision, recall]) * _STEPS
    moved = (np.diff(place.round(), axis=1) != 0).any(axis=0)
    keep = np.append(moved, True) | np.append(True, moved) if len(precision) else moved
    return precision[keep], recall[keep]


def _figures(d: Detected) -> dict[str, Any]:
    names = ("images", "planted", "suspects", "found", "precision", "recall", "f1", "balanced_accuracy")
    return {name: getattr(d, name) for name in names}


def _json_ready(value: Any) -> Any:
    """No NaN, and no text that is not UTF-8."""
    from labelscrub.reporting.text import printable

    if isinstance(value, dict):
        return {name: _json_ready(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_json_ready(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return printable(value) if isinstance(value, str) else value
