"""Parquet files opened with care, and the image bytes in them, a few megabytes at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from labelscrub.data.lines import open_table
from labelscrub.errors import DataError, LabelscrubError
from labelscrub.records import Manifest

_READ_AHEAD = 1 << 20  # bytes; without it a whole column chunk is read at once


def read_embedded(manifest: Manifest, rows: Sequence[int]) -> Iterator[tuple[int, bytes | None]]:
    """Each of these rows, ascending, with its image's bytes; None where they can't be read (any more).

    rows: ascending rows whose `Manifest.path_of` is None. Reads only the row groups that hold them.
    """
    if manifest.table_of is None or manifest.spans is None:
        raise ValueError("these rows come from no table")
    wanted = np.asarray(rows, np.int64)
    tables = manifest.table_of[wanted]
    for table in np.unique(tables):
        mine = wanted[tables == table]
        numbers = manifest.spans[mine, 0]
        done = 0
        try:
            for data in _table_bytes(manifest.tables[table], manifest.image_column, numbers):
                yield int(mine[done]), data
                done += 1
        except (LabelscrubError, OSError):
            pass  # the table was read before: it has changed since, and its rows are reported one by one
        for row in mine[done:]:
            yield int(row), None


def _table_bytes(path: Path, image: str, numbers: NDArray[np.int64]) -> Iterator[bytes | None]:
    """The bytes in these rows of a table (n,), ascending; ends early where the table does."""
    with open_table(path, hashed=False) as (file, _), parquet_errors(path):
        table = open_parquet(file)
        leaf = bytes_leaf(table.schema_arrow, image)
        if leaf is None:
            return
        start = 0
        for group in range(table.num_row_groups):
            end = start + table.metadata.row_group(group).num_rows
            mine = numbers[np.searchsorted(numbers, start) : np.searchsorted(numbers, end)]
            if len(mine):
                size = batch_rows(table, group, leaf)
                for batch in table.iter_batches(size, row_groups=[group], columns=[leaf]):
                    stop = start + batch.num_rows
                    values = byte_values(batch, image)
                    for number in mine[np.searchsorted(mine, start) : np.searchsorted(mine, stop)]:
                        yield values[int(number - start)].as_py()
                    start = stop
                    if start > mine[-1]:
                        break
            start = end


def open_parquet(file: BinaryIO) -> pq.ParquetFile:
    """A Parquet file from an open file: pyarrow itself refuses paths that are not UTF-8."""
    return pq.ParquetFile(file, buffer_size=_READ_AHEAD, pre_buffer=False)


@contextmanager
def parquet_errors(path: Path) -> Iterator[None]:
    """Whatever pyarrow raises on a damaged or hostile file is the file's fault."""
    try:
        yield
    except (LabelscrubError, PermissionError):
        raise
    except (
        Exception
    ) as error:  # measured: ArrowInvalid, OSError, ValueError, KeyError, TypeError, MemoryError
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise DataError(f"{path}: not a readable Parquet file ({reason})", "write the file anew") from error


def bytes_leaf(schema: pa.Schema, image: str) -> str | None:
    """Dotted name of the column that holds image bytes, or None where the struct has none."""
    kind = schema.field(image).type
    if not pa.types.is_struct(kind):
        return image
    return f"{image}.bytes" if is_binary(subtype(kind, "bytes")) else None


def byte_values(batch: pa.RecordBatch, image: str) -> pa.Array:
    """The image bytes of a batch that was read with `bytes_leaf`."""
    array = batch.column(image)
    return pc.struct_field(array, "bytes") if pa.types.is_struct(array.type) else array


def leaf_chunk(table: pq.ParquetFile, group: int, leaf: str) -> tuple[pq.ColumnChunkMetaData, str]:
    """Metadata of one leaf column in a row group, and its physical type by the schema.

    Damaged metadata raise an error when read by, but abort the process when asked for (pyarrow 26). So the
    first row is read first; and the statistics may be asked for only where the types agree.
    """
    next(table.iter_batches(1, row_groups=[group], columns=[leaf]), None)
    columns = map(table.schema.column, range(len(table.schema)))
    at, column = next((i, column) for i, column in enumerate(columns) if column.path == leaf)
    return table.metadata.row_group(group).column(at), column.physical_type


def batch_rows(table: pq.ParquetFile, group: int, leaf: str) -> int:
    """Rows of a leaf column to read at once, for about 16 MiB."""
    count = max(table.metadata.row_group(group).num_rows, 1)
    mean: int = max(leaf_chunk(table, group, leaf)[0].total_uncompressed_size // count, 1)
    return min(max((16 << 20) // mean, 1), 1024)


def subtype(struct: pa.DataType, name: str) -> pa.DataType:
    index = struct.get_field_index(name)
    return struct.field(index).type if index >= 0 else pa.null()


def is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))
