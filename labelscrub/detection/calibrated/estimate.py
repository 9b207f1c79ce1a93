"""Error probabilities, noise rate and transition matrix of a run; see the package for how they come about."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from labelscrub.detection.calibrated import transition as matrix
from labelscrub.detection.calibrated.gain import gains
from labelscrub.detection.calibrated.power import Power, choose_power
from labelscrub.detection.calibrated.transition import Floats
from labelscrub.records import Evidence, Predictions

BINS = 20  # of confidence, in which errors that the network agrees with are estimated
FITTED_IMAGES = 20_000  # drawn to choose temperatures and power by; more would hardly move them
CLIP = 1e-5  # probabilities in logits
NORMAL_95 = 1.96


@dataclass(frozen=True, eq=False)
class Estimate:
    """What is wrong, as far as one run can tell."""

    error_probability: Floats
    """(N,) P(given label is wrong); NaN where not assessed."""
    noise_rate: float
    """Mean of it."""
    low: float
    """95 % interval of the noise rate."""
    high: float
    class_noise_rates: Floats
    """(K,) mean over the images given that label; NaN where not assessed."""
    transition: Floats
    """(K, K) P(given = column | true = row); a row of NaN where the class was not assessed."""
    depends_on_image: bool
    """Labels look wrong more often where images are hard; some such errors the network agrees with."""


@dataclass(frozen=True, eq=False)
class _Beliefs:
    """About the true labels, before the power."""

    out_of_fold: Floats
    """(n, K)"""
    in_training: Floats
    """(n, K)"""
    labels: NDArray[np.int64]
    """(n,)"""
    disagrees: NDArray[np.bool_]
    """(n,)"""
    confidence: Floats
    """(n,)"""
    second: NDArray[np.bool_]
    """(n,) the given label is the second most probable class out of fold."""


def calibrate(
    predictions: Predictions,
    labels: NDArray[np.integer],  # (N,)
    assessed: NDArray[np.bool_],  # (K,)
) -> Estimate:
    """Estimate from a run's probabilities and evidence; images of classes not assessed take no part.

    Raises:
        ValueError: predictions without evidence.
    """
    evidence = predictions.evidence
    if evidence is None:
        raise ValueError("calibrating needs the evidence that training records for it")
    index = np.flatnonzero(assessed[labels])
    given = labels[index].astype(np.int64)
    p = _tempered(predictions.pred_probs[index], given)
    inside = _tempered(evidence.train_probs[index], given)
    counts = matrix.anchor_counts(p, given)
    t = matrix.transition_matrix(counts)
    top = p.argmax(axis=1)
    beliefs = _Beliefs(
        out_of_fold=matrix.deconvolve(p, t),
        in_training=matrix.deconvolve(inside, t),
        labels=given,
        disagrees=top != given,
        confidence=matrix.confidence(p),
        second=_second(p, top) == given,
    )
    gain = gains(np.log(p + matrix.SMALLEST), given, _of(evidence, index, len(labels)))
    drawn = _drawn(len(index))
    power = choose_power(
        beliefs.out_of_fold[drawn],
        t,
        given[drawn],
        None if gain is None else gain.of(drawn),
        beliefs.disagrees[drawn],
    )
    e = _error_probability(beliefs, t, power.chosen)
    low, high = _interval(beliefs, t, power, e, counts)
    error_probability = np.full(len(labels), np.nan)
    error_probability[index] = e
    return Estimate(
        error_probability=error_probability,
        noise_rate=float(e.mean()),
        low=low,
        high=high,
        class_noise_rates=_class_means(e, given, assessed),
        transition=_transition(beliefs, t, power.chosen, e, assessed),
        depends_on_image=power.depends_on_image,
    )


def _tempered(p: NDArray[np.float32], labels: NDArray[np.int64]) -> Floats:
    values = p.astype(np.float64)
    values /= values.sum(axis=1, keepdims=True)
    drawn = _drawn(len(values))
    return matrix.raised(values, 1 / matrix.temper(values[drawn], labels[drawn]))


def _drawn(n: int) -> NDArray[np.int64]:
    """At most `FITTED_IMAGES` of n images, always the same."""
    if n <= FITTED_IMAGES:
        return np.arange(n)
    return np.sort(np.random.default_rng(n).choice(n, FITTED_IMAGES, replace=False))


def _second(p: Floats, top: NDArray[np.int64]) -> NDArray[np.int64]:
    rest = p.copy()
    rest[np.arange(len(p)), top] = -1
    second: NDArray[np.int64] = rest.argmax(axis=1)
    return second


def _of(evidence: Evidence, index: NDArray[np.int64], images: int) -> Evidence:
    """The evidence of some images only; plants of others are left out."""
    place = np.full(images, -1)
    place[index] = np.arange(len(index))
    plants = evidence.plants
    kept = place[plants.index] >= 0
    return Evidence(
        train_probs=evidence.train_probs[index],
        late_margin=evidence.late_margin[index],
        mean_logits=evidence.mean_logits[index],
        plants=type(plants)(
            index=place[plants.index[kept]],
            label=plants.label[kept],
            fold=plants.fold[kept],
            late_margin=plants.late_margin[kept],
        ),
    )


def _error_probability(beliefs: _Beliefs, t: Floats, power: float) -> Floats:  # (n,)
    """Both kinds of evidence, and errors that the network agrees with.

    logit e = (logit e_out_of_fold + logit e_in_training) / 2: they are nearly one opinion, not two.
    """
    outside = matrix.wrong(matrix.raised(beliefs.out_of_fold, power), t, beliefs.labels)
    inside = matrix.wrong(matrix.raised(beliefs.in_training, power), t, beliefs.labels)
    logits = [logit(np.clip(e, CLIP, 1 - CLIP)) for e in (outside, inside)]
    e: Floats = expit((logits[0] + logits[1]) / 2)
    return _with_agreed(e, outside, beliefs)


def _with_agreed(e: Floats, outside: Floats, beliefs: _Beliefs) -> Floats:
    """Add what is wrong among the labels that the network agrees with.

    In a bin of like confidence let A be the share of images wrong and disagreed with, B right and disagreed
    with. Suppose labels are wrong with probability r and the network right with probability c, independently:
    A = c r, B = (1 - c)(1 - r). So c and r are the roots of z^2 - (1 + A - B) z + A = 0, c the larger, and
    both are wrong with probability (1 - c) r = r - A. Of those the ones look right to the network whose label
    is the very class it errs to, in the share in which wrong labels are its second choice.
    """
    e = e.copy()
    n = len(e)
    place = np.argsort(np.argsort(beliefs.confidence, kind="stable"), kind="stable")
    bins = place * BINS // n
    for k in range(BINS):
        members = bins == k
        agreed = members & ~beliefs.disagrees
        if not agreed.any() or agreed.sum() == members.sum():
            continue
        found = np.where(beliefs.disagrees, outside, 0)[members]
        wrong = float(found.mean())
        right = float(beliefs.disagrees[members].mean()) - wrong
        middle = 1 + wrong - right
        rate = (middle - np.sqrt(max(middle**2 - 4 * wrong, 0.0))) / 2
        same = float(found[beliefs.second[members]].sum()) / max(float(found.sum()), 1e-9)
        hidden = max(rate - wrong, 0.0) * same * members.sum() / agreed.sum()
        e[agreed] += max(hidden - float(e[agreed].mean()), 0.0)
    return np.clip(e, 0, 1)


def _interval(
    beliefs: _Beliefs,
    t: Floats,
    power: Power,
    e: Floats,
    counts: Floats,  # (K, K) of the anchors
) -> tuple[float, float]:
    """Noise rates of the powers that fit about as well, and on both sides what sampling adds.

    That is 1.96 standard errors of r, sqrt(r (1 - r) / A), with r the share of the A anchors whose label is
    another, for everything starts from it; and of a mean of labels that are wrong with probability e each.
    """
    rates = [float(e.mean())]
    rates += [float(_error_probability(beliefs, t, a).mean()) for a in (power.low, power.high)]
    anchors = counts.sum()
    r = 1 - counts.trace() / anchors
    variance = r * (1 - r) / anchors + (e * (1 - e)).sum() / len(e) ** 2
    sampling = NORMAL_95 * float(np.sqrt(variance))
    return max(min(rates) - sampling, 0.0), min(max(rates) + sampling, 1.0)


def _class_means(e: Floats, given: NDArray[np.int64], assessed: NDArray[np.bool_]) -> Floats:
    num_classes = len(assessed)
    count = np.bincount(given, minlength=num_classes)
    total = np.bincount(given, weights=e, minlength=num_classes)
    return np.where(assessed & (count > 0), total / np.maximum(count, 1), np.nan)


def _transition(
    beliefs: _Beliefs, t: Floats, power: float, e: Floats, assessed: NDArray[np.bool_]
) -> Floats:  # (K, K)
    """Expected counts of true and given labels, each image's error probability shared out by q(k) T(k, g)."""
    num_classes = len(assessed)
    given = beliefs.labels
    at = np.arange(len(e))
    other = matrix.raised(beliefs.out_of_fold, power) * t.T[given]
    other[at, given] = 0
    total = other.sum(axis=1, keepdims=True)
    other *= e[:, None] / np.where(total > 0, total, 1)
    other[at, given] = 1 - e
    counts = np.stack([np.bincount(given, weights=column, minlength=num_classes) for column in other.T])
    rows = counts.sum(axis=1, keepdims=True)
    known = assessed[:, None] & (rows > 0)
    return np.where(known, counts / np.where(rows > 0, rows, 1), np.nan)
