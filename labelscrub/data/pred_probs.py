"""Probabilities that users bring from their own model.

Values stay as given; whether rows are probabilities is detection's to judge.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from labelscrub.data.pred_files import (
    PATH_NAMES,
    as_text,
    csv_table,
    is_number,
    known_suffix,
    load_numpy,
    parquet_table,
)
from labelscrub.errors import DataError

Probabilities = tuple[NDArray[np.float32], tuple[str, ...] | None, tuple[str, ...] | None]

INDEX_NAMES = ("", "index", "row", "unnamed: 0")
PANDAS_INDEX = "__index_level_0__"  # how pandas writes it to Parquet, as the last column


def read_pred_probs(path: Path) -> Probabilities:
    """(N, K) float32 probabilities, the K class names and the N image paths, None where the file has none.

    .npy (memory-mapped); .npz (`pred_probs`, optionally `classes` and `paths`); .csv and .parquet with a
    column a class, after an optional column of image paths or row numbers; or .parquet with one list column.
    """
    suffix = known_suffix(path, (".npy", ".npz", ".csv", ".parquet"))
    if suffix in (".npy", ".npz"):
        return _from_numpy(path)
    if suffix == ".parquet":
        return _from_parquet(path)
    table = csv_table(path, numbers=True)
    return _from_table(table, path, named=table.schema.metadata is None)


def _from_numpy(path: Path) -> Probabilities:
    found = load_numpy(path)
    classes = paths = None
    if isinstance(found, dict):
        classes, paths = (_names(found.get(key), key, path) for key in ("classes", "paths"))
        found = found["pred_probs"]
    return _matrix(found, path), classes, paths


def _matrix(array: NDArray[Any], path: Path) -> NDArray[np.float32]:
    if array.dtype.kind not in "fiub":
        raise DataError(f"{path} holds {array.dtype}, not numbers", "save probabilities as float32")
    if array.ndim != 2:
        raise DataError(f"{path} has shape {array.shape}", "probabilities are (images, classes)")
    if array.dtype == np.float32:
        return array
    with np.errstate(over="ignore"):  # beyond float32 becomes infinite, which detection refuses
        return array.astype(np.float32)


def _names(array: Any, key: str, path: Path) -> tuple[str, ...] | None:
    if array is None:
        return None
    if array.ndim != 1 or array.dtype.kind not in "Uiu":
        raise DataError(f"{path}: {key} is {array.dtype} of shape {array.shape}", f"{key} is one text each")
    return tuple(str(name) for name in array.tolist())


def _from_parquet(path: Path) -> Probabilities:
    table = parquet_table(path)
    is_list = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    lists = [field.name for field in table.schema if any(test(field.type) for test in is_list)]
    if not lists:
        return _from_table(table, path, named=True)
    if len(lists) > 1:
        raise DataError(
            f"{path}: {', '.join(lists)} are all lists", "keep one list column, the probabilities"
        )
    column = table[lists[0]].combine_chunks()
    lengths = np.asarray(column.value_lengths().fill_null(-1))
    if len(lengths) == 0:
        raise DataError(f"{path} has no rows", "give a row an image")
    if (lengths != lengths[0]).any() or lengths[0] < 0:
        row = int(np.argmax((lengths != lengths[0]) | (lengths < 0)))
        raise DataError(
            f"{path}, column '{lists[0]}': row {row} has {max(lengths[row], 0)} values, "
            f"row 0 has {max(lengths[0], 0)}",
            "each row needs one value a class",
        )
    values = _numbers(pa.chunked_array([column.flatten()]), lists[0], path)
    known = [name for name in table.column_names if name.lower() in PATH_NAMES]
    paths = tuple(as_text(table[known[0]], known[0], path)) if known else None
    return values.reshape(len(lengths), -1), None, paths


def _from_table(table: pa.Table, path: Path, *, named: bool) -> Probabilities:
    """A column a class; the first may hold image paths or row numbers instead."""
    if table.num_rows == 0:
        raise DataError(f"{path} has no rows", "give a row an image")
    names = list(table.column_names)
    paths = None
    if _holds_paths(table, named=named):
        paths = tuple(as_text(table[names[0]], names[0], path))
        del names[0]
    elif named and names[0].lower() in INDEX_NAMES:
        _check_index(_numbers(table[names[0]], names[0], path), path)
        del names[0]
    if named and names and names[-1] == PANDAS_INDEX:
        _check_index(_numbers(table[names[-1]], names[-1], path), path)
        del names[-1]
    matrix = np.empty((table.num_rows, len(names)), dtype=np.float32)
    for k, name in enumerate(names):
        matrix[:, k] = _numbers(table[name], name, path)
    return matrix, tuple(names) if named else None, paths


def _holds_paths(table: pa.Table, *, named: bool) -> bool:
    """Whether the first column is paths: its cells are text, or it is named so and the rest sums to 1.

    The sum tells a column of numeric ids from a class that happens to be named "image".
    """
    first_row = [column[0].as_py() for column in table.columns]
    if isinstance(first_row[0], str) and first_row[0].strip() and not is_number(first_row[0]):
        return True
    if not named or table.column_names[0].lower() not in PATH_NAMES or len(first_row) < 3:
        return False
    others = [value for value in first_row[1:] if isinstance(value, int | float)]
    return len(others) == len(first_row) - 1 and abs(sum(others) - 1) < 0.01


def _check_index(
    index: NDArray[np.float32],  # (N,)
    path: Path,
) -> None:
    counted = np.arange(len(index), dtype=np.float32)
    if not (np.array_equal(index, counted) or np.array_equal(index, counted + 1)):
        raise DataError(
            f"{path}: its index column does not count the rows 0, 1, 2, ...",
            "sort the file in the order of the images, or give a column 'path'",
        )


def _numbers(column: pa.ChunkedArray, name: str, path: Path) -> NDArray[np.float32]:
    """(N,) float32; DataError naming the row of a cell that is none."""
    missing = np.flatnonzero(np.asarray(column.is_null()))
    if len(missing):
        raise DataError(f"{path}, column '{name}': row {int(missing[0])} has no value", "fill every cell")
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        cells = column.to_pylist()
        for row, cell in enumerate(cells):
            if not is_number(cell):
                raise DataError(
                    f"{path}, column '{name}': row {row} is {cell!r}, no number", "keep class columns only"
                )
        return np.array([float(cell) for cell in cells], dtype=np.float32)
    try:
        return np.asarray(column.cast(pa.float32(), safe=False))
    except pa.ArrowException as error:
        raise DataError(
            f"{path}: column '{name}' holds {column.type}, no numbers", "keep class columns only"
        ) from error
