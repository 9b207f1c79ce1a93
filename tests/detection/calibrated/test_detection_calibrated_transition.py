"""Tempering, anchors, the transition matrix and its removal, against slow twins and what must happen."""

from __future__ import annotations

from math import log, prod

import numpy as np
import pytest
from calibrated_cases import Floats, Ints, draws, pair, uniform
from scipy.special import softmax
from scipy.stats import betabinom

from labelscrub.detection.calibrated.transition import (
    ANCHOR_SHARE,
    CONCENTRATIONS,
    FEWEST_ANCHORS,
    ITERATIONS,
    TEMPERATURES,
    anchor_counts,
    confidence,
    deconvolve,
    raised,
    temper,
    transition_matrix,
    wrong,
)

STEP = TEMPERATURES[1] / TEMPERATURES[0]


def beliefs(n: int, num_classes: int, seed: int = 0, alpha: float = 0.5) -> Floats:
    return np.random.default_rng(seed).dirichlet(np.full(num_classes, alpha), n)


def counts_of(t: Floats, n: int, seed: int = 0) -> Floats:
    """Labels given to n pure images a class."""
    rng = np.random.default_rng(seed)
    return np.array([rng.multinomial(n, row) for row in t]).astype(float)


@pytest.mark.parametrize("num_classes", [2, 10])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_temper_finds_what_calibrates(temperature: float, num_classes: int) -> None:
    rng = np.random.default_rng(3)
    logits = 2 * rng.normal(size=(8000, num_classes))
    labels = draws(softmax(logits, axis=1), rng)
    found = temper(softmax(logits * temperature, axis=1), labels)
    assert temperature / STEP < found < temperature * STEP


def test_temper_is_the_best_of_the_grid() -> None:
    p = beliefs(60, 3, alpha=2.0)
    labels = draws(p, np.random.default_rng(1))

    def likelihood(t: float) -> float:
        return sum(log(row[g] ** (1 / t) / sum(row ** (1 / t))) for row, g in zip(p, labels, strict=True))

    assert temper(p, labels) == max(TEMPERATURES, key=likelihood)


@pytest.mark.parametrize("num_classes", [2, 3, 10])
def test_raised(num_classes: int) -> None:
    p = beliefs(50, num_classes, alpha=1.0)
    np.testing.assert_allclose(raised(p, 0), 1 / num_classes)
    np.testing.assert_allclose(raised(p, 1), p, atol=2e-6 * num_classes)
    np.testing.assert_allclose(raised(p, 1e6), np.eye(num_classes)[p.argmax(axis=1)], atol=1e-9)
    np.testing.assert_allclose(raised(p, 2), p**2 / (p**2).sum(axis=1, keepdims=True), atol=1e-5)
    np.testing.assert_allclose(raised(p, 1.7).sum(axis=1), 1)


def test_raised_at_the_ends_of_what_floats_hold() -> None:
    p = np.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]])
    for power in (0.1, 1, 20):
        assert np.isfinite(raised(p, power)).all()
    np.testing.assert_allclose(raised(p, 20), p, atol=1e-9)


def test_confidence() -> None:
    p = np.array([[0.8, 0.2, 0.0], [0.1, 0.3, 0.6], [0.4, 0.2, 0.4], [0.0, 0.0, 1.0]])
    expected = [log(0.8 / 0.2), log(0.6 / 0.3), 0]
    np.testing.assert_allclose(confidence(p)[:3], expected, atol=1e-3)
    assert np.isfinite(confidence(p)[3]) and confidence(p)[3] > 5
    np.testing.assert_allclose(confidence(p[:, ::-1]), confidence(p))
    np.testing.assert_allclose(confidence(np.array([[0.7, 0.3]])), log(7 / 3), atol=1e-3)


def test_anchors_against_a_slow_twin() -> None:
    num_classes = 4
    p = beliefs(2000, num_classes)
    p[:, 3] *= 0.1  # few are predicted as the last class: fewer than ANCHOR_SHARE asks for at least
    p /= p.sum(axis=1, keepdims=True)
    labels = draws(p @ uniform(num_classes, 0.3), np.random.default_rng(1))
    expected = np.zeros((num_classes, num_classes))
    for k in range(num_classes):
        sure = []
        for i, row in enumerate(p.tolist()):
            first, second = sorted(row, reverse=True)[:2]
            if row[k] == first:
                sure.append((sum(row) - first, i))
                assert first >= second
        for _, i in sorted(sure)[: max(FEWEST_ANCHORS, round(ANCHOR_SHARE * len(sure)))]:
            expected[k, labels[i]] += 1
    found = anchor_counts(p, labels)
    np.testing.assert_array_equal(found, expected)
    assert found[3].sum() < found[0].sum()


