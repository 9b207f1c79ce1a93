"""How well a score or a list of suspects tells the wrong labels from the right ones.

Symbols: N images whose true label is known. `wrong` (N,) is the truth; higher scores are more likely wrong.
A figure that its definition leaves open (recall where nothing is wrong, precision without suspects) is NaN,
never 0 and never an exception: a mean over trials must not take it for a failure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labelscrub.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

BINS = 15  # of probability, as Naeini et al. and Guo et al. have it


@dataclass(frozen=True)
class Detected:
    """Suspects compared with the truth."""

    planted: int
    """Labels that are wrong."""
    suspects: int
    """Labels called wrong."""
    found: int
    """Labels that are both."""
    images: int
    """N, all that were judged and whose true label is known."""

    @property
    def noise_rate(self) -> float:
        """Share of the labels that is wrong; NaN without images."""
        return _ratio(self.planted, self.images)

    @property
    def precision(self) -> float:
        """Share of the suspects that are wrong; NaN without suspects."""
        return _ratio(self.found, self.suspects)

    @property
    def recall(self) -> float:
        """Share of the wrong labels that are suspects (sensitivity); NaN where nothing is wrong."""
        return _ratio(self.found, self.planted)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall: 2 found / (planted + suspects); NaN where both are 0."""
        return _ratio(2 * self.found, self.planted + self.suspects)

    @property
    def specificity(self) -> float:
        """Share of the right labels that are no suspects; NaN where all are wrong."""
        right = self.images - self.planted
        return _ratio(right - (self.suspects - self.found), right)

    @property
    def balanced_accuracy(self) -> float:
        """Mean of recall and specificity (Brodersen et al. 2010); NaN where either is."""
        return (self.recall + self.specificity) / 2


@dataclass(frozen=True)
class Bin:
    """Images of about one probability: a point of a reliability diagram."""

    images: int
    probability: float
    """Mean of what was said."""
    wrong: float
    """Share of the labels that is wrong, which should be the same."""


@dataclass(frozen=True)
class BestCut:
    """The cut through a ranking that has the highest F1, with the fewest suspects where several have it."""

    f1: float
    precision: float
    recall: float
    suspects: int
    """Images above the cut: the first so many of the ranking."""
    threshold: float
    """Their lowest score: `score >= threshold` are the suspects."""


def detected(
    suspect: NDArray[np.bool_],  # (N,)
    wrong: NDArray[np.bool_],  # (N,)
) -> Detected:
    """Count suspects, wrong labels, and labels that are both."""
    found = int((suspect & wrong).sum())
    return Detected(planted=int(wrong.sum()), suspects=int(suspect.sum()), found=found, images=len(wrong))


def average_precision(
    score: ArrayLike,  # (N,)
    wrong: NDArray[np.bool_],  # (N,)
) -> float:
    """Mean over the wrong labels of the precision at each one's place in the ranking; NaN if none is wrong.

    1 is a perfect ranking, the share of wrong labels is what guessing gets. Ties count as one place.
    """
    from sklearn.metrics import average_precision_score

    values = _finite(score)
    return float(average_precision_score(wrong, values)) if wrong.any() else math.nan


def best_cut(
    score: ArrayLike,  # (N,)
    wrong: NDArray[np.bool_],  # (N,)
) -> BestCut:
    """The best that any cut through the ranking can do; equal scores fall on one side together.

    It looks at the truth, so it is a bound and nothing to hope for. All NaN, 0 suspects, where none is wrong.
    """
    import numpy as np

    values = _finite(score)
    planted = int(wrong.sum())
    if not planted:
        return BestCut(math.nan, math.nan, math.nan, 0, math.nan)
    order = np.argsort(-values, kind="stable")
    ranked = values[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # of each run of equal scores
    suspects, found = last + 1, np.cumsum(wrong[order])[last]
    f1 = 2 * found / (suspects + planted)
    best = int(np.argmax(f1))  # the first: the fewest suspects
    return BestCut(
        f1=float(f1[best]),
        precision=float(found[best] / suspects[best]),
        recall=float(found[best] / planted),
        suspects=int(suspects[best]),
        threshold=float(ranked[last[best]]),
    )


def precision_recall(
    score: ArrayLike,  # (N,)
    wrong: NDArray[np.bool_],  # (N,)
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Precision and recall (P,) of every cut, from all images suspect to none: precision 1, recall 0.

    Empty where nothing is wrong: there is no recall to speak of.
    """
    import numpy as np
    from sklearn.metrics import precision_recall_curve

    values = _finite(score)
    if not wrong.any():
        return np.zeros(0), np.zeros(0)
    precision, recall, _ = precision_recall_curve(wrong, values)
    return precision, recall


def reliability(
    probability: ArrayLike,  # (N,) that the label is wrong, 0..1
    wrong: NDArray[np.bool_],  # (N,)
    bins: int = BINS,
) -> tuple[Bin, ...]:
    """Images by probability in bins of equal width, ((b - 1) / bins, b / bins], 0 in the first.

    Empty bins are left out.
    """
    import numpy as np

    values = _finite(probability)
    place = np.searchsorted(np.arange(1, bins) / bins, values)
    images = np.bincount(place, minlength=bins)
    said, planted = np.bincount(place, values, bins), np.bincount(place, wrong, bins)
    return tuple(
        Bin(int(images[b]), float(said[b] / images[b]), float(planted[b] / images[b]))
        for b in np.flatnonzero(images)
    )


def expected_calibration_error(
    probability: ArrayLike,  # (N,) that the label is wrong, 0..1
    wrong: NDArray[np.bool_],  # (N,)
    bins: int = BINS,
) -> float:
    """How far probabilities are from shares: sum_b n_b / N |mean probability - share wrong| over the bins of
    `reliability` with n_b images (Naeini et al. 2015). 0 is best; NaN without images.
    """
    found = reliability(probability, wrong, bins)
    images = sum(b.images for b in found)
    return math.fsum(b.images * abs(b.probability - b.wrong) for b in found) / images if images else math.nan


def cohens_d(
    a: ArrayLike,  # (A,)
    b: ArrayLike,  # (B,)
) -> float:
    """Difference of the means, a's minus b's, in pooled standard deviations (Cohen 2013, section 2.2).

    NaN where there is no spread to measure by, or no mean.
    """
    import numpy as np

    x, y = _finite(a), _finite(b)
    freedom = len(x) + len(y) - 2
    # by range: the variance of equal numbers may round to more than 0
    if not len(x) or not len(y) or not (np.ptp(x) or np.ptp(y)):
        return math.nan
    pooled = math.sqrt((x.var() * len(x) + y.var() * len(y)) / freedom)
    return float(np.mean(x) - np.mean(y)) / pooled if pooled else math.nan


def wasserstein(
    a: ArrayLike,  # (A,)
    b: ArrayLike,  # (B,)
) -> float:
    """First Wasserstein distance between two samples, in their own unit; NaN where one is empty."""
    from scipy.stats import wasserstein_distance

    x, y = _finite(a), _finite(b)
    return float(wasserstein_distance(x, y)) if len(x) and len(y) else math.nan


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _finite(values: ArrayLike) -> NDArray[np.float64]:
    """As float64, which keeps the ties of any smaller float; DataError where one has no place in an order."""
    import numpy as np

    array = np.asarray(values, np.float64)
    bad = np.flatnonzero(~np.isfinite(array))
    if len(bad):
        raise DataError(
            f"the score of {len(bad):,} of {len(array):,} images is not finite; "
            f"first: image {int(bad[0])}, {array[bad[0]]}",
            "the model diverged, or the score was not recorded for all images: run detect again",
        )
    return array
