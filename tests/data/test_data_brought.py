"""Users' probabilities end up beside the image they belong to, or are refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from labelscrub.data.brought import brought_probabilities
from labelscrub.errors import DataError
from labelscrub.records import Images, Manifest

PROBS = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.5, 0.5]], np.float32)


def listed(*, unusable=()):
    labels = np.array([-1 if row in unusable else row % 2 for row in range(4)], np.int32)
    manifest = Manifest(
        source=Path("x.csv"),
        kind="csv",
        root=Path(),
        classes=("cat", "dog"),
        paths=["a.png", "b.png", "c.png", "d.png"],
        files=["a.png", "b.png", "c.png", "d.png"],
        labels=labels,
    )
    rows = np.flatnonzero(labels >= 0)
    images = Images(np.zeros((len(rows), 4, 4, 1), np.uint8), rows, np.zeros((len(rows), 32), np.uint8))
    return manifest, images


def saved(tmp_path, name, **arrays):
    np.savez(tmp_path / name, **arrays)
    return tmp_path / name


def test_a_row_for_each_listed_image_is_narrowed_to_the_usable_ones(tmp_path):
    path = saved(tmp_path, "p.npz", pred_probs=PROBS)
    np.testing.assert_array_equal(brought_probabilities(path, *listed(unusable=[1])), PROBS[[0, 2, 3]])


def test_a_row_for_each_usable_image_is_taken_as_it_is(tmp_path):
    path = saved(tmp_path, "p.npz", pred_probs=PROBS[:3])
    np.testing.assert_array_equal(brought_probabilities(path, *listed(unusable=[1])), PROBS[:3])


def test_paths_and_class_names_decide_where_the_file_has_them(tmp_path):
    path = saved(
        tmp_path,
        "p.npz",
        pred_probs=PROBS[[3, 2, 1, 0]][:, [1, 0]],
        classes=np.array(["dog", "cat"]),
        paths=np.array(["d.png", "c.png", "b.png", "a.png"]),
    )
    np.testing.assert_array_equal(brought_probabilities(path, *listed()), PROBS)


def test_a_file_whose_rows_and_columns_are_in_order_stays_memory_mapped(tmp_path):
    np.save(tmp_path / "p.npy", PROBS)
    whole = brought_probabilities(tmp_path / "p.npy", *listed())
    np.testing.assert_array_equal(whole, PROBS)
    assert isinstance(whole.base, np.memmap)
    narrowed = brought_probabilities(tmp_path / "p.npy", *listed(unusable=[1]))
    np.testing.assert_array_equal(narrowed, PROBS[[0, 2, 3]])


def test_columns_in_order_may_go_with_rows_in_another(tmp_path):
    path = saved(
        tmp_path,
        "p.npz",
        pred_probs=PROBS[[1, 0, 2, 3]],
        classes=np.array(["cat", "dog"]),
        paths=np.array(["b.png", "a.png", "c.png", "d.png"]),
    )
    np.testing.assert_array_equal(brought_probabilities(path, *listed()), PROBS)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pred_probs": PROBS[:2]}, "2 rows; the source lists 4"),
        ({"pred_probs": PROBS[:, :1]}, "1 columns; the source has 2 classes"),
        ({"pred_probs": PROBS, "classes": np.array(["cat", "cow"])}, "cow"),
        ({"pred_probs": PROBS, "classes": np.array(["cat", "cat"])}, "dog"),
        ({"pred_probs": PROBS, "paths": np.array(["a.png", "b.png", "c.png", "x.png"])}, "no row for d.png"),
        ({"pred_probs": PROBS, "paths": np.array(["a.png", "b.png", "a.png", "d.png"])}, "one row for a.png"),
    ],
)
def test_what_can_not_be_matched_is_refused(tmp_path, arrays, message):
    with pytest.raises(DataError, match=message):
        brought_probabilities(saved(tmp_path, "p.npz", **arrays), *listed())


@pytest.mark.parametrize(
    ("classes", "refused"),
    [(("10", "2"), True), (("2", "10"), False), (("1", "2"), False), (("a", "b"), False)],
)
def test_unnamed_columns_beside_numbers_sorted_as_text_are_refused(tmp_path, classes, refused):
    manifest, images = listed()
    manifest = dataclasses.replace(manifest, classes=classes)
    path = saved(tmp_path, "p.npz", pred_probs=PROBS)
    if refused:
        with pytest.raises(DataError, match="10 before 2"):
            brought_probabilities(path, manifest, images)
    else:
        np.testing.assert_array_equal(brought_probabilities(path, manifest, images), PROBS)
