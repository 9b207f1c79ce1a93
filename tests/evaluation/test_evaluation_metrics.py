"""Every figure against scikit-learn's or scipy's on random cases, and where a definition runs out."""

from __future__ import annotations

import math
import time
from statistics import fmean, variance

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sk

from labelscrub.errors import DataError
from labelscrub.evaluation.metrics import (
    BestCut,
    Detected,
    average_precision,
    best_cut,
    cohens_d,
    detected,
    expected_calibration_error,
    precision_recall,
    reliability,
    wasserstein,
)

bools = st.booleans()
few = st.sampled_from([0.0, 0.25, 0.5, 1.0])  # many ties
floats = st.floats(-1e6, 1e6, allow_subnormal=False)
cases = st.lists(st.tuples(st.one_of(few, floats), bools), min_size=1, max_size=40)
CASES = settings(max_examples=150, deadline=None, derandomize=True)


def arrays(rows):
    score, wrong = zip(*rows, strict=True)
    return np.array(score), np.array(wrong)


@CASES
@given(st.lists(st.tuples(bools, bools), min_size=1, max_size=40))
def test_counts_and_ratios_are_scikit_learns(rows):
    suspect, wrong = map(np.array, zip(*rows, strict=True))
    d = detected(suspect, wrong)
    precision, recall, f1, _ = sk.precision_recall_fscore_support(
        wrong, suspect, average="binary", zero_division=np.nan
    )
    np.testing.assert_equal((d.precision, d.recall), (precision, recall))
    if wrong.any() or suspect.any():
        assert d.f1 == pytest.approx(f1)
    else:
        assert math.isnan(d.f1)
    assert (d.planted, d.suspects, d.images) == (wrong.sum(), suspect.sum(), len(rows))
    if wrong.any() and not wrong.all():
        assert d.specificity == pytest.approx(sk.recall_score(wrong, suspect, pos_label=False))
        assert d.balanced_accuracy == pytest.approx(sk.balanced_accuracy_score(wrong, suspect))
    else:
        assert math.isnan(d.balanced_accuracy)


@pytest.mark.parametrize(
    ("d", "precision", "recall", "f1", "balanced"),
    [
        (Detected(10, 8, 6, 100), 0.75, 0.6, 2 / 3, (0.6 + 88 / 90) / 2),
        (Detected(0, 0, 0, 5), math.nan, math.nan, math.nan, math.nan),  # nothing planted, nothing suspected
        (Detected(0, 2, 0, 5), 0.0, math.nan, 0.0, math.nan),  # nothing planted
        (Detected(2, 0, 0, 5), math.nan, 0.0, 0.0, 0.5),  # nothing suspected
        (Detected(5, 5, 5, 5), 1.0, 1.0, 1.0, math.nan),  # all wrong, all found
        (Detected(1, 1, 1, 1), 1.0, 1.0, 1.0, math.nan),
        (Detected(0, 0, 0, 0), math.nan, math.nan, math.nan, math.nan),
    ],
)
def test_where_the_truth_is_one_sided(d, precision, recall, f1, balanced):
    np.testing.assert_allclose(
        (d.precision, d.recall, d.f1, d.balanced_accuracy), (precision, recall, f1, balanced)
    )


def slow_best_cut(score, wrong):
    """Every threshold tried, fewest suspects first."""
    best = BestCut(-1, 0, 0, 0, 0)
    for threshold in sorted(set(score), reverse=True):
        suspect = score >= threshold
        f1 = sk.f1_score(wrong, suspect)
        if f1 > best.f1 + 1e-12:
            precision, recall = sk.precision_score(wrong, suspect), sk.recall_score(wrong, suspect)
            best = BestCut(f1, precision, recall, int(suspect.sum()), threshold)
    return best


@settings(CASES, max_examples=60)
@given(cases)
def test_the_best_cut_is_the_best_of_all_thresholds(rows):
    score, wrong = arrays(rows)
    cut = best_cut(score, wrong)
    if not wrong.any():
        np.testing.assert_equal(cut, BestCut(math.nan, math.nan, math.nan, 0, math.nan))
        return
    slow = slow_best_cut(score, wrong)
    assert (cut.suspects, cut.threshold) == (slow.suspects, slow.threshold)
    np.testing.assert_allclose((cut.f1, cut.precision, cut.recall), (slow.f1, slow.precision, slow.recall))


@CASES
@given(cases)
def test_average_precision_and_its_curve_are_scikit_learns(rows):
    score, wrong = arrays(rows)
    if not wrong.any():
        assert math.isnan(average_precision(score, wrong))
        assert [len(values) for values in precision_recall(score, wrong)] == [0, 0]
        return
    assert average_precision(score, wrong) == sk.average_precision_score(wrong, score)
    precision, recall = precision_recall(score, wrong)
    # the definition (Zhu 2004): the step-wise integral over the curve
    assert average_precision(score, wrong) == pytest.approx(-np.sum(np.diff(recall) * precision[:-1]))
    assert (precision[-1], recall[-1], recall[0]) == (1, 0, 1)
    f1 = [2 * p * r / (p + r) for p, r in zip(precision, recall, strict=True) if p + r]
    assert max(f1) == pytest.approx(best_cut(score, wrong).f1)


@pytest.mark.parametrize("n", [1, 5])
def test_all_wrong_is_a_perfect_ranking_whatever_the_score(n):
    score, wrong = np.arange(n, dtype=np.float32), np.ones(n, bool)
    assert average_precision(score, wrong) == 1
    assert best_cut(score, wrong) == BestCut(1, 1, 1, n, 0)


