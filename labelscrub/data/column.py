"""A column of a source's own tables, and tables of paths and labels beside it. No image is looked up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelscrub.config import SourceSettings
from labelscrub.data.filenames import extension
from labelscrub.data.pace import Pace
from labelscrub.data.rows import Rows
from labelscrub.data.source import KINDS
from labelscrub.errors import DataError, UsageError
from labelscrub.records import Manifest, Progress, SourceKind, silent

TRUE_LABEL = "true_label"
"""The column with the truth where a table has both labels; what `labelscrub corrupt` calls it."""


def read_column(
    manifest: Manifest, name: str, settings: SourceSettings, progress: Progress = silent
) -> list[str | None]:
    """(R,) the texts of a column of the source's tables; None where a cell is blank, null, NaN or a class -1.

    settings: those that the manifest was read with.

    Raises:
        UsageError: no such column, or a source without tables.
        DataError: the tables changed since the manifest was read, or the column holds no labels.
    """
    if not manifest.tables:
        return _beside_labels(manifest, name)
    rows = _read(
        manifest.tables, manifest.kind, replace(settings, label_column=name, group_column=None), progress
    )
    if len(rows) != len(manifest):
        raise DataError(f"{manifest.source} changed while it was read", "run the command again")
    return _texts(rows)


def read_pairs(
    path: Path, manifest: Manifest, progress: Progress = silent
) -> tuple[Sequence[str], list[str | None]]:
    """Paths and labels (T,) of a table beside the source; None where there is no label.

    The path column is the one that the source has, else found by name; so is the labels', after `true_label`.

    Raises:
        UsageError: no such columns, or no table.
    """
    choices = [
        SourceSettings(path_column=path_column, label_column=label_column)
        for label_column in (TRUE_LABEL, None)
        for path_column in (manifest.path_column, None)
    ]
    kind = KINDS[extension(path.name)]
    for settings in choices:
        try:
            rows = _read([path], kind, settings, progress)
        except UsageError as error:  # no such column, or two of them
            if settings is not choices[-1]:
                continue
            ours = f"give it the paths as the source has them and a column {TRUE_LABEL!r}"
            raise UsageError(error.cause, ours if "--" in error.fix else error.fix) from error
        break
    return rows.paths, _texts(rows)


def read_numbers(path: Path, columns: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Columns (R,) of numbers or booleans of a Parquet file that we wrote; NaN where a cell is null."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from labelscrub.data.parquet import parquet_errors

    def numbers(column: Any) -> NDArray[np.float64]:
        return np.asarray(pc.fill_null(column.cast("float64"), float("nan")))

    with parquet_errors(path):
        table = pq.read_table(path, columns=list(columns))
        return {name: numbers(table[name]) for name in columns}


def _read(tables: Sequence[Path], kind: SourceKind, settings: SourceSettings, progress: Progress) -> Rows:
    from labelscrub.data.parquet_rows import read_parquet_table
    from labelscrub.data.tables import read_text_table

    rows = Rows(kind, Pace(progress))
    for table in tables:
        (read_parquet_table if kind == "parquet" else read_text_table)(table, "", settings, rows)
    rows.pace.finish(len(rows))
    return rows


def _texts(rows: Rows) -> list[str | None]:
    names = rows.labels.names()
    return [names[code] if code >= 0 else None for code in rows.labels.codes]


def _beside_labels(manifest: Manifest, name: str) -> list[str | None]:
    """Of a source that is only labels: a column of their file."""
    from labelscrub.data.pred_files import as_text, csv_table, parquet_table

    path = manifest.source
    suffix = path.suffix.lower()
    if manifest.kind == "folder" or suffix not in (".csv", ".parquet"):
        raise UsageError(f"{path} has no columns", "give the truth as a file")
    table = csv_table(path, numbers=False) if suffix == ".csv" else parquet_table(path)
    if table.column_names.count(name) != 1:
        listed = ", ".join(map(repr, table.column_names[:12]))
        raise UsageError(f"{path} has no column {name!r}; its columns are: {listed}", "name one of them")
    return [text if text.strip() else None for text in as_text(table[name], name, path)]
