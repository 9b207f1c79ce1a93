"""Cuts against brute force over every length of the list."""

from __future__ import annotations

import math

import numpy as np
import pytest
from calibrated_cases import Floats

from labelscrub.detection.calibrated import choose_cut

F1 = ("f1", math.nan)


def brute(e: Floats, aim: tuple[str, float]) -> int:
    """How many to list, by trying every number; scores are of the e themselves."""
    ordered, total = sorted(e.tolist(), reverse=True), float(e.sum())
    held = [sum(ordered[:n]) for n in range(len(e) + 1)]
    name, wanted = aim
    if name == "f1":
        return max(range(1, len(e) + 1), key=lambda n: (2 * held[n] / (n + total), -n))
    if name == "precision":
        return max([n for n in range(1, len(e) + 1) if held[n] / n >= wanted], default=0)
    return min(n for n in range(len(e) + 1) if held[n] >= wanted * total)


@pytest.mark.parametrize(
    "aim", [F1, ("precision", 0.6), ("precision", 0.9), ("recall", 0.5), ("recall", 0.95)], ids=str
)
@pytest.mark.parametrize("shape", [0.2, 1.0, 5.0])  # nearly all sure; any; all doubtful
def test_against_brute_force(aim: tuple[str, float], shape: float) -> None:
    rng = np.random.default_rng(1)
    lengths = set()
    for _ in range(60):
        e = rng.beta(shape, shape, rng.integers(4, 25))
        if e.sum() < 0.6:
            continue
        cut, n = choose_cut(e, aim), brute(e, aim)
        lengths.add(n / len(e))
        assert cut.listed.sum() == n
        assert not n or e[cut.listed].min() > e[~cut.listed].max(initial=-1)
        held = e[cut.listed].sum()
        expected = [held / n if n else math.nan, held / e.sum(), 2 * held / (n + e.sum())]
        np.testing.assert_allclose([cut.precision, cut.recall, cut.f1], expected)
        assert cut.smallest == pytest.approx(e[cut.listed].min() if n else math.nan, nan_ok=True)
    assert len(lengths) > 5 or (shape == 5 and aim[1] == 0.9)  # there, nothing is sure enough


def test_f1_lists_what_is_above_half_of_the_f1_reached() -> None:
    """Lipton, Elkan and Naryanaswamy 2014, theorem 1: the threshold is F1 / 2."""
    for seed in range(20):
        e = np.random.default_rng(seed).beta(0.3, 0.8, 200)
        cut = choose_cut(e, F1)
        np.testing.assert_array_equal(cut.listed, e > cut.f1 / 2)


def test_the_expected_figures_are_those_that_happen() -> None:
    rng = np.random.default_rng(0)
    e = rng.beta(0.3, 1.0, 400)
    cut = choose_cut(e, ("precision", 0.8))
    wrong = rng.random((4000, 400)) < e  # each row: one way it could be
    hits = wrong[:, cut.listed].sum(axis=1)
    assert hits.mean() / cut.listed.sum() == pytest.approx(cut.precision, abs=0.005)
    assert hits.mean() / wrong.sum(axis=1).mean() == pytest.approx(cut.recall, abs=0.005)


def test_aims_trade_precision_for_recall() -> None:
    e = np.random.default_rng(0).beta(0.3, 1.0, 500)
    strict, even, wide = (choose_cut(e, aim) for aim in (("precision", 0.95), F1, ("recall", 0.95)))
    assert strict.listed.sum() < even.listed.sum() < wide.listed.sum()
    assert strict.precision >= 0.95 > even.precision
    assert wide.recall >= 0.95 > even.recall
    assert even.f1 > max(strict.f1, wide.f1)


@pytest.mark.parametrize("aim", [F1, ("precision", 0.001), ("recall", 0.99)], ids=str)
def test_nothing_is_listed_where_less_than_half_a_label_is_expected_wrong(aim: tuple[str, float]) -> None:
    cut = choose_cut(np.full(100, 0.0049), aim)
    assert not cut.listed.any()
    assert math.isnan(cut.smallest)
    assert math.isnan(cut.precision)
    assert math.isnan(cut.recall) and math.isnan(cut.f1)  # nothing was to be listed
    assert choose_cut(np.full(100, 0.0051), aim).listed.any()


def test_where_nothing_is_wrong_there_is_no_share_of_it() -> None:
    cut = choose_cut(np.zeros(5), F1)
    assert not cut.listed.any()
    assert math.isnan(cut.recall)
    assert math.isnan(cut.f1)


@pytest.mark.parametrize("aim", [F1, ("precision", 0.01), ("recall", 0.9999)], ids=str)
def test_what_is_not_assessed_is_never_listed(aim: tuple[str, float]) -> None:
    e = np.array([math.nan, 0.9, math.nan, 0.8, 0.0, math.nan, 1.0])
    cut = choose_cut(e, aim)
    assert cut.listed.tolist() == [False, True, False, True, False, False, True]
    assert cut.precision == pytest.approx(0.9)
    assert not choose_cut(np.full(4, math.nan), aim).listed.any()


def test_ties_by_index() -> None:
    e = np.array([0.2, 0.9, 0.9, 0.9, 0.9])
    cut = choose_cut(e, ("recall", 0.4))  # 0.4 x 3.8 = 1.52: two of the four
    assert np.flatnonzero(cut.listed).tolist() == [1, 2]