def test_one_tie_everywhere_is_no_ranking():
    wrong = np.array([True, False, False, False])
    assert average_precision(np.zeros(4), wrong) == 0.25
    assert best_cut(np.zeros(4), wrong) == BestCut(0.4, 0.25, 1, 4, 0)


def test_a_cut_with_fewer_suspects_wins_a_tie():
    # 1 of 1 and 2 of 4 found of 2 wrong: 2/3 both
    cut = best_cut(np.array([4.0, 3, 2, 1]), np.array([True, False, False, True]))
    assert (cut.suspects, cut.f1) == (1, pytest.approx(2 / 3))


@pytest.mark.parametrize("measure", [average_precision, best_cut, precision_recall])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_score_that_is_no_number_is_refused(measure, value):
    with pytest.raises(DataError, match="1 of 3 images is not finite; first: image 1"):
        measure(np.array([0.1, value, 0.2]), np.array([True, False, True]))


def test_a_million_images_take_well_under_a_second():
    generator = np.random.default_rng(0)
    wrong = generator.random(1_000_000) < 0.1
    score = generator.random(1_000_000) + wrong
    began = time.process_time()
    best_cut(score, wrong)
    assert time.process_time() - began < 1


samples = st.lists(st.floats(-1e3, 1e3, allow_subnormal=False), min_size=1, max_size=30)


@CASES
@given(samples, samples)
def test_distances_between_two_samples(a, b):
    assert wasserstein(a, b) == stats.wasserstein_distance(a, b)
    if len(a) + len(b) > 2 and (np.ptp(a) > 1e-3 or np.ptp(b) > 1e-3):
        # in whole fractions, by the textbook's formula
        squares = sum((len(x) - 1) * variance(x) for x in (a, b) if len(x) > 1)
        pooled = math.sqrt(squares / (len(a) + len(b) - 2))
        assert cohens_d(a, b) == pytest.approx((fmean(a) - fmean(b)) / pooled, rel=1e-6, abs=1e-6)


def test_cohens_d_by_hand_and_its_sign():
    # variances 1 and 4, pooled sqrt((2 * 1 + 2 * 4) / 4) = sqrt(2.5); means 2 and 6
    assert cohens_d([1, 2, 3], [4, 6, 8]) == pytest.approx(-4 / math.sqrt(2.5))
    assert cohens_d([4, 6, 8], [1, 2, 3]) == pytest.approx(4 / math.sqrt(2.5))


@pytest.mark.parametrize(("a", "b"), [([], [1.0, 2]), ([1.0, 2], []), ([1.0], [2.0]), ([0.1] * 3, [0.2] * 3)])
def test_no_spread_no_effect_size(a, b):
    assert math.isnan(cohens_d(a, b))


def test_an_empty_sample_has_no_distance():
    assert math.isnan(wasserstein([], [1.0]))
    with pytest.raises(DataError, match="not finite"):
        wasserstein([math.nan], [1.0])


shares = st.one_of(st.sampled_from([0.0, 1 / 15, 0.2, 0.6, 1.0]), st.floats(0, 1, allow_subnormal=False))


def slow_calibration_error(probability, wrong, bins):
    """Naeini et al. 2015, bin by bin."""
    error = 0.0
    for b in range(1, bins + 1):
        low, high = (b - 1) / bins, b / bins
        members = [i for i, p in enumerate(probability) if low < p <= high or (b == 1 and p == 0)]
        if members:
            said, true = (fmean(float(values[i]) for i in members) for values in (probability, wrong))
            error += len(members) / len(probability) * abs(said - true)
    return error


@CASES
@given(st.lists(st.tuples(shares, bools), min_size=1, max_size=40), st.sampled_from([1, 2, 10, 15]))
def test_the_calibration_error_is_a_slow_twins(rows, bins):
    probability, wrong = arrays(rows)
    slow = slow_calibration_error(probability, wrong, bins)
    assert expected_calibration_error(probability, wrong, bins) == pytest.approx(slow, abs=1e-12)
    found = reliability(probability, wrong, bins)
    assert sum(b.images for b in found) == len(rows)
    assert sum(b.images * b.wrong for b in found) == pytest.approx(wrong.sum())
    assert sum(b.images * b.probability for b in found) == pytest.approx(probability.sum())
    assert [b.probability for b in found] == sorted(b.probability for b in found)


@pytest.mark.parametrize(
    ("probability", "wrong", "error"),
    [
        ([0.0, 1.0, 1.0], [False, True, True], 0.0),  # sure and right
        ([0.0, 1.0], [True, False], 1.0),  # sure and mistaken
        ([0.25] * 4, [True, False, False, False], 0.0),  # one of four, as said
        ([0.5] * 4, [False] * 4, 0.5),
        ([0.9], [True], 0.1),
    ],
)
def test_calibration_at_its_limits(probability, wrong, error):
    assert expected_calibration_error(probability, np.array(wrong)) == pytest.approx(error)


def test_probabilities_that_were_drawn_by_are_calibrated():
    generator = np.random.default_rng(0)
    probability = generator.random(100_000)
    wrong = generator.random(100_000) < probability
    # of each bin's share the deviation is at most 0.5 / sqrt(100,000 / 15) = 0.006
    assert expected_calibration_error(probability, wrong) < 0.006
    assert expected_calibration_error(probability / 2, wrong) == pytest.approx(0.25, abs=0.01)


def test_no_images_no_calibration_error():
    assert math.isnan(expected_calibration_error([], np.zeros(0, bool)))
    with pytest.raises(DataError, match="not finite"):
        expected_calibration_error([math.nan], np.array([True]))
