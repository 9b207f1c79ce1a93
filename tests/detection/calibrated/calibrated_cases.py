"""A made-up world in which the truth of every figure that calibration estimates is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from labelscrub.detection.calibrated import Estimate, calibrate
from labelscrub.detection.calibrated.gain import margins_of
from labelscrub.detection.calibrated.power import RIGHT_GAIN
from labelscrub.records import Evidence, Plants, Predictions

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def uniform(num_classes: int, rate: float) -> Floats:  # (K, K)
    """Every other class equally often."""
    eye = np.eye(num_classes)
    return (1 - rate) * eye + rate * (1 - eye) / (num_classes - 1)


def pair(num_classes: int, rate: float) -> Floats:  # (K, K)
    """Always the next class."""
    eye = np.eye(num_classes)
    return (1 - rate) * eye + rate * np.roll(eye, 1, axis=1)


def draws(p: Floats, rng: np.random.Generator) -> Ints:  # (N, K) -> (N,)
    """One class a row, by the row's probabilities."""
    return (np.cumsum(p, axis=1) < rng.random((len(p), 1))).sum(axis=1).clip(0, p.shape[1] - 1)


@dataclass(frozen=True, eq=False)
class World:
    """N images, K classes."""

    predictions: Predictions
    labels: Ints
    """(N,) given."""
    wrong: NDArray[np.bool_]
    """(N,)"""
    transition: Floats
    """(K, K) labels were given through."""

    @property
    def noise_rate(self) -> float:
        return float(self.wrong.mean())

    def estimate(self, assessed: NDArray[np.bool_] | None = None) -> Estimate:
        every = np.ones(self.predictions.pred_probs.shape[1], bool)
        return calibrate(self.predictions, self.labels, every if assessed is None else assessed)


def world(
    n: int,
    transition: Floats,  # (K, K)
    *,
    seed: int = 0,
    classes: Floats | None = None,  # (K,) share of each
    hard: float = 0.25,  # share of images that can't be told with certainty
    plants: float = 0.15,  # share of the images
    dtype: type = np.float32,
) -> World:
    """Each image shows its class y as a point y + noise, so softmax of it is exactly P(y | image): q.

    Out of fold the network sees that point, in training another that is nearly the same. It models labels as
    given: p = q T. A label is learnt by what both margins say and, where it is right, RIGHT_GAIN more.
    """
    rng = np.random.default_rng(seed)
    num_classes = len(transition)
    classes = np.full(num_classes, 1 / num_classes) if classes is None else classes
    true = draws(np.tile(classes, (n, 1)), rng)
    signal = np.where(rng.random(n) < hard, 2.0, 7.0)[:, None]  # distance of the classes, in deviations
    point = signal * np.eye(num_classes)[true] + rng.normal(size=(n, num_classes))
    blur = 0.1
    again = point + blur * rng.normal(size=point.shape)
    prior = np.log(np.maximum(classes, 1e-9))
    outside = softmax(signal * point + prior, axis=1) @ transition
    inside = softmax(signal * again / (1 + blur**2) + prior, axis=1) @ transition
    labels = draws(transition[true], rng)
    logits = np.log(outside + 1e-6) + 0.3 * rng.normal(size=outside.shape)

    def learnt(index: Ints, of: Ints, right: NDArray[np.bool_]) -> Floats:
        x, m = margins_of(np.log(outside[index] + 1e-6), of), margins_of(logits[index], of)
        return 3 + 0.5 * x + 0.2 * m + RIGHT_GAIN * right + rng.normal(size=len(index))

    planted = np.sort(rng.choice(n, round(plants * n), replace=False))
    planted_label = (true[planted] + rng.integers(1, num_classes, len(planted))) % num_classes
    evidence = Evidence(
        train_probs=inside.astype(dtype),
        late_margin=learnt(np.arange(n), labels, labels == true).astype(dtype),
        mean_logits=logits.astype(dtype),
        plants=Plants(
            index=planted,
            label=planted_label.astype(np.int32),
            fold=np.ones(len(planted), np.int16),
            late_margin=learnt(planted, planted_label, np.zeros(len(planted), bool)).astype(dtype),
        ),
    )
    return World(predictions(outside.astype(dtype), evidence=evidence), labels, labels != true, transition)


def predictions(pred_probs: NDArray[Any], **more: Any) -> Predictions:
    n = len(pred_probs)
    return Predictions(
        pred_probs=pred_probs,
        fold=np.arange(n, dtype=np.int16) % 3,
        aum=np.full(n, np.nan, np.float32),
        **more,
    )
