"""CSV, TSV and JSON Lines with other labels: a row's bytes but for its label, and the old label behind it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from labelscrub.curation.cells import DECODER, cell_pattern, column_names, members, separator
from labelscrub.errors import UsageError
from labelscrub.records import Manifest

_ROWS = 1 << 12  # rows in memory at a time
_BOM = b"\xef\xbb\xbf"

Edit = Callable[[str, str | None], str]
"""(row as it is, new label or None to leave it) -> row to write."""


def write_text(
    manifest: Manifest,
    labels: NDArray[np.int32],  # (R,) new class of each row, -1 to leave it
    file: BinaryIO,
    true_column: str | None,
    delimiter: str | None,
) -> None:
    """Write the only table of `manifest`, whose bytes are those that were read, with these labels."""
    assert manifest.spans is not None
    spans, (table,) = manifest.spans, manifest.tables
    with table.open("rb") as source:
        head = source.read(int(spans[0, 0]))
        bom = _BOM if head.startswith(_BOM) else b""
        header = _text(head.removeprefix(bom))
        if manifest.kind == "jsonl":
            edit = _json_edit(manifest, true_column)
        else:
            header, edit = _delimited_edit(manifest, header, delimiter, true_column)
        file.write(bom + _bytes(header))
        for start in range(0, len(manifest), _ROWS):
            part = slice(start, start + _ROWS)
            columns = (values[part].tolist() for values in (labels, manifest.labels, spans))
            rows = []
            for new, old, (begin, end) in zip(*columns, strict=True):
                row = source.read(end - begin)
                name = manifest.classes[new] if new >= 0 and new != old else None
                leave = name is None and true_column is None
                rows.append(row if leave else _bytes(edit(_text(row), name)))
            file.write(b"".join(rows))


def row_editor(manifest: Manifest, head: bytes, delimiter: str | None) -> Callable[[bytes, str], bytes]:
    """How a row of a text table gets another label: (row as it is, new label) -> row to write.

    head: the table's bytes before its first row; the table must be as it was read.
    """
    if manifest.kind == "jsonl":
        edit = _json_edit(manifest, None)
    else:
        _, edit = _delimited_edit(manifest, _text(head.removeprefix(_BOM)), delimiter, None)
    return lambda row, name: _bytes(edit(_text(row), name))


def cell(text: str, delimiter: str, *, quoted: bool = False) -> str:
    """A cell of a delimited table, in quotes if asked for or if need be."""
    if quoted or not text or text.strip(" ") != text or any(char in text for char in (delimiter, *'"\r\n')):
        return '"' + text.replace('"', '""') + '"'
    return text


def column_exists(column: str, where: Path | str) -> UsageError:
    """The error for a new column that isn't new."""
    return UsageError(f"{where} has a column {column!r} already", "name another one with --true-column")


def _delimited_edit(
    manifest: Manifest, header: str, delimiter: str | None, true_column: str | None
) -> tuple[str, Edit]:
    """The header with the new column, and how a row is edited. Blank lines may stand around the header."""
    between = separator(delimiter, manifest.kind)
    blank = len(header) - len(header.lstrip("\r\n"))
    names = column_names(header, between)
    if true_column in names:
        raise column_exists(str(true_column), manifest.tables[0])
    label = cell_pattern(names.index(manifest.label_column), between)

    def edit(row: str, new: str | None) -> str:
        start, end = _match(label, row, 0).span(1)
        old = row[start:end]
        given = old if new is None else cell(new, between, quoted=old.startswith('"'))
        return row[:start] + given + ("" if true_column is None else between + old) + row[end:]

    if true_column is not None:
        _, end = _match(label, header, blank).span(1)
        header = header[:end] + between + cell(true_column, between) + header[end:]
    return header, edit


def _json_edit(manifest: Manifest, true_column: str | None) -> Edit:
    def edit(row: str, new: str | None) -> str:
        label = None
        for member in members(row):
            if member.key == true_column:
                raise column_exists(str(true_column), manifest.tables[0])
            if member.key == manifest.label_column:
                label = member  # of several the last one counts
        if label is None:
            return row
        old = row[label.start : label.end]
        given = old if new is None else _literal(new, like=old)
        added = ""
        if true_column is not None:
            comma = ", " if label.colon.endswith(" ") else ","
            added = comma + json.dumps(true_column, ensure_ascii=False) + label.colon + old
        return row[: label.start] + given + added + row[label.end :]

    return edit


def _match(pattern: re.Pattern[str], row: str, at: int) -> re.Match[str]:
    match = pattern.match(row, at)
    assert match is not None  # the bytes are those that were read
    return match


def _literal(name: str, like: str) -> str:
    """A class as JSON: without quotes only where the label `like` is, and where that says the same."""
    if not like.startswith('"'):
        try:
            value, end = DECODER.raw_decode(name)
        except ValueError:
            value, end = None, 0
        if end == len(name) and (value == name or name in ("true", "false")):
            return name
    try:
        name.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which only an escape can write
        return json.dumps(name)
    return json.dumps(name, ensure_ascii=False)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
