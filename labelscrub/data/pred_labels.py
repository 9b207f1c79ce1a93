"""Labels that users bring beside their own model's probabilities, where there is no image source."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from labelscrub.data.pred_files import (
    PATH_NAMES,
    as_text,
    csv_table,
    known_suffix,
    load_numpy,
    parquet_table,
    unreadable,
)
from labelscrub.errors import DataError
from labelscrub.records import Manifest, Skipped

LABEL_NAMES = ("label", "labels", "given_label", "class", "target", "y")
MANY_CLASSES = 1000  # a higher label than this, and than there are rows, is an id


def read_labels(path: Path) -> Manifest:
    """A manifest of labels alone: .npy (whole numbers or text), .txt (one a line), or a table's label column.

    Whole numbers in .npy and .parquet are columns of the probabilities: classes "0".."K-1" in that order,
    with those that no image has. Other labels are text; a row without one is listed as skipped.
    """
    suffix = known_suffix(path, (".npy", ".txt", ".csv", ".parquet"))
    names: list[str] | None = None
    given: list[str] | NDArray[np.int64]
    if suffix == ".npy":
        given = _labels_from_numpy(path)
    elif suffix == ".txt":
        lines = _text(path).split("\n")
        given = [line.removesuffix("\r") for line in (lines if lines[-1] else lines[:-1])]
    else:
        table = csv_table(path, numbers=False) if suffix == ".csv" else parquet_table(path)
        given = _label_column(table, path)
        known = [name for name in table.column_names if name.lower() in PATH_NAMES]
        names = as_text(table[known[0]], known[0], path) if known else None
    if len(given) == 0:
        raise DataError(f"{path} has no labels", "give one label an image, in the order of the probabilities")
    if not isinstance(given, list):
        return _manifest(
            path, tuple(str(k) for k in range(int(given.max()) + 1)), given.astype(np.int32), names
        )
    found = {label for label in given if label.strip()}
    # Digits written as text: 2 before 10, as the columns of the probabilities surely are.
    digits = all(label == str(int(label)) if label.isdecimal() else False for label in found)
    classes = tuple(sorted(found, key=int) if digits else sorted(found))
    number = {label: k for k, label in enumerate(classes)}
    return _manifest(path, classes, np.array([number.get(label, -1) for label in given], np.int32), names)


def _labels_from_numpy(path: Path) -> list[str] | NDArray[np.int64]:
    array = load_numpy(path)
    if isinstance(array, dict) or array.ndim != 1:
        raise DataError(f"{path} is no plain list of labels", "save one number or text an image: (images,)")
    if array.dtype.kind in "iu":
        return _numbered(array.astype(np.int64), path)
    if array.dtype.kind != "U":
        raise DataError(f"{path} holds {array.dtype}", "labels are whole numbers from 0, or text")
    return list(array.tolist())


def _label_column(table: pa.Table, path: Path) -> list[str] | NDArray[np.int64]:
    found = [name for name in table.column_names if name.lower() in LABEL_NAMES]
    if len(found) != 1:
        raise DataError(
            f"{path}: {'no column is' if not found else ' and '.join(found) + ' could be'} the labels; "
            f"columns: {', '.join(table.column_names[:10])}",
            "name one column 'label'",
        )
    column = table[found[0]]
    if pa.types.is_integer(column.type):
        return _numbered(np.asarray(column.fill_null(-1).cast(pa.int64())), path)
    if pa.types.is_floating(column.type) or pa.types.is_nested(column.type):
        raise DataError(
            f"{path}: column '{found[0]}' holds {column.type}", "give each image one label, as text"
        )
    return as_text(column, found[0], path)


def _numbered(
    labels: NDArray[np.int64],  # (R,)
    path: Path,
) -> NDArray[np.int64]:
    """(R,) the labels, once they look like class numbers from 0; -1 is none."""
    bad = np.flatnonzero((labels < -1) | (labels >= max(len(labels), MANY_CLASSES)))
    if len(bad):
        row = int(bad[0])
        raise DataError(f"{path}: the label of row {row} is {labels[row]}", "number the classes from 0")
    return labels


def _manifest(
    path: Path,
    classes: tuple[str, ...],
    labels: NDArray[np.int32],  # (R,)
    names: list[str] | None,
) -> Manifest:
    names = [str(row) for row in range(len(labels))] if names is None else names
    return Manifest(
        source=path,
        kind="csv",
        root=path.parent,
        classes=classes,
        paths=names,
        files=[""] * len(names),
        labels=labels,
        skipped=tuple(
            Skipped(int(row), names[row], "skipped", "no label") for row in np.flatnonzero(labels < 0)
        ),
    )


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise unreadable(path, error) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no UTF-8 text: byte {error.start}", "save it as UTF-8") from error
