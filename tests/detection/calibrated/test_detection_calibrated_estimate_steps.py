"""The steps of the estimate one by one, each against a slow twin or the model that its docstring states."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from calibrated_cases import Floats, pair, uniform

from labelscrub.detection.calibrated import estimate
from labelscrub.detection.calibrated.power import POWERS, Power


def test_second_choice() -> None:
    p = np.random.default_rng(0).dirichlet(np.ones(5), 50)
    np.testing.assert_array_equal(estimate._second(p, p.argmax(axis=1)), np.argsort(p, axis=1)[:, -2])


def beliefs_of(q: Floats, labels: np.ndarray, **more: np.ndarray) -> estimate._Beliefs:
    top = q.argmax(axis=1)
    parts = {"in_training": q, "confidence": q.max(axis=1), "second": np.zeros(len(q), bool)} | more
    return estimate._Beliefs(out_of_fold=q, labels=labels, disagrees=top != labels, **parts)


def test_two_opinions_are_one_in_the_middle() -> None:
    rng = np.random.default_rng(0)
    t = pair(3, 0.2)
    outside, inside = rng.dirichlet(np.full(3, 3), 200), rng.dirichlet(np.full(3, 3), 200)
    labels = rng.integers(0, 3, 200)
    beliefs = beliefs_of(outside, labels, in_training=inside)
    odds = []
    for q in (outside, inside):
        sharp = q**1.5
        own = sharp[np.arange(200), labels] * t[labels, labels]
        odds.append(((sharp @ t)[np.arange(200), labels] - own) / own)  # wrong to right
    mean = np.sqrt(odds[0] * odds[1])
    found = estimate._error_probability(beliefs, t, 1.5)
    apart = beliefs.disagrees
    np.testing.assert_allclose(found[apart], (mean / (1 + mean))[apart], atol=2e-4)
    assert apart.sum() > 100


def test_transition_against_a_slow_twin() -> None:
    """Every image is one label; P(wrong) of it goes to other classes by Bayes' rule."""
    rng = np.random.default_rng(0)
    t = np.array([[0.7, 0.3, 0.0], [0.1, 0.8, 0.1], [0.3, 0.2, 0.5]])
    q, labels, e = rng.dirichlet(np.ones(3), 60), rng.integers(0, 3, 60), rng.random(60)
    expected = np.zeros((3, 3))
    for row, g, wrong in zip(q**2, labels, e, strict=True):
        joint = {k: row[k] * t[k, g] for k in range(3) if k != g}
        for k, value in joint.items():
            expected[k, g] += wrong * value / sum(joint.values())
        expected[g, g] += 1 - wrong
    expected /= expected.sum(axis=1, keepdims=True)
    found = estimate._transition(beliefs_of(q, labels), t, 2.0, e)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_interval_holds_the_scatter_of_labels_and_the_doubt_about_the_power() -> None:
    rng = np.random.default_rng(0)
    n, t = 500, uniform(3, 0.2)
    beliefs = beliefs_of(rng.dirichlet(np.ones(3), n), rng.integers(0, 3, n))
    e = estimate._error_probability(beliefs, t, 1.0)
    counts = np.diag([40.0, 40.0, 40.0]) + 5 * (1 - np.eye(3))  # 150 anchors, 30 of another label
    low, high = estimate._interval(beliefs, t, Power(1.0, 1.0, 1.0, 1.0, 1.0), e, counts)
    rates = (rng.random((20_000, n)) < e).mean(axis=1) + rng.binomial(150, 0.2, 20_000) / 150 - 0.2
    assert ((rates >= low) & (rates <= high)).mean() == pytest.approx(0.95, abs=0.01)
    wide = estimate._interval(beliefs, t, Power(1.0, 1.0, 0.5, 2.0, 1.0), e, counts)
    ends = [float(estimate._error_probability(beliefs, t, a).mean()) for a in (0.5, 2.0)]
    assert wide == pytest.approx((low - e.mean() + min(ends), high - e.mean() + max(ends)))
    assert wide[0] < low < high < wide[1]


def test_where_no_power_is_enough_the_interval_goes_by_the_gains() -> None:
    """Without noise in T next to nothing is wrong at any power, though labels are doubted."""
    rng = np.random.default_rng(0)
    beliefs = beliefs_of(rng.dirichlet(np.ones(3), 500), rng.integers(0, 3, 500))
    t, e, anchors = np.eye(3), np.zeros(500), np.diag([400.0, 400.0, 400.0])
    doubted = float(beliefs.disagrees.mean())
    for most in (0.8, 1.0):
        _, high = estimate._interval(beliefs, t, Power(1.0, 1.0, 1.0, POWERS[-1], most), e, anchors)
        assert high == pytest.approx(most * doubted, abs=0.01)
    assert estimate._interval(beliefs, t, Power(1.0, 1.0, 1.0, 1.0, 1.0), e, anchors)[1] < 0.01


def agreed(c: float, r: float, n: int = 40_000) -> tuple[estimate._Beliefs, np.ndarray]:
    """A network right with probability c, labels wrong with probability r, independently; K = 3.

    What is wrong is another class evenly, for network and label alike, so that half of the time they agree.
    The network has no doubt of labels that it agrees with, and just doubt enough of others.
    """
    rng = np.random.default_rng(0)
    true = rng.integers(0, 3, n)
    top = np.where(rng.random(n) < c, true, (true + rng.integers(1, 3, n)) % 3)
    labels = np.where(rng.random(n) < 1 - r, true, (true + rng.integers(1, 3, n)) % 3)
    q = np.where(np.eye(3, dtype=bool)[top], c, (1 - c) / 2)
    q = np.where((top == labels)[:, None], np.eye(3)[top], q)
    second = (rng.random(n) < 0.5) & (top != labels)  # of two other classes: chance
    return beliefs_of(q, labels, second=second, confidence=rng.random(n)), labels != true


@pytest.mark.parametrize(("c", "r"), [(0.8, 0.2), (0.9, 0.05)])
def test_errors_that_the_network_agrees_with(c: float, r: float) -> None:
    """The docstring's model itself."""
    beliefs, wrong = agreed(c, r)
    apart = beliefs.disagrees
    t = uniform(3, r)
    found = estimate._error_probability(beliefs, t, 1.0)
    assert found[apart].mean() == pytest.approx(wrong[apart].mean(), abs=0.01)
    assert found[~apart].mean() == pytest.approx(wrong[~apart].mean(), rel=0.1)
    # Where as much is in e already, nothing is added.
    enough = np.where(apart, found, 0.5)
    np.testing.assert_array_equal(estimate._with_agreed(enough, found, beliefs), enough)


def test_errors_agreed_with_are_sought_where_the_network_is_unsure() -> None:
    unsure, wrong = agreed(0.7, 0.2)
    sure, _ = agreed(1.0, 0.2)
    both = {field.name: [getattr(one, field.name) for one in (unsure, sure)] for field in fields(unsure)}
    both["confidence"][1] = both["confidence"][1] + 1
    beliefs = estimate._Beliefs(**{name: np.concatenate(parts) for name, parts in both.items()})
    found = estimate._error_probability(beliefs, uniform(3, 0.2), 1.0).reshape(2, -1)
    same = ~beliefs.disagrees.reshape(2, -1)
    assert found[0, same[0]].mean() == pytest.approx(wrong[same[0]].mean(), rel=0.15)
    assert found[1, same[1]].mean() < 0.001
