"""Planted label noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def uniform_flips(labels: NDArray[np.int32], num_classes: int, rate: float, seed: int) -> NDArray[np.int32]:
    """Flip a fraction of exactly `rate` of the labels, each to another class at random (paper, section 5).

    Args:
        labels: (N,) class indices.
        num_classes: K, at least 2.
        rate: share of labels to flip, 0..1; round(rate * N) of them are flipped.
        seed: of numpy's default generator.
    Returns:
        (N,) the noisy labels.
    """
    import numpy as np

    generator = np.random.default_rng(seed)
    wrong = generator.choice(len(labels), size=round(rate * len(labels)), replace=False)
    noisy = labels.copy()
    noisy[wrong] = (labels[wrong] + generator.integers(1, num_classes, size=len(wrong))) % num_classes
    return noisy
