"""Small made-up predictions for the detection tests."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelscrub.config import DetectionSettings
from labelscrub.detection import Assessment, find_errors
from labelscrub.records import Findings, Predictions


def noisy(
    n: int = 400, num_classes: int = 5, flipped: float = 0.15, sharpness: float = 4.0, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Probabilities (N, K) of a decent model, given labels (N,) with flips, true labels (N,)."""
    rng = np.random.default_rng(seed)
    true = rng.permutation(np.arange(n) % num_classes)
    given = true.copy()
    wrong = rng.random(n) < flipped
    given[wrong] = (true[wrong] + rng.integers(1, num_classes, int(wrong.sum()))) % num_classes
    logits = rng.normal(size=(n, num_classes))
    logits[np.arange(n), true] += sharpness
    exp = np.exp(logits)
    return (exp / exp.sum(axis=1, keepdims=True)).astype(np.float32), given, true


def predictions(pred_probs: NDArray[np.float32], **more: Any) -> Predictions:
    n = len(pred_probs)
    arrays = {"fold": np.full(n, -1, np.int16), "aum": np.full(n, np.nan, np.float32)} | more
    return Predictions(pred_probs=pred_probs, **arrays)


def find(
    pred_probs: NDArray[np.float32] | Predictions,
    labels: NDArray[np.integer],
    *,
    classes: list[str] | None = None,
    conflict: NDArray[np.int64] | None = None,
    rows: NDArray[np.int64] | None = None,
    folds: int = 0,
    **settings: str,
) -> tuple[Findings, Assessment]:
    """`find_errors` with everything that a test does not care about filled in; classes are a, b, c, ..."""
    given = pred_probs if isinstance(pred_probs, Predictions) else predictions(pred_probs)
    n, num_classes = given.pred_probs.shape
    return find_errors(
        given,
        labels,
        classes or [chr(ord("a") + k) for k in range(num_classes)],
        np.arange(n) if rows is None else rows,
        DetectionSettings(**settings),
        folds=folds,
        conflict=np.zeros(n, np.int64) if conflict is None else conflict,
    )
