"""Probabilities of the given label over the epochs, and the losses' slopes at them."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from labelscrub.config import TrainingSettings
from labelscrub.records import silent
from labelscrub.training.losses import blurry, make_loss
from labelscrub.training.plan import plan_training
from labelscrub.training.trace import slope, trace_training

P = np.array([1e-6, 0.01, 0.05, 0.2, 0.5, 0.9, 0.999])

# Derivatives of the formulas in METHOD.md's table of losses, by hand.
SLOPES: list[tuple[str, dict[str, float], Callable[[NDArray[np.float64]], NDArray[np.float64]]]] = [
    ("ce", {}, lambda p: -1 / p),
    ("focal", {"gamma": 2.0}, lambda p: 2 * (1 - p) * np.log(p) - (1 - p) ** 2 / p),
    ("gce", {"q": 0.7}, lambda p: -(p**-0.3)),
    ("bl", {"gamma": 0.4}, lambda p: -(p**-0.6)),  # p^gamma held constant
    ("pz", {"cutoff": 0.05}, lambda p: np.where(p <= 0.05, 0, -1 / p)),
]


@pytest.mark.parametrize(("name", "parameters", "derivative"), SLOPES)
def test_slopes_are_the_derivatives(
    name: str,
    parameters: dict[str, float],
    derivative: Callable[[NDArray[np.float64]], NDArray[np.float64]],
) -> None:
    p = P[P != 0.05]  # a logarithm's rounding decides on which side of the cutoff 0.05 itself is
    assert slope(make_loss(name, **parameters), p) == pytest.approx(derivative(p), rel=1e-9)


def test_equation_4_turns_round_where_the_paper_says() -> None:
    gamma, turn = 0.5, np.exp(-1 / 0.5)  # paper, section 4.1
    found = slope(functools.partial(blurry, gamma=gamma), np.array([turn * 0.99, turn, turn * 1.01]))
    assert found[0] > 0 > found[2]
    assert found[1] == pytest.approx(0, abs=1e-9)


def test_slopes_keep_their_shape_and_are_finite_at_the_ends() -> None:
    found = slope(make_loss("ce"), np.array([[0.0, 1.0, 0.5]], np.float32))
    assert found.shape == (1, 3)
    assert np.isfinite(found).all()


def test_learnt_labels_rise_above_contradicted_ones() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(96) % 2
    pixels = rng.integers(0, 60, (96, 10, 10, 1), np.uint8)
    pixels[labels == 1, :, :5] += 180
    given = labels.copy()
    given[:8] = 1 - given[:8]
    settings = TrainingSettings(loss="ce", network="fast", epochs=4, batch_size=16, lr=0.003, device="cpu")
    plan = plan_training(settings, shape=pixels.shape, num_classes=2)
    p = trace_training(pixels, given, 2, plan, silent)
    assert p.shape == (4, 96)
    assert ((p >= 0) & (p <= 1)).all()
    assert p[0, 8:].mean() < p[-1, 8:].mean()
    assert p[-1, 8:].mean() > 0.8 > 0.3 > p[-1, :8].mean()
    assert np.array_equal(p, trace_training(pixels, given, 2, plan, silent))
