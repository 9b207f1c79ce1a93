"""Planted noise is exactly what it says."""

from __future__ import annotations

import numpy as np
import pytest

from labelscrub.evaluation.noise import uniform_flips


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("rate", [0, 0.2, 0.333, 1])
def test_exactly_the_rate_is_flipped_each_to_another_class(classes, rate):
    labels = np.arange(300, dtype=np.int32) % classes
    noisy = uniform_flips(labels, classes, rate, seed=1)
    assert (noisy != labels).sum() == round(rate * 300)
    assert set(noisy) <= set(range(classes))
    np.testing.assert_array_equal(labels, np.arange(300) % classes)


def test_every_other_class_is_as_likely():
    noisy = uniform_flips(np.zeros(9000, np.int32), 4, 1, seed=0)
    np.testing.assert_allclose(np.bincount(noisy, minlength=4), [0, 3000, 3000, 3000], atol=200)


def test_the_seed_decides():
    labels = np.arange(300, dtype=np.int32) % 5
    first, again, other = (uniform_flips(labels, 5, 0.2, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
