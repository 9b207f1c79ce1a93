"""Error probabilities, noise rate and transition matrix of a run; see the package for how they come about."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from labelscrub.detection.calibrated import transition as matrix
from labelscrub.detection.calibrated.gain import gains
from labelscrub.detection.calibrated.power import POWERS, Power, choose_power
from labelscrub.detection.calibrated.transition import Floats
from labelscrub.records import Evidence, Plants, Predictions

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
    from_plants: bool
    """False where too few were planted to tell noise that depends on the image."""
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

    Nor do those classes' probabilities, else every uncertain image might truly belong to them. Classes that
    the model knows and no label names do.

    Raises:
        ValueError: predictions without evidence.
    """
    if predictions.evidence is None:
        raise ValueError("calibrating needs the evidence that training records for it")
    num_classes = len(assessed)
    index = np.flatnonzero(assessed[labels])
    unlabelled = (np.bincount(labels, minlength=num_classes) == 0) & predictions.pred_probs.any(axis=0)
    columns = np.flatnonzero(assessed | unlabelled)
    given = np.searchsorted(columns, labels[index])
    evidence = _of(predictions.evidence, index, columns, (num_classes, len(labels)))
    p = _tempered(predictions.pred_probs[np.ix_(index, columns)], given)
    inside = _tempered(evidence.train_probs, given)
    counts = matrix.anchor_counts(p, given)
    t = matrix.transition_matrix(counts)
    top = p.argmax(axis=1)
    outside = matrix.deconvolve(p, t)
    beliefs = _Beliefs(
        out_of_fold=outside,
        in_training=matrix.deconvolve(inside, t),
        labels=given,
        disagrees=top != given,
        confidence=matrix.confidence(p),
        second=_second(outside, outside.argmax(axis=1)) == given,
    )
    gain = gains(np.log(p + matrix.SMALLEST), given, evidence)
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
    error_probability, class_noise_rates = np.full(len(labels), np.nan), np.full(num_classes, np.nan)
    error_probability[index] = e
    class_noise_rates[columns] = _class_means(e, given, len(columns))
    transition = np.full((num_classes, num_classes), np.nan)
    transition[columns] = 0
    transition[np.ix_(columns, columns)] = _transition(beliefs, t, power.chosen, e)
    return Estimate(
        error_probability=error_probability,
        noise_rate=float(e.mean()),
        low=low,
        high=high,
        class_noise_rates=class_noise_rates,
        transition=transition,
        from_plants=gain is not None,
        depends_on_image=power.depends_on_image,
    )


def _tempered(p: NDArray[np.float32], labels: NDArray[np.int64]) -> Floats:
    values = p.astype(np.float64)
    values /= np.maximum(values.sum(axis=1, keepdims=True), matrix.SMALLEST)
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


def _of(
    evidence: Evidence,
    index: NDArray[np.int64],  # (n,) images kept
    columns: NDArray[np.int64],  # (J,) classes kept
    shape: tuple[int, int],  # K, N before
) -> Evidence:
    """The evidence of some images and classes only; plants of others are left out."""
    image, column = np.full(shape[1], -1), np.full(shape[0], -1)
    image[index], column[columns] = np.arange(len(index)), np.arange(len(columns))
    plants = evidence.plants
    kept = (image[plants.index] >= 0) & (column[plants.label] >= 0)
    return Evidence(
        train_probs=evidence.train_probs[np.ix_(index, columns)],
        late_margin=evidence.late_margin[index],
        mean_logits=evidence.mean_logits[np.ix_(index, columns)],
        plants=Plants(
            index=image[plants.index[kept]],
            label=column[plants.label[kept]].astype(np.int32),
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
    B = (1 - c)(1 - r). Where both are wrong they agree in the share s, taken to be that in which wrong labels
    are the second most probable class: A = c r + (1 - s)(1 - c) r. So r is the smaller root of
    z^2 - (1 + A - s B) z + A = 0, and s (1 - c) r = r - A is wrong and looks right. Where the mean error
    probability of the labels agreed with is less than that makes, it is raised to it.
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
        same = float(found[beliefs.second[members]].sum()) / max(float(found.sum()), 1e-9)
        middle = 1 + wrong - same * right
        rate = (middle - np.sqrt(max(middle**2 - 4 * wrong, 0.0))) / 2
        hidden = max(rate - wrong, 0.0) * members.sum() / agreed.sum()
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
    another (and two more of four), for everything starts from it; and of a mean of labels that are wrong with
    probability e each. Where even the largest power fits, what the gains leave possible is the upper end.
    """
    rates = [float(e.mean())]
    rates += [float(_error_probability(beliefs, t, a).mean()) for a in (power.low, power.high)]
    if power.high >= POWERS[-1]:  # T so near the identity that no power makes as many wrong as the gains say
        rates.append(float(beliefs.disagrees.mean()) * power.most)
    anchors = counts.sum()
    r = (anchors - counts.trace() + 2) / (anchors + 4)  # Agresti and Coull: never 0 of few
    variance = r * (1 - r) / anchors + (e * (1 - e)).sum() / len(e) ** 2
    sampling = NORMAL_95 * float(np.sqrt(variance))
    return max(min(rates) - sampling, 0.0), min(max(rates) + sampling, 1.0)


def _class_means(e: Floats, given: NDArray[np.int64], num_classes: int) -> Floats:
    count = np.bincount(given, minlength=num_classes)
    total = np.bincount(given, weights=e, minlength=num_classes)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _transition(beliefs: _Beliefs, t: Floats, power: float, e: Floats) -> Floats:  # (K, K)
    """Expected counts of true and given labels, each image's error probability shared out by q(k) T(k, g)."""
    num_classes, given = len(t), beliefs.labels
    at = np.arange(len(e))
    other = matrix.raised(beliefs.out_of_fold, power) * t.T[given]
    other[at, given] = 0
    total = other.sum(axis=1, keepdims=True)
    other *= e[:, None] / np.where(total > 0, total, 1)
    other[at, given] = 1 - e
    counts = np.stack([np.bincount(given, weights=column, minlength=num_classes) for column in other.T])
    rows = counts.sum(axis=1, keepdims=True)
    return np.where(rows > 0, counts / np.where(rows > 0, rows, 1), np.nan)
