"""Fold assignment: stratified, groups together, never an error."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelscrub.training import assign_folds


def counts(fold: np.ndarray, labels: np.ndarray, folds: int) -> np.ndarray:  # (folds, K)
    table = np.zeros((folds, int(labels.max()) + 1), int)
    np.add.at(table, (fold, labels), 1)
    return table


@settings(deadline=None, max_examples=150)
@given(
    labels=st.lists(st.integers(0, 6), min_size=1, max_size=80),
    folds=st.integers(2, 12),
    seed=st.integers(0, 2**63 - 1),
)
def test_every_class_and_fold_is_level(labels: list[int], folds: int, seed: int) -> None:
    label = np.array(labels)
    fold = assign_folds(label, None, folds, seed)
    assert fold.shape == label.shape and fold.dtype == np.int16
    table = counts(fold, label, folds)
    assert (
        np.ptp(table, axis=0) <= 1
    ).all()  # so a class smaller than k is in as many folds as it has images
    assert np.ptp(table.sum(axis=1)) <= 1
    np.testing.assert_array_equal(fold, assign_folds(label, None, folds, seed))


@settings(deadline=None, max_examples=150)
@given(
    images=st.lists(st.tuples(st.integers(0, 3), st.integers(-5, 12)), min_size=1, max_size=80),
    folds=st.integers(2, 7),
    seed=st.integers(0, 1000),
)
def test_groups_are_never_split(images: list[tuple[int, int]], folds: int, seed: int) -> None:
    label, group = np.array(images, dtype=np.int64).T
    fold = assign_folds(label, group, folds, seed)
    assert ((fold >= 0) & (fold < folds)).all()
    for number in np.unique(group):
        assert len(set(fold[group == number].tolist())) == 1
    np.testing.assert_array_equal(fold, assign_folds(label, group, folds, seed))


def test_groups_of_one_class_leave_it_level() -> None:
    label = np.repeat([0, 1], 200)
    group = np.arange(400) // 4  # pure groups of four
    table = counts(assign_folds(label, group, 5, 0), label, 5)
    np.testing.assert_array_equal(table, np.full((5, 2), 40))


def test_single_images_level_out_what_groups_leave_uneven() -> None:
    label = np.zeros(100, int)
    group = np.concatenate([np.zeros(15, int), np.arange(1, 86)])  # one patient with 15 images
    table = counts(assign_folds(label, group, 5, 0), label, 5)
    assert table[:, 0].tolist() == [20] * 5


def test_mixed_groups_are_about_level() -> None:
    rng = np.random.default_rng(0)
    label, group = rng.integers(0, 5, 3000), rng.integers(0, 100, 3000)
    table = counts(assign_folds(label, group, 5, 0), label, 5)
    assert (np.ptp(table, axis=0) <= 0.15 * table.mean(axis=0)).all()


def test_seeds_differ() -> None:
    label = np.arange(100) % 4
    assert (assign_folds(label, None, 5, 0) != assign_folds(label, None, 5, 1)).any()


def test_tiny_classes_do_not_pile_up_in_one_fold() -> None:
    label = np.arange(50)  # fifty classes of one image
    assert np.bincount(assign_folds(label, None, 5, 0)).tolist() == [10] * 5


@pytest.mark.parametrize("images", [0, 1])
def test_nothing_to_split(images: int) -> None:
    assert len(assign_folds(np.zeros(images, int), np.zeros(images, np.int64), 5, 0)) == images


def test_one_group_of_everything_goes_to_one_fold() -> None:
    assert len(np.unique(assign_folds(np.arange(20) % 2, np.zeros(20, np.int64), 5, 0))) == 1


def test_a_million_images_take_seconds() -> None:
    rng = np.random.default_rng(0)
    label = rng.integers(0, 100, 1_000_000)
    group = np.arange(1_000_000)
    group[rng.integers(0, 1_000_000, 20_000)] = group[rng.integers(0, 1_000_000, 20_000)]  # some duplicates
    start = time.process_time()
    table = counts(assign_folds(label, group, 5, 0), label, 5)
    assert time.process_time() - start < 20
    assert (np.ptp(table, axis=0) <= 1).all()
