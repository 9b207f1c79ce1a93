"""What training on a label gained: right labels teach the network more than wrong ones do.

The late margin of an image's label, in the passes that trained on it, is mostly what the network says out of
fold, and a little more, for it has seen the image. Planted flips show how much more for a label that is
wrong: the late margin is fitted to out-of-fold margins on the plants, and what an image has beyond the fit,
in standard deviations of the plants, is its *gain*. A wrong label's gain is about 0, or less where wrong
labels are easier to tell than the planted ones; a right one's is larger, because what made it right is in the
picture for the network to learn, also where out of fold it would have said another class.

The gain of one image says little (standard deviation 1); the mean over a thousand says what share is right.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from labelscrub.detection.calibrated.transition import Floats
from labelscrub.records import Evidence

FEWEST_PLANTS = 40
RIDGE = 1.0


def margins_of(logits: Floats, labels: NDArray[np.integer]) -> Floats:  # (N, K), (N,) -> (N,)
    """Logit (or log probability) of the label minus the largest other."""
    at = np.arange(len(logits))
    others = logits.copy()
    others[at, labels] = -np.inf
    found: Floats = logits[at, labels] - others.max(axis=1)
    return found


@dataclass(frozen=True, eq=False)
class Gains:
    """How much better than a wrong label each label was learnt."""

    values: Floats
    """(N,) in standard deviations of the plants."""
    terms: Floats
    """(N, 4) what the late margin was predicted from, centred on the plants."""
    precision: Floats
    """(4, 4) inverse of (terms' terms + ridge) over the plants."""
    plants: int
    """That the fit is from."""

    def of(self, index: NDArray[np.int64]) -> Gains:
        """Those of some images."""
        return replace(self, values=self.values[index], terms=self.terms[index])

    def standard_error(self, members: NDArray[np.bool_]) -> float:
        """Of the mean over `members` (N,), from the fit to so few plants and the scatter of single images."""
        values, mean = self.values[members], self.terms[members].mean(axis=0)
        fit = 1 / self.plants + mean @ self.precision @ mean
        return float(np.sqrt(fit + values.var() / len(values)))


def gains(
    log_p: Floats,  # (N, K) log out-of-fold probabilities
    labels: NDArray[np.integer],  # (N,)
    evidence: Evidence,
) -> Gains | None:
    """Late margin beyond a wrong label's, in deviations of the planted ones; None where plants are too few.

    Ridge regression of the plants' late margins on x, m, min(x, 0)^2, min(m, 0)^2, with x the margin in
    `log_p` and m that in the mean logits; on plants whose label is not the class predicted out of fold.
    """
    plants = evidence.plants
    mean_logits = evidence.mean_logits.astype(np.float64)
    where = plants.index
    x = margins_of(log_p[where], plants.label)
    used = x < 0
    if used.sum() < FEWEST_PLANTS:
        return None
    own = _terms(margins_of(log_p, labels), margins_of(mean_logits, labels))
    scale = own.std(axis=0) + 1e-12
    planted = _terms(x, margins_of(mean_logits[where], plants.label))[used] / scale
    center, target = planted.mean(axis=0), plants.late_margin[used].astype(np.float64)
    planted, own, mean = planted - center, own / scale - center, target.mean()
    precision = np.linalg.inv(planted.T @ planted + RIDGE * np.eye(planted.shape[1]))
    weights = precision @ planted.T @ (target - mean)
    deviation = max(float((target - mean - planted @ weights).std()), 1e-9)
    values = (evidence.late_margin - mean - own @ weights) / deviation
    return Gains(values, own, precision, int(used.sum()))


def _terms(x: Floats, m: Floats) -> Floats:  # (N,), (N,) -> (N, 4)
    return np.stack([x, m, np.minimum(x, 0) ** 2, np.minimum(m, 0) ** 2], axis=1)
