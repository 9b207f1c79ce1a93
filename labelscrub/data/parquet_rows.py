"""Parquet: a manifest with paths, or Hugging Face's tables with the images' bytes in them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from labelscrub.config import SourceSettings
from labelscrub.data.columns import IMAGE_NAMES, LABEL_NAMES, PATH_NAMES, Columns, find_column, find_group
from labelscrub.data.lines import open_table
from labelscrub.data.parquet import (
    batch_rows,
    byte_values,
    bytes_leaf,
    is_binary,
    is_text,
    leaf_chunk,
    open_parquet,
    parquet_errors,
    subtype,
)
from labelscrub.data.rows import Rows
from labelscrub.data.tables import group_adder
from labelscrub.errors import DataError, UsageError

_BATCH_ROWS = 1 << 16
_BYTES_NAMES = (*IMAGE_NAMES, "bytes", "image_bytes", "jpg", "jpeg", "png", "webp")


def read_parquet_table(path: Path, prefix: str, settings: SourceSettings, rows: Rows) -> None:
    """Append the rows of a Parquet file without reading its images' bytes; `prefix` as for text tables."""
    if settings.delimiter is not None:
        raise UsageError("--delimiter has no effect on Parquet", "leave it out")
    with open_table(path) as (file, sha256), parquet_errors(path):
        table = open_parquet(file)
        features = _features(table.schema_arrow)
        columns, image = _find(table.schema_arrow, features, settings, str(path))
        _agree(rows, columns, image, _class_names(features, columns.label), path)
        start = len(rows)
        for group in range(table.num_row_groups):
            _read_group(table, group, columns, image, path, rows, start)
            rows.pace.tick(len(rows))
        count = len(rows) - start
        if not count:
            raise DataError(f"{path}: the manifest has no rows", "it needs a row an image")
        edges = np.arange(count + 1, dtype=np.int64)
        rows.close_table(path, prefix, sha256, np.stack([edges[:-1], edges[1:]], axis=1))


def text_values(array: pa.Array, column: str, where: str) -> list[str | None]:
    """A column as texts: strings as they are, whole numbers and booleans as they are written."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        array = array.dictionary_decode()
        kind = array.type
    if not (
        is_text(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind)
    ):
        raise DataError(
            f"{where}: column {column!r} holds {str(kind)[:80]}; single-label text or whole numbers only",
            "write one text or whole number a row, or name another column",
        )
    values: list[str | None] = (array if is_text(kind) else array.cast(pa.string())).to_pylist()
    return values


def _find(
    schema: pa.Schema, features: dict[str, Any], settings: SourceSettings, table: str
) -> tuple[Columns, str]:
    """The columns to read, and the one with the images' bytes, "" where there is none."""
    names = schema.names
    images = [field.name for field in schema if _may_hold_images(field, settings)]
    if images:
        path = find_column(
            images, "path_column", settings.path_column, (images,), table, "images", shown=names
        )
    else:
        path = find_column(names, "path_column", settings.path_column, PATH_NAMES, table, "image paths")
    named = [name for name in names if _class_names(features, name) is not None]
    rest = [name for name in names if name != path]
    label = find_column(
        rest, "label_column", settings.label_column, (*LABEL_NAMES, named), table, "labels", shown=names
    )
    return Columns(path, label, find_group(names, settings, table)), path if images else ""


def _may_hold_images(field: pa.Field, settings: SourceSettings) -> bool:
    """A struct with `bytes` or `path` in any order, or plain bytes with an image's name or the named one."""
    if settings.path_column is not None and field.name != settings.path_column:
        return False
    if pa.types.is_struct(field.type):
        return is_binary(subtype(field.type, "bytes")) or is_text(subtype(field.type, "path"))
    return is_binary(field.type) and (field.name in _BYTES_NAMES or field.name == settings.path_column)


