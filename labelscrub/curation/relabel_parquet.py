"""Parquet tables with other labels: the same rows and types, the old labels in a column like the label's."""

from __future__ import annotations

import json
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from labelscrub.curation.clean import rows_of_table
from labelscrub.curation.clean_parquet import encoding_of, kept_in_table, require_same_schema, row_groups
from labelscrub.curation.relabel_text import column_exists
from labelscrub.errors import DataError
from labelscrub.records import Manifest


def write_parquet(
    manifest: Manifest,
    labels: NDArray[np.int32],  # (R,) new class of each row, -1 to leave it
    file: BinaryIO,
    true_column: str | None = None,
    *,
    keep: NDArray[np.bool_] | None = None,  # (R,)
) -> None:
    """Write all rows, or those to keep, with these labels; the tables' bytes are those that were read."""
    first, column = manifest.tables[0], manifest.label_column
    with pq.ParquetFile(first) as source:
        schema, encoding = source.schema_arrow, encoding_of(source.metadata)
    if true_column in schema.names:
        raise column_exists(str(true_column), first)
    keep = np.ones(len(manifest), np.bool_) if keep is None else keep
    change = np.where((labels == manifest.labels) | ~keep, -1, labels)
    spelled = _spelled(manifest, schema, np.unique(change[change >= 0]))
    written = schema
    if true_column is not None:
        written = _with_column(schema, column, true_column)
        encoding = _with_encoding(encoding, column, true_column)
    with pq.ParquetWriter(file, written, write_page_checksum=True, **encoding) as writer:
        for number, table in enumerate(manifest.tables):
            with pq.ParquetFile(table, buffer_size=1 << 20, pre_buffer=False) as source:
                require_same_schema(source.schema_arrow, schema, table, first)
                rows, start = rows_of_table(manifest, number), 0
                kept = kept_in_table(manifest, keep, number, source.metadata.num_rows)
                changes = change[rows][keep[rows]]
                for part in row_groups(source, kept):
                    new = changes[start : start + len(part)]
                    start += len(part)
                    at = part.column_names.index(column)
                    columns = part.columns
                    columns[at] = _replaced(part[column], new, spelled)
                    if true_column is not None:
                        columns.insert(at + 1, part[column])
                    writer.write_table(pa.Table.from_arrays(columns, schema=written))


def _replaced(
    old: pa.ChunkedArray,
    new: NDArray[np.int32],  # (n,) index into `spelled`, -1 to leave it
    spelled: pa.Array,  # (K,)
) -> pa.Array:
    """The column with its new values, in its own type."""
    kind = old.type
    plain = old.cast(spelled.type).combine_chunks()
    changed = pc.if_else(pa.array(new >= 0), spelled.take(pa.array(np.maximum(new, 0))), plain)
    if not pa.types.is_dictionary(kind):
        return changed.cast(kind)
    coded = changed.dictionary_encode()
    return pa.DictionaryArray.from_arrays(
        coded.indices.cast(kind.index_type), coded.dictionary.cast(kind.value_type), ordered=kind.ordered
    )


def _spelled(manifest: Manifest, schema: pa.Schema, needed: NDArray[np.int32]) -> pa.Array:
    """(K,) the value that stands for each class in the label column; null where it is not `needed`."""
    column = manifest.label_column
    kind = schema.field(column).type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_string_view(kind):
        kind = pa.large_string()  # as which it can be computed with
    names = (_features(schema).get(column) or {}).get("names")
    values: list[Any] = [None] * len(manifest.classes)
    for k in needed.tolist():
        name = manifest.classes[k]
        try:
            if isinstance(names, list) and names:
                value: Any = list(map(str, names)).index(name)
            elif pa.types.is_integer(kind):
                value = int(name)
            elif pa.types.is_boolean(kind):
                value = {"true": True, "false": False}[name]
            else:
                value = name
            values[k] = pa.scalar(value, kind).as_py()
        except (ValueError, KeyError, OverflowError, pa.ArrowException) as error:
            raise DataError(
                f"{manifest.tables[0]}: column {column!r} can't hold the class {name!r}; it is {kind}"
                + (" with a list of class names" if names else ""),
                "leave the class out of --classes",
            ) from error
    return pa.array(values, kind)


def _with_column(schema: pa.Schema, column: str, added: str) -> pa.Schema:
    """The schema with a column like `column` behind it; a ClassLabel's names go with it."""
    at = schema.get_field_index(column)
    schema = schema.insert(at + 1, schema.field(at).with_name(added).remove_metadata())
    features = _features(schema)
    if column not in features:
        return schema
    document = json.loads(schema.metadata[b"huggingface"])
    document["info"]["features"] = {
        name: feature
        for old, given in features.items()
        for name, feature in [(old, given), *([(added, given)] if old == column else [])]
    }
    return schema.with_metadata({**schema.metadata, b"huggingface": json.dumps(document).encode()})


def _with_encoding(encoding: dict[str, Any], column: str, added: str) -> dict[str, Any]:
    codecs, dictionaries = dict(encoding["compression"]), list(encoding["use_dictionary"] or ())
    if column in codecs:
        codecs[added] = codecs[column]
    if column in dictionaries:
        dictionaries.append(added)
    return {"compression": codecs, "use_dictionary": dictionaries or False}


def _features(schema: pa.Schema) -> dict[str, Any]:
    """Column -> Hugging Face feature; {} where the schema has none."""
    try:
        found = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
