"""How much of the doubt in q is the network's own: the power a that q is raised to.

e_i(a) = P(wrong | image, given label) with q_i^a, normalised, for q_i (see `transition.wrong`). a near 0
doubts everything; a large takes the network's most probable class for the truth.

Likelihood: a_0 = argmax_a sum_i log (T' q_i^a)(g_i), over the labels themselves. Noise that depends on the
image only by its class is explained by T, and the doubt left is ambiguity: e(a_0) is right for it (for
uniform and pair flips measured within 0.02 on Fashion-MNIST).

Gain: where images are wrong because they are hard, p has learnt their wrong labels as doubt, and a_0 is too
small. Let G be the mean gain (see `gain`) over the D images that the network disagrees with out of fold. A
right label gains `RIGHT_GAIN`, a wrong one w (at most 0: the mean gain of the surely wrong ones), so that the
share of wrong labels among the D is about s = (RIGHT_GAIN - G) / (RIGHT_GAIN - w). The power chosen is

    a = argmin_{a >= a_0}  ((mean_D e(a) - s) / sigma)^2 + 2 `RELUCTANCE` log(a / a_0)

with sigma^2 the sampling variance of s plus `SYSTEMATIC`^2, for what is not known about RIGHT_GAIN.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labelscrub.detection.calibrated.gain import Gains
from labelscrub.detection.calibrated.transition import Floats, raised

POWERS = np.geomspace(1 / 1.3, 1 / 0.06, 45)
# What right labels gain that the network disagrees with, in deviations of planted ones: 0.2 to 0.45 with the
# truth known. It and the two below were chosen on a few of the cases in MEASURED.md, not derived.
RIGHT_GAIN = 0.4
SYSTEMATIC = 0.05  # in s
RELUCTANCE = 1.5  # as linear penalties do, it leaves a at a_0 unless the gains speak clearly
SURELY_WRONG = 0.95  # error probability at a_0
PRIOR_SURE = 50.0  # images with gain 0: weight against a mean over few
INTERVAL = 3.84  # chi-square with one degree of freedom, 95 %


@dataclass(frozen=True)
class Power:
    """The power chosen, and the range of those that fit about as well."""

    likeliest: float
    """a_0."""
    chosen: float
    low: float
    """Smallest within the 95 % interval; gives the smallest noise rate."""
    high: float
    most: float
    """Share of the labels disagreed with that may be wrong: s + 1.96 sigma, at most 1."""

    @property
    def depends_on_image(self) -> bool:
        """Whether labels look wrong more often where images are hard."""
        return self.chosen > self.likeliest


def choose_power(
    q: Floats,  # (N, K)
    transition: Floats,  # (K, K)
    labels: NDArray[np.integer],  # (N,)
    gain: Gains | None,
    disagrees: NDArray[np.bool_],  # (N,) most probable class out of fold is not the given one
) -> Power:
    """The power for these images; that of the likelihood alone where there is no gain to go by."""
    at = np.arange(len(q))
    sharpened = (raised(q, a) for a in POWERS)
    likelihood, error = [], []
    for belief in sharpened:
        given = np.einsum("ik,ik->i", belief, transition.T[labels])
        likelihood.append(np.log(np.maximum(given, 1e-12)).sum())
        right = belief[at, labels] * transition[labels, labels]
        error.append(1 - right / np.maximum(given, 1e-12))
    first = int(np.argmax(likelihood))
    if gain is None or disagrees.sum() < 2:  # nothing says that a_0 is enough
        a = float(POWERS[first])
        return Power(a, a, a, float(POWERS[-1]), most=1.0)
    d = gain.values[disagrees]
    surely = gain.values[disagrees & (error[first] > SURELY_WRONG)]
    wrong_gain = min(0.0, float(surely.sum() / (len(surely) + PRIOR_SURE)))
    apart = RIGHT_GAIN - wrong_gain
    share = (RIGHT_GAIN - d.mean()) / apart
    sigma = np.hypot(gain.standard_error(disagrees) / apart, SYSTEMATIC)
    candidates = np.arange(first, len(POWERS))
    misfit = np.array([((error[i][disagrees].mean() - share) / sigma) ** 2 for i in candidates])
    misfit += 2 * RELUCTANCE * np.log(POWERS[candidates] / POWERS[first])
    fits = candidates[misfit <= misfit.min() + INTERVAL]
    chosen = candidates[int(np.argmin(misfit))]
    most = float(np.clip(share + np.sqrt(INTERVAL) * sigma, 0, 1))
    of_likelihood, best, low, high = (float(POWERS[i]) for i in (first, chosen, fits[0], fits[-1]))
    return Power(of_likelihood, best, low, high, most)
