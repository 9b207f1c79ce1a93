"""Planted noise is exactly what it says."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from labelscrub.errors import DataError, UsageError
from labelscrub.evaluation.noise import (
    confusable_flips,
    matrix_flips,
    pair_flips,
    read_transition,
    uniform_flips,
)


def probabilities(count, classes, seed=0):
    return np.random.default_rng(seed).dirichlet(np.ones(classes), count).astype(np.float32)


def confusable(labels, classes, rate, seed):
    return confusable_flips(labels, probabilities(len(labels), classes), rate, seed)


EXACT = pytest.mark.parametrize("flips", [uniform_flips, pair_flips, confusable])


@EXACT
@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("rate", [0, 0.2, 0.333, 1])
def test_exactly_the_rate_is_flipped_each_to_another_class(flips, classes, rate):
    labels = np.arange(300, dtype=np.int32) % classes
    noisy = flips(labels, classes, rate, seed=1)
    assert (noisy != labels).sum() == round(rate * 300)
    assert set(noisy) <= set(range(classes))
    assert noisy.dtype == np.int32
    np.testing.assert_array_equal(labels, np.arange(300) % classes)


@EXACT
def test_the_seed_decides(flips):
    labels = np.arange(300, dtype=np.int32) % 5
    first, again, other = (flips(labels, 5, 0.2, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@EXACT
def test_no_labels_no_flips(flips):
    assert len(flips(np.zeros(0, np.int32), 3, 0.5, 0)) == 0


@EXACT
def test_one_class_has_no_wrong_label(flips):
    with pytest.raises(DataError, match="among 1 classes"):
        flips(np.zeros(5, np.int32), 1, 0.2, 0)


@EXACT
@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_rates_are_shares(flips, rate):
    with pytest.raises(UsageError, match="--rate"):
        flips(np.zeros(5, np.int32), 2, rate, 0)


# Uniform and pair


def test_uniform_flips_are_what_they_always_were():
    labels = np.arange(12, dtype=np.int32) % 4
    # as of the first release; published runs were made with it
    assert uniform_flips(labels, 4, 0.5, 7).tolist() == [0, 1, 2, 3, 0, 0, 0, 3, 3, 2, 1, 0]


def test_every_other_class_is_as_likely():
    noisy = uniform_flips(np.zeros(9000, np.int32), 4, 1, seed=0)
    np.testing.assert_allclose(np.bincount(noisy, minlength=4), [0, 3000, 3000, 3000], atol=200)


def test_a_pair_is_a_class_and_the_next():
    labels = np.arange(400, dtype=np.int32) % 4
    noisy = pair_flips(labels, 4, 0.5, seed=3)
    changed = noisy != labels
    np.testing.assert_array_equal(noisy[changed], (labels[changed] + 1) % 4)
    np.testing.assert_array_equal(changed, uniform_flips(labels, 4, 0.5, seed=3) != labels)


def test_with_two_classes_uniform_and_pair_are_one():
    labels = np.arange(99, dtype=np.int32) % 2
    np.testing.assert_array_equal(pair_flips(labels, 2, 0.4, 5), uniform_flips(labels, 2, 0.4, 5))


# Confusable


def test_the_wrong_class_is_the_runner_up():
    labels = np.arange(200, dtype=np.int32) % 6
    pred_probs = probabilities(200, 6, seed=4)
    noisy = confusable_flips(labels, pred_probs, 1, seed=0)
    for label, row, found in zip(labels, pred_probs, noisy, strict=True):
        assert found == max((k for k in range(6) if k != label), key=lambda k: row[k])


def test_images_are_drawn_as_if_one_after_the_other_by_weight():
    """Against the definition, every order written out: four images, of which two are flipped."""
    weights = np.array([0.4, 0.3, 0.05, 0.01])
    expected = np.zeros(4)
    for first, second in itertools.permutations(range(4), 2):
        left = weights.sum() - weights[first]
        expected[[first, second]] += weights[first] / weights.sum() * weights[second] / left
    pred_probs = np.stack([1 - weights, weights], axis=1)
    draws = 4000
    labels = np.zeros(4, np.int32)
    found = sum(confusable_flips(labels, pred_probs, 0.5, seed) for seed in range(draws)) / draws
    # five standard deviations of a share among that many draws, at most 0.04
    np.testing.assert_allclose(found, expected, atol=5 * np.sqrt(0.25 / draws))
    assert expected[2] < 0.3 < 0.6 < expected[1]  # so that a tolerance of 0.04 tells the weights


def test_lost_probabilities_are_small_not_impossible():
    labels = np.zeros(50, np.int32)
    pred_probs = np.tile(np.array([1, 0, 0], np.float32), (50, 1))
    pred_probs[:10] = [0.4, 0.1, 0.5]
    assert set(np.flatnonzero(confusable_flips(labels, pred_probs, 0.2, seed=0))) == set(range(10))
    assert confusable_flips(labels, pred_probs, 1, seed=0).tolist() == [2] * 10 + [1] * 40


def test_probabilities_that_are_none_are_refused():
    with pytest.raises(DataError, match="finite"):
        confusable_flips(np.zeros(2, np.int32), np.array([[0.5, 0.5], [np.nan, 1]]), 0.5, 0)


# Matrix

MATRIX = np.array([[0.7, 0.3, 0.0], [0.05, 0.9, 0.05], [0.0, 1.0, 0.0]])


def test_labels_follow_their_rows():
    labels = np.repeat(np.arange(3, dtype=np.int32), 20_000)
    noisy = matrix_flips(labels, MATRIX, seed=0)
    for k in range(3):
        shares = np.bincount(noisy[labels == k], minlength=3) / 20_000
        # five standard deviations of a binomial share: a seed in a million would fail, and this one is fixed
        np.testing.assert_array_less(
            np.abs(shares - MATRIX[k]), 5 * np.sqrt(MATRIX[k] * (1 - MATRIX[k]) / 20_000) + 1e-12
        )
    assert labels.tolist() == np.repeat(np.arange(3), 20_000).tolist()


def test_the_identity_changes_nothing_and_a_permutation_all():
    labels = np.arange(1000, dtype=np.int32) % 5
    np.testing.assert_array_equal(matrix_flips(labels, np.eye(5), seed=1), labels)
    turned = np.roll(np.eye(5), 1, axis=1)
    np.testing.assert_array_equal(matrix_flips(labels, turned, 1), pair_flips(labels, 5, 1, 1))


def test_two_classes_none_and_the_seed():
    half = np.full((2, 2), 0.5)
    labels = np.arange(400, dtype=np.int32) % 2
    first, again, other = (matrix_flips(labels, half, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert len(matrix_flips(labels[:0], half, 0)) == 0
    with pytest.raises(DataError, match="among 1 classes"):
        matrix_flips(labels[:0], np.eye(1), 0)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.full((2, 3), 1 / 3), "is 2 x 3; the source has 2 classes"),
        (np.array([[1.0, 0], [-0.1, 1.1]]), "row of class '1' .row 1. has a negative value, -0.1"),
        (np.array([[1.0, 0], [0.5, 0.6]]), "row of class '1' .row 1. sums to 1.1, not 1"),
        (np.array([[0.5, 0.502], [0.5, 0.5]]), "row of class '0' .row 0. sums to 1.002, not 1"),
        (np.array([[np.nan, 1], [0, 1]]), "row of class '0' .row 0. has a value that is no finite number"),
    ],
)
def test_what_is_no_transition_matrix_is_refused_by_row(matrix, message):
    with pytest.raises(DataError, match=message):
        matrix_flips(np.zeros(3, np.int32), matrix, 0)


@pytest.mark.parametrize("third", [0.333, 0.333333, 1 / 3])
def test_rounded_rows_are_rescaled(third):
    labels = np.zeros(3000, np.int32)
    rounded, exact = np.full((3, 3), third), np.full((3, 3), 1 / 3)
    rounded[1], exact[1] = [1.001, 0, 0], [1, 0, 0]
    np.testing.assert_array_equal(matrix_flips(labels, rounded, 0), matrix_flips(labels, exact, 0))
    assert set(matrix_flips(labels, rounded, 0)) == {0, 1, 2}


# Matrix files

CLASSES = ("cat", "dog", "owl, barn")
VALUES = [[0.5, 0.25, 0.25], [0.0, 1.0, 0.0], [0.125, 0.0, 0.875]]


@pytest.mark.parametrize(
    "text",
    [
        "0.5,0.25,0.25\n0,1,0\n0.125,0,0.875\n",
        'true,cat,dog,"owl, barn"\ncat,0.5,0.25,0.25\ndog,0,1,0\n"owl, barn",0.125,0,0.875\n',
        '\ufeff,"owl, barn",cat,dog\r\ndog,0,0,1\r\n"owl, barn",.875,.125,0\r\ncat,25e-2,0.5,0.25\r\n',
    ],
    ids=["bare", "named", "named, in another order"],
)
def test_a_matrix_file(tmp_path, text):
    file = tmp_path / "noise.csv"
    file.write_text(text, encoding="utf-8", newline="")
    assert read_transition(file, CLASSES).tolist() == VALUES


def test_a_matrix_file_may_be_rounded(tmp_path):
    (tmp_path / "noise.csv").write_text("0.333333,0.333333,0.333333\n0,1,0\n0.125,0,0.8755\n")
    assert read_transition(tmp_path / "noise.csv", CLASSES)[0].tolist() == [0.333333] * 3


def test_a_numpy_file(tmp_path):
    np.save(tmp_path / "noise.npy", np.array(VALUES, np.float32))
    assert read_transition(tmp_path / "noise.npy", CLASSES).tolist() == VALUES
    np.save(tmp_path / "words.npy", np.array(["a"]))
    with pytest.raises(DataError, match="does not hold numbers"):
        read_transition(tmp_path / "words.npy", CLASSES)
    (tmp_path / "bad.npy").write_bytes(b"no array")
    with pytest.raises(DataError, match="no plain NumPy array"):
        read_transition(tmp_path / "bad.npy", CLASSES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("1,0\n0\n", "line 2: 1 cells where the first has 2"),
        ("1,0\n0,1\n", "is 2 x 2; the source has 3 classes"),
        ("1,0,0\n0,x,0\n0,0,1\n", "row 1 of the matrix has 'x', no number"),
        ("1,0,0\n0,1,0\n0,0.5,0\n", "row of class 'owl, barn' .row 2. sums to 0.5"),
        (",cat,dog,cow\ncat,1,0,0\ndog,0,1,0\ncow,0,0,1\n", "column 3 is 'cow', which is no class"),
        (',cat,dog,"owl, barn"\ncat,1,0,0\ndog,0,1,0\nowl,0,0,1\n', "row 3 is 'owl', which is no class"),
        (",cat,dog,cat\ncat,1,0,0\n", "two columns are named 'cat'"),
        (",cat,dog\ncat,1,0\ndog,0,1\n", "has no column for class 'owl, barn'"),
        ('"a', "can't be read"),
    ],
)
def test_bad_matrix_files_say_where(tmp_path, text, message):
    (tmp_path / "noise.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_transition(tmp_path / "noise.csv", CLASSES)


def test_files_of_another_kind(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        read_transition(tmp_path / "none.csv", CLASSES)
    (tmp_path / "noise.txt").write_text("1")
    with pytest.raises(UsageError, match="no known kind"):
        read_transition(tmp_path / "noise.txt", CLASSES)


def test_bare_numbers_are_refused_where_the_order_would_surprise(tmp_path):
    np.save(tmp_path / "noise.npy", np.eye(11))
    with pytest.raises(DataError, match="10 before 2"):
        read_transition(tmp_path / "noise.npy", sorted(map(str, range(11))))
    assert read_transition(tmp_path / "noise.npy", [str(k) for k in range(11)]).shape == (11, 11)