def test_a_class_never_predicted_has_no_anchors_and_one_seldom_predicted_has_all() -> None:
    p = np.array([[0.9, 0.1, 0.0]] * 50 + [[0.2, 0.8, 0.0]] * 5)
    labels = np.array([0] * 45 + [2] * 5 + [1] * 4 + [0])
    counts = anchor_counts(p, labels)
    assert counts.shape == (3, 3)
    assert counts[0].sum() == FEWEST_ANCHORS
    assert counts[1].tolist() == [1, 4, 0]
    assert counts[2].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    "counts",
    [
        np.zeros((3, 3)),
        np.diag([5.0, 0.0, 900.0]),
        counts_of(uniform(10, 0.3), 200),
        counts_of(pair(2, 0.3), 50),
        np.array([[0.0, 9.0], [0.0, 0.0]]),
    ],
    ids=["nothing", "none-wrong", "even", "two", "all-wrong"],
)
def test_rows_are_distributions(counts: Floats) -> None:
    t = transition_matrix(counts)
    np.testing.assert_allclose(t.sum(axis=1), 1)
    assert (t >= 0).all()
    assert (np.diag(t) < 1).all()  # nothing is ruled out, however few were seen


def slow_matrix(counts: Floats) -> Floats:
    """By the docstring. The marginal likelihood as a Polya urn: draw a colour, put two of it back."""
    size = len(counts)

    def marginal(b: float) -> float:
        total = 0.0
        for k in range(size):
            cells = [int(c) for g, c in enumerate(counts[k]) if g != k]
            share = b / (size - 1)
            total += sum(log(share + seen) for c in cells for seen in range(c))
            total -= sum(log(b + seen) for seen in range(sum(cells)))
        return total

    b = max(CONCENTRATIONS, key=marginal)
    n, m = counts.sum(axis=1), counts.sum(axis=1) - np.diag(counts)
    r = (m.sum() + 0.5) / (n.sum() + 1)

    def of_rates(c: float) -> float:
        return float(betabinom.logpmf(m, n, c * r, c * (1 - r)).sum())

    c = max(CONCENTRATIONS, key=of_rates)
    t = np.zeros((size, size))
    for k in range(size):
        rate = (m[k] + c * r) / (n[k] + c)
        for g in range(size):
            t[k, g] = 1 - rate if g == k else rate * (counts[k, g] + b / (size - 1)) / (m[k] + b)
    return t


@pytest.mark.parametrize(
    "counts",
    [
        counts_of(uniform(4, 0.3), 40),
        counts_of(pair(4, 0.3), 40),
        counts_of(0.5 * uniform(5, 0.3) + 0.5 * pair(5, 0.3), 60),
        np.array([[9.0, 1, 0], [0, 0, 0], [0, 2, 7]]),
    ],
    ids=["even", "pair", "mixed", "small"],
)
def test_matrix_against_an_urn(counts: Floats) -> None:
    np.testing.assert_allclose(transition_matrix(counts), slow_matrix(counts), rtol=1e-9)


def test_marginal_likelihood_sums_to_one_over_all_counts() -> None:
    """The urn above is a distribution: over all ways to draw 3 of 3 other classes."""
    b, share = 1.7, 1.7 / 3
    total = 0.0
    for first in range(4):
        for second in range(4 - first):
            cells = (first, second, 3 - first - second)
            ways = 6 / prod(prod(range(1, c + 1)) for c in cells)
            urn = prod(share + seen for c in cells for seen in range(c))
            total += ways * urn / prod(b + seen for seen in range(3))
    assert total == pytest.approx(1)


def test_no_wrong_anchor_gives_nearly_no_noise_evenly() -> None:
    t = transition_matrix(np.diag([500.0, 500.0, 500.0]))
    assert (np.diag(t) > 0.9995).all()
    np.testing.assert_allclose(t[~np.eye(3, dtype=bool)], t[0, 1])


def test_even_counts_give_even_rows_and_one_strong_pair_is_kept() -> None:
    other = ~np.eye(8, dtype=bool)
    noisy = counts_of(uniform(8, 0.35), 150)
    raw = (noisy / noisy.sum(axis=1, keepdims=True))[other]
    assert transition_matrix(noisy)[other].std() < 0.4 * raw.std()  # most of the scatter is chance

    structured = np.diag(np.full(8, 100.0))
    structured[3, 5] = 40  # cat for dog
    t = transition_matrix(structured)
    assert t[3, 5] > 0.25
    rest = t[3].sum() - t[3, 3] - t[3, 5]
    assert rest < 0.02


