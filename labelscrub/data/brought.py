"""Probabilities that users bring, put in the order of the images they belong to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labelscrub.data.pred_probs import read_pred_probs
from labelscrub.errors import DataError
from labelscrub.records import Images, Manifest


def brought_probabilities(path: Path, manifest: Manifest, images: Images) -> NDArray[np.float32]:
    """(N, K) the file's probabilities, a row an image and a column a class.

    Rows are matched by the file's path column; without one it must have a row for each of the R listed rows,
    or for each of the N usable ones. Columns are matched by class name, where the file has names.

    Raises:
        DataError: rows or columns that can't be matched.
    """
    values, names, paths = read_pred_probs(path)
    values = _by_class(values, names, manifest.classes, path)
    if paths is not None:
        return _by_path(values, paths, manifest, images, path)
    if len(values) == len(manifest):
        values = _rows(values, images.rows)
    elif len(values) != len(images.rows):
        raise DataError(
            f"{path} has {len(values):,} rows; "
            f"the source lists {len(manifest):,}, {len(images.rows):,} of them usable",
            "give one row for each listed image, in the source's order, or add a path column",
        )
    return np.ascontiguousarray(values, np.float32)


def _by_path(
    values: NDArray[np.float32],  # (rows of the file, K)
    paths: tuple[str, ...],
    manifest: Manifest,
    images: Images,
    path: Path,
) -> NDArray[np.float32]:
    index_of = {name: index for index, name in enumerate(paths)}
    if len(index_of) < len(paths):
        twice = next(name for index, name in enumerate(paths) if index_of[name] != index)
        raise DataError(f"{path} has more than one row for {twice}", "keep one row an image")
    wanted = [manifest.paths[row] for row in images.rows]
    absent = [name for name in wanted if name not in index_of]
    if absent:
        more = f" and {len(absent) - 1:,} more" if len(absent) > 1 else ""
        raise DataError(f"{path} has no row for {absent[0]}{more}", "give a row for each image of the source")
    return _rows(values, np.array([index_of[name] for name in wanted], np.int64))


def _rows(
    values: NDArray[np.float32],  # (rows of the file, K)
    rows: NDArray[np.int64],  # (N,)
) -> NDArray[np.float32]:
    """(N, K) these rows; no copy where they are all, in order, so that a large file stays memory-mapped."""
    return values if np.array_equal(rows, np.arange(len(values))) else values[rows]


def _by_class(
    values: NDArray[np.float32],  # (rows of the file, columns)
    names: tuple[str, ...] | None,
    classes: tuple[str, ...],
    path: Path,
) -> NDArray[np.float32]:
    if names is not None and sorted(names) != sorted(classes):
        odd = ", ".join(sorted(set(names) ^ set(classes))[:3]) or "a name given twice"
        raise DataError(
            f"{path}: its columns and the source's classes differ: {odd}",
            "name the columns as the classes; classes that no label names are listed with --classes FILE",
        )
    if names == classes:
        return values
    if names is not None:
        return values[:, [names.index(name) for name in classes]]
    if _by_text_not_number(classes):
        raise DataError(
            f"{path} does not name its columns, and the classes are numbers sorted as text: 10 before 2",
            "name the columns, or give the classes in the columns' order with --classes FILE",
        )
    if values.shape[1] != len(classes):
        raise DataError(
            f"{path} has {values.shape[1]} columns; the source has {len(classes)} classes",
            "classes that no label names are listed with --classes FILE",
        )
    return values


def _by_text_not_number(classes: tuple[str, ...]) -> bool:
    """Whether columns in the usual order of numbers would silently be taken for other classes."""
    if not all(name.isdecimal() for name in classes) or list(classes) != sorted(classes):
        return False
    return list(classes) != sorted(classes, key=int)
