"""The cleaned manifest of Parquet tables: the kept rows under the same schema, a few megabytes at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from labelscrub.curation.clean import rows_of_table
from labelscrub.errors import DataError
from labelscrub.records import Manifest

_IN_MEMORY = 16 << 20  # bytes of a row group read, and collected to be written, at a time
_MOST_ROWS = 1 << 16


def write_parquet(manifest: Manifest, keep: NDArray[np.bool_], file: BinaryIO) -> None:
    """Write the kept rows (R,) of all tables, whose bytes are those that were read, to `file`.

    With the first one's schema, metadata and codecs.
    """
    first = manifest.tables[0]
    with pq.ParquetFile(first) as source:
        schema, encoding = source.schema_arrow, encoding_of(source.metadata)
    with pq.ParquetWriter(file, schema, write_page_checksum=True, **encoding) as writer:
        for number, table in enumerate(manifest.tables):
            # pre-buffering would hold a whole row group, which may be all of the file
            with pq.ParquetFile(table, buffer_size=1 << 20, pre_buffer=False) as source:
                require_same_schema(source.schema_arrow, schema, table, first)
                kept = kept_in_table(manifest, keep, number, source.metadata.num_rows)
                for rows in row_groups(source, kept):
                    writer.write_table(rows.replace_schema_metadata(schema.metadata))


def encoding_of(metadata: Any) -> dict[str, Any]:
    """The codec of each column, and which ones have dictionaries, as the source's first row group has it."""
    if not metadata.num_row_groups:
        return {}
    group = metadata.row_group(0)
    columns = [group.column(i) for i in range(group.num_columns)]
    codecs = {c.path_in_schema: c.compression.replace("UNCOMPRESSED", "NONE").lower() for c in columns}
    dictionaries = [c.path_in_schema for c in columns if any("DICTIONARY" in name for name in c.encodings)]
    return {"compression": codecs, "use_dictionary": dictionaries or False}


def require_same_schema(found: pa.Schema, schema: pa.Schema, table: Path, first: Path) -> None:
    """Same columns, and the same class names behind the numbers of a ClassLabel."""
    features = [(each.metadata or {}).get(b"huggingface") for each in (found, schema)]
    if not found.equals(schema) or features[0] != features[1]:
        cause = (
            f"{table} has other columns or class names than {first}, so their rows don't fit into one file"
        )
        raise DataError(cause, "clean them one at a time, for example with --split")


def kept_in_table(manifest: Manifest, keep: NDArray[np.bool_], number: int, rows: int) -> NDArray[np.bool_]:
    """(rows of the table,) whether each is kept."""
    assert manifest.spans is not None
    part = rows_of_table(manifest, number)
    kept = np.ones(rows, np.bool_)
    kept[manifest.spans[part, 0]] = keep[part]
    return kept


def row_groups(source: pq.ParquetFile, kept: NDArray[np.bool_]) -> Iterator[pa.Table]:
    """The kept rows, a source's row group each, or less of it where that is large."""
    start = 0
    for number in range(source.metadata.num_row_groups):
        group = source.metadata.row_group(number)
        row_bytes = max(1, group.total_byte_size // max(1, group.num_rows))
        batch_rows = max(1, min(_MOST_ROWS, _IN_MEMORY // row_bytes))
        collected: list[pa.RecordBatch] = []
        for batch in source.iter_batches(batch_size=batch_rows, row_groups=[number]):
            mask = kept[start : start + len(batch)]
            start += len(batch)
            if mask.any():
                collected.append(batch if mask.all() else batch.filter(pa.array(mask)))
            if sum(each.nbytes for each in collected) >= _IN_MEMORY:
                yield pa.Table.from_batches(collected)
                collected = []
        if collected:
            yield pa.Table.from_batches(collected)
