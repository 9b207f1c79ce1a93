"""A trial's predictions against the truth: every metric of the results."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from labelscrub.evaluation.expectation import Expectation, compare_expectation

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from labelscrub.evaluation.trials import Trial
    from labelscrub.records import Predictions


def compare_margins(
    given: NDArray[np.int32],  # (N,)
    truth: NDArray[np.int32],  # (N,) -1 unknown
    aum: NDArray[np.float32],  # (N,)
) -> dict[str, float]:
    """How far the training dynamics tell wrong labels from right ones: needs no cut, and so no verdict."""
    import numpy as np

    from labelscrub.evaluation import metrics as m

    known = truth != -1
    wrong, margins = (given != truth)[known], aum[known].astype(np.float64)
    if not np.isfinite(margins).all():
        return {}
    return {
        "aum_average_precision": m.average_precision(-margins, wrong),
        "aum_best_f1": m.best_cut(-margins, wrong).f1,
        "cohens_d": m.cohens_d(margins[~wrong], margins[wrong]),
        "wasserstein": m.wasserstein(margins[~wrong], margins[wrong]),
    }


def compare_suspects(
    trial: Trial,
    given: NDArray[np.int32],  # (N,)
    truth: NDArray[np.int32],  # (N,) -1 unknown
    predictions: Predictions,
) -> dict[str, float]:
    """The suspects against the truth; images of unknown truth take part in detection, not in the comparison.

    Raises:
        ModelError: the predictions can't be trusted.
    """
    import numpy as np

    from labelscrub import detection
    from labelscrub.evaluation import metrics as m

    findings, assessment = detection.find_errors(
        predictions,
        given,
        trial.dataset.manifest.classes,
        trial.dataset.images.rows,
        trial.settings.detection,
        folds=trial.folds,
        conflict=np.zeros(len(given), np.int64),
    )
    known = truth != -1
    wrong = (given != truth)[known]

    def f1(suspect: NDArray[np.bool_]) -> float:  # (N,)
        # Where nothing is wrong, F1 is 0 whatever is listed: in a mean it would pass for a failure.
        return m.detected(suspect[known], wrong).f1 if wrong.any() else math.nan

    found = m.detected(findings.is_suspect[known], wrong)
    doubt = 1 - findings.self_confidence[known].astype(np.float64)
    values = {
        "f1": f1(findings.is_suspect),
        "precision": found.precision,
        "recall": found.recall,
        "balanced_accuracy": found.balanced_accuracy,
        "suspects": float(found.suspects),
        "planted": float(found.planted),
        "average_precision": m.average_precision(doubt, wrong),
        "best_f1": m.best_cut(doubt, wrong).f1,
        "estimated_noise_rate": assessment.estimated_noise_rate,
        "accuracy": float((predictions.pred_probs.argmax(1) == truth)[known].mean()),
    }
    if trial.settings.detection.method != "aum":
        values["f1_by_class"] = f1(findings.by_class)
        values["f1_by_noise_rate"] = f1(findings.by_noise_rate)
    if assessment.calibration is not None:
        values["f1_both"] = f1(findings.by_class & findings.by_noise_rate)
        said, suspect = findings.error_probability[known], findings.is_suspect[known]
        values |= _expected(compare_expectation(assessment.calibration, said, suspect, wrong))
        order = np.nan_to_num(said, nan=0.0)  # not assessed: last
        values["error_probability_average_precision"] = m.average_precision(order, wrong)
        values["error_probability_best_f1"] = m.best_cut(order, wrong).f1
    return values


def _expected(expectation: Expectation) -> dict[str, float]:
    c = expectation.calibration
    return {
        "noise_rate_estimate": c.noise_rate,
        "noise_rate_low": c.low,
        "noise_rate_high": c.high,
        "noise_rate_true": expectation.detected.noise_rate,
        "noise_rate_covered": float(expectation.interval_holds),
        "expected_precision": c.expected_precision,
        "expected_recall": c.expected_recall,
        "expected_f1": c.expected_f1,
        "ece": expectation.ece,
    }
