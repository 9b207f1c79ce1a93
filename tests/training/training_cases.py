"""Small made-up images that a small network learns in a second, for the training tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from labelscrub.config import TrainingSettings
from labelscrub.training import FoldResult, TrainingPlan, plan_training

CLASSES = 3


def images(
    number: int = 90, side: int = 8, channels: int = 1, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """(N, S, S, C) noise with one bright row, or of one colour, as the class says; and the (N,) classes."""
    rng = np.random.default_rng(seed)
    label = np.arange(number) % CLASSES
    pixels = rng.integers(0, 60, (number, side, side, channels), dtype=np.uint8)
    if channels == 1:
        pixels[np.arange(number), 1 + 2 * label] += 150
    else:
        pixels[np.arange(number), :, :, label] += 150
    return pixels, label


def plan(pixels: np.ndarray, **settings: Any) -> TrainingPlan:
    chosen = {"device": "cpu", "precision": "float32", "batch_size": 16, "epochs": 3, **settings}
    return plan_training(TrainingSettings(**chosen), shape=pixels.shape, num_classes=CLASSES)


def same(a: FoldResult, b: FoldResult) -> bool:
    mine, theirs = a.arrays(), b.arrays()
    return mine.keys() == theirs.keys() and all(mine[k].tobytes() == theirs[k].tobytes() for k in mine)
