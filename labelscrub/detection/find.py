"""Predictions in, findings out: checks first, then the method, the conflicts, the ranking."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from labelscrub.config import DetectionSettings, parse_aim
from labelscrub.detection import aum, checks, confident_learning
from labelscrub.detection.chunks import known_classes
from labelscrub.detection.duplicates import best_supported
from labelscrub.detection.score import margins, rank, ranking
from labelscrub.detection.summary import Assessment, assess
from labelscrub.detection.why import reasons
from labelscrub.records import Calibration, Findings, Predictions

if TYPE_CHECKING:
    from labelscrub.detection.calibrated import Estimate

TOO_FEW_PLANTS = (
    "too few labels could be made wrong on purpose to learn from them: errors on images that are hard to tell"
    " apart are not in the estimate, only in the upper end of its interval"
)
IMAGE_DEPENDENT = (
    "labels look wrong more often where images are hard to tell apart: the model takes some such errors for "
    "right, so more labels may be wrong than estimated, and the list may hold a smaller share of them"
)
SMALLEST_CLASS = 2  # with one image of a class, nothing says what the class looks like


def find_errors(
    predictions: Predictions,
    labels: NDArray[np.integer],  # (N,) index into classes
    classes: Sequence[str],  # (K,) also those without images
    rows: NDArray[np.int64],  # (N,) manifest row: breaks ties, and is named in `why`
    settings: DetectionSettings,
    *,
    folds: int,  # of the cross-validation; 1: a network trained on another source; 0: the user brought them
    conflict: NDArray[np.int64],  # (N,) as `duplicates.conflicts` gives it
) -> tuple[Findings, Assessment]:
    """Tell the suspects from the rest and rank them all; an error wherever a verdict could not be trusted.

    A class with fewer images than folds (without cross-validation: one image), with all of them in one fold,
    or that the model never gives a probability to, never has suspects.
    """
    labels = np.asarray(labels)
    checks.check_labels(labels, classes)
    brought = folds == 0 and settings.method == "cl"
    checks.check_predictions(predictions.pred_probs, labels, classes, brought=brought)
    if settings.method == "aum":
        checks.check_aum(predictions, asked_by="--method aum")
    elif settings.score == "aum":
        checks.check_aum(predictions, asked_by="--score aum")
    if settings.method == "calibrated":
        checks.check_evidence(predictions)
    found = margins(predictions.pred_probs, labels)
    checks.check_better_than_chance(found.predicted, labels, classes, brought=brought)
    checks.check_every_fold(found.predicted, labels, predictions.fold, len(classes))

    counts = np.bincount(labels, minlength=len(classes))
    smallest = SMALLEST_CLASS if settings.method == "aum" else max(folds, SMALLEST_CLASS)
    known = known_classes(predictions.pred_probs)  # (K,)
    assessed = (counts >= smallest) & known & ~_in_one_fold(labels, predictions.fold, len(classes))  # (K,)
    checks.check_enough_classes(assessed, counts, smallest)

    by_class = by_noise_rate = np.zeros(len(labels), dtype=bool)
    error_probability = np.full(len(labels), np.nan)
    estimate: Estimate | None = None
    if settings.method == "aum":
        assert predictions.aum_threshold is not None  # check_aum
        proposed = aum.propose(predictions.aum, predictions.aum_threshold, labels, assessed)
        noise_rate, class_noise_rates = aum.noise_rates(proposed, labels, assessed)
        checks.check_learnt(noise_rate)
    else:
        by_class, by_noise_rate, joint = confident_learning.propose(predictions.pred_probs, labels, assessed)
        noise_rate, class_noise_rates = confident_learning.noise_rates(joint)
        proposed = {
            "both": by_class & by_noise_rate,
            "by-class": by_class,
            "by-noise-rate": by_noise_rate,
        }[settings.filter]
        if settings.method == "calibrated":
            from labelscrub.detection.calibrated import calibrate, choose_cut  # loads scipy, 0.3 s

            estimate = calibrate(predictions, labels, assessed)
            error_probability = estimate.error_probability
            proposed = choose_cut(error_probability, parse_aim(settings.aim)).listed
            noise_rate, class_noise_rates = estimate.noise_rate, estimate.class_noise_rates

    best = best_supported(predictions.pred_probs, labels, conflict, assessed)
    overruled = (best >= 0) & (best != labels) & assessed[labels]
    suspect = proposed | overruled
    suggested = np.where(overruled, best, np.where(suspect, found.other, found.predicted)).astype(np.int32)

    score, notes = _score(settings, predictions)
    calibration = None if estimate is None else _calibration(estimate, suspect, settings.aim)
    if estimate is not None and not estimate.from_plants:
        notes.append(TOO_FEW_PLANTS)
    if estimate is not None and estimate.depends_on_image:
        notes.append(IMAGE_DEPENDENT)
    key, shown = ranking(score, found, predictions, error_probability, method=settings.method)
    findings = Findings(
        rank=rank(key, suspect, conflict, rows),
        given=labels.astype(np.int32),
        suggested=suggested,
        is_suspect=suspect,
        by_class=by_class,
        by_noise_rate=by_noise_rate,
        score=shown,
        self_confidence=found.p_given.astype(np.float32),
        normalized_margin=(found.p_given - found.p_other).astype(np.float32),
        aum=predictions.aum,
        error_probability=error_probability.astype(np.float32),
        fold=predictions.fold,
        assessed=assessed[labels],
        conflict=conflict,
        why=reasons(found, predictions, labels, classes, rows, suspect, conflict, method=settings.method),
    )
    assessment = assess(
        labels,
        found.predicted,
        suggested,
        suspect,
        classes,
        assessed,
        noise_rate,
        class_noise_rates,
        notes,
        calibration,
    )
    return findings, assessment


def _calibration(
    estimate: Estimate,
    suspect: NDArray[np.bool_],  # (N,)
    aim: str,
) -> Calibration:
    from labelscrub.detection.calibrated import expect

    cut = expect(estimate.error_probability, suspect)
    return Calibration(
        images=int(np.isfinite(estimate.error_probability).sum()),
        noise_rate=estimate.noise_rate,
        low=estimate.low,
        high=estimate.high,
        aim=aim,
        cut=cut.smallest,
        expected_precision=cut.precision,
        expected_recall=cut.recall,
        expected_f1=cut.f1,
        transition=tuple(tuple(row) for row in estimate.transition.tolist()),
    )


def _in_one_fold(
    labels: NDArray[np.integer],  # (N,)
    fold: NDArray[np.integer],  # (N,) -1 where unknown
    num_classes: int,
) -> NDArray[np.bool_]:  # (K,)
    """Classes whose images were all held out at once (copies, a group): their model never saw one of them."""
    lowest, highest = np.full(num_classes, np.iinfo(fold.dtype).max), np.full(num_classes, -1)
    np.minimum.at(lowest, labels, fold)
    np.maximum.at(highest, labels, fold)
    alone: NDArray[np.bool_] = (lowest == highest) & (lowest >= 0)
    return alone


def _score(settings: DetectionSettings, predictions: Predictions) -> tuple[str, list[str]]:
    """The score that `auto` means here, and what to tell the user about it."""
    if settings.score != "auto":
        return settings.score, []
    if settings.method == "calibrated":
        return "error-probability", []
    finite = np.isfinite(predictions.aum)
    if finite.all():
        return "aum", []
    if np.isnan(predictions.aum).all():
        return "self-confidence", []
    return "self-confidence", [
        f"AUM of {int((~finite).sum())} images is not finite: ranked by self-confidence instead"
    ]