def _read_group(
    table: pq.ParquetFile, group: int, columns: Columns, image: str, path: Path, rows: Rows, start: int
) -> None:
    """Append one row group; `start` is the manifest row of the table's first."""
    wanted = [columns.path, columns.label, columns.group]
    has_paths = True
    if image and pa.types.is_struct(kind := table.schema_arrow.field(image).type):
        has_paths = is_text(subtype(kind, "path"))
        wanted[0] = f"{image}.path"
    elif image:
        has_paths = False
    leaves = [leaf for leaf in wanted[0 if has_paths else 1 :] if leaf]
    present = _bytes_present(table, group, image) if image else None
    add_group = group_adder(rows, columns.group)
    first = len(rows)
    for batch in table.iter_batches(_BATCH_ROWS, row_groups=[group], columns=leaves):
        where = f"{path}, row {len(rows)}"
        row = len(rows) - start
        if has_paths:
            array = batch.column(columns.path)
            texts = text_values(pc.struct_field(array, "path") if image else array, columns.path, where)
        else:
            texts = [None] * batch.num_rows
        inside = present[len(rows) - first :] if present is not None else ()
        named = [
            text if text else f"{path.name}#{row + i}" if image and inside[i] else ""
            for i, text in enumerate(texts)
        ]
        labels = _labels(batch.column(columns.label), columns.label, rows, path)
        if columns.group is not None:
            for text in text_values(batch.column(columns.group), columns.group, where):
                add_group(text or "")
        rows.labels.codes.extend(_coded(labels, rows))
        rows.paths.extend(named)
    if present is not None:
        rows.embedded.append(present[: len(rows) - first])


def _coded(labels: Sequence[str | None], rows: Rows) -> Iterator[int]:
    return (rows.labels[label] for label in labels)


def _labels(array: pa.Array, column: str, rows: Rows, path: Path) -> list[str | None]:
    """Label texts of the next batch, ClassLabel numbers turned into their names; None for -1 and null."""
    names = rows.class_names
    if names is None:
        return text_values(array, column, f"{path}, row {len(rows)}")
    if not pa.types.is_integer(array.type):
        raise DataError(
            f"{path}: column {column!r} is a ClassLabel, but holds {array.type}", "write the file anew"
        )
    numbers: NDArray[np.int64] = pc.fill_null(array, -1).cast(pa.int64()).to_numpy(zero_copy_only=False)
    wrong = np.flatnonzero((numbers < -1) | (numbers >= len(names)))
    if len(wrong):
        raise DataError(
            f"{path}, row {len(rows) + wrong[0]}: label {numbers[wrong[0]]} of {len(names)} class names",
            "write the file anew with all its class names",
        )
    return [names[number] if number >= 0 else None for number in numbers.tolist()]


def _agree(rows: Rows, columns: Columns, image: str, names: tuple[str, ...] | None, path: Path) -> None:
    """Book what the first table says about columns and classes; the others must say the same."""
    if names is not None and len(set(names)) < len(names):
        raise DataError(f"{path}: a class name is listed twice in its schema", "write the file anew")
    if rows.tables and (names, columns, image) != (rows.class_names, rows.columns, rows.image_column):
        what = "class names" if names != rows.class_names else "columns"
        raise DataError(
            f"{path}: its {what} differ from those of {rows.tables[0]}", "read the files one by one"
        )
    rows.columns, rows.image_column, rows.class_names = columns, image, names


def _bytes_present(table: pq.ParquetFile, group: int, image: str) -> NDArray[np.bool_]:
    """(rows of the group,) whether each has its image's bytes; from the statistics wherever they tell."""
    count = table.metadata.row_group(group).num_rows
    leaf = bytes_leaf(table.schema_arrow, image)
    if leaf is None:
        return np.zeros(count, np.bool_)
    chunk, kind = leaf_chunk(table, group, leaf)
    statistics = chunk.statistics if chunk.physical_type == kind else None  # see leaf_chunk
    if statistics is not None and statistics.has_null_count and statistics.null_count in (0, count):
        return np.full(count, statistics.null_count == 0)
    batches = table.iter_batches(batch_rows(table, group, leaf), row_groups=[group], columns=[leaf])
    valid = [byte_values(batch, image).is_valid().to_numpy(zero_copy_only=False) for batch in batches]
    return np.concatenate(valid) if valid else np.zeros(0, np.bool_)


def _features(schema: pa.Schema) -> dict[str, Any]:
    """Column -> Hugging Face feature, from the schema's metadata; {} where there is none."""
    try:
        found = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _class_names(features: dict[str, Any], column: str) -> tuple[str, ...] | None:
    feature = features.get(column)
    names = feature.get("names") if isinstance(feature, dict) else None
    return tuple(map(str, names)) if isinstance(names, list) and names else None