@pytest.mark.parametrize("t", [uniform(6, 0.4), pair(6, 0.3), uniform(2, 0.2)], ids=["even", "pair", "two"])
def test_matrix_converges_to_the_true_one(t: Floats) -> None:
    errors = [
        np.mean([np.abs(transition_matrix(counts_of(t, n, seed)) - t).max() for seed in range(20)])
        for n in (30, 300, 30_000)
    ]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.01


def test_a_class_with_few_anchors_leans_on_the_others() -> None:
    counts = np.array([[700.0, 300, 0], [0, 700, 300], [0, 0, 2]])
    t = transition_matrix(counts)
    assert 0.1 < 1 - t[2, 2] < 0.3  # 0 of 2 wrong here, 0.3 elsewhere
    assert 1 - t[0, 0] == pytest.approx(0.3, abs=0.01)


def test_deconvolving_by_the_identity_changes_nothing() -> None:
    p = beliefs(40, 5)
    np.testing.assert_allclose(deconvolve(p, np.eye(5)), p, atol=1e-9)


@pytest.mark.parametrize("t", [uniform(5, 0.2), pair(5, 0.1), uniform(2, 0.1)], ids=["even", "pair", "two"])
def test_deconvolving_recovers_the_beliefs(t: Floats) -> None:
    q = beliefs(300, len(t), alpha=2.0)
    found = deconvolve(q @ t, t)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert np.abs(q @ t - q).max() > 0.05  # there was something to undo
    np.testing.assert_allclose(found, q, atol=0.01)


def test_deconvolving_sure_beliefs() -> None:
    t = uniform(4, 0.3)
    np.testing.assert_allclose(deconvolve(t.copy(), t), np.eye(4), atol=0.01)


def test_deconvolution_is_a_climb_taken_row_by_row() -> None:
    t, p = pair(4, 0.4), beliefs(12, 4)
    slow = np.zeros_like(p)
    for i, row in enumerate(p):
        q, before = row.copy(), -np.inf
        for _ in range(ITERATIONS):
            mixed = [sum(q[k] * t[k, g] for k in range(4)) for g in range(4)]
            now = sum(row[g] * log(mixed[g]) for g in range(4))
            assert now >= before - 1e-12  # EM never lowers it
            before = now
            q = np.array([q[k] * sum(t[k, g] * row[g] / mixed[g] for g in range(4)) for k in range(4)])
        slow[i] = q
    kept = p.copy()
    np.testing.assert_allclose(deconvolve(p, t), slow, rtol=1e-6, atol=1e-12)
    np.testing.assert_array_equal(p, kept)  # not written to


def likelihood(p: Floats, q: Floats, t: Floats) -> Floats:
    found: Floats = (p * np.log(q @ t)).sum(axis=1)
    return found


def test_where_no_beliefs_explain_p_the_nearest_are_found() -> None:
    """p surer than T allows: no distribution near the result has a larger likelihood."""
    t = uniform(3, 0.3)
    p = np.array([[0.9, 0.08, 0.02]])
    q = deconvolve(p, t)
    rng = np.random.default_rng(0)
    for other in rng.dirichlet(np.ones(3), 500):
        mixed = 0.99 * q + 0.01 * other
        assert likelihood(p, mixed, t)[0] <= likelihood(p, q, t)[0] + 1e-5


def test_wrong_is_bayes_rule() -> None:
    rng = np.random.default_rng(0)
    t = np.array([[0.8, 0.15, 0.05], [0.1, 0.6, 0.3], [0.0, 0.2, 0.8]])
    q, labels = beliefs(30, 3), rng.integers(0, 3, 30)
    expected = []
    for row, g in zip(q, labels, strict=True):
        joint = {(k, given): row[k] * t[k, given] for k in range(3) for given in range(3)}
        of_label = sum(value for (_, given), value in joint.items() if given == g)
        expected.append(sum(v for (k, given), v in joint.items() if given == g != k) / of_label)
    np.testing.assert_allclose(wrong(q, t, labels), expected, atol=1e-12)


def test_wrong_at_the_ends() -> None:
    t: Floats = uniform(3, 0.2)
    labels: Ints = np.array([0, 1, 1])
    np.testing.assert_allclose(wrong(np.eye(3), t, labels), [0, 0, 1], atol=1e-9)
    np.testing.assert_allclose(wrong(np.full((3, 3), 1 / 3), t, labels), 0.2)  # the image says nothing
    # T and the image both rule the label out: finite, and wrong.
    np.testing.assert_array_equal(wrong(np.array([[1.0, 0, 0]]), np.eye(3), np.array([2])), [1])
