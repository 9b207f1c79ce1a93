"""Where a row stands in its text manifest: what a code-scanning alert points at."""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Callable
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from labelscrub.curation.cells import DELIMITERS, cell_pattern, column_names, members, separator
from labelscrub.records import Manifest

_BLOCK = 1 << 20  # bytes of a table in memory at a time
_LINE_END = re.compile("\r\n|\r|\n")

FindLabel = Callable[[str], int]
"""Text of a row -> the character at which its label begins, or -1."""


def locate(
    manifest: Manifest,
    rows: NDArray[np.int64],  # (M,)
    delimiter: str | None = None,
) -> NDArray[np.int64]:
    """(M, 2) line of each label in its table and the column at which its cell begins, from 1, in characters.

    0, 0 where there is no text table, or where it is not what was read: an alert then names the file alone.
    Lines end as editors see it, also within quotes, and a byte-order mark takes no column.
    """
    places = np.zeros((len(rows), 2), np.int64)
    if manifest.kind not in (*DELIMITERS, "jsonl") or manifest.spans is None or manifest.table_of is None:
        return places
    for number, table in enumerate(manifest.tables):
        mine = np.flatnonzero(manifest.table_of[rows] == number)
        if len(mine):
            first = int(np.searchsorted(manifest.table_of, number))  # tables follow each other
            try:
                with table.open("rb") as file:
                    lines = _line_numbers(file, manifest.table_sha256[number], manifest.spans[rows[mine], 0])
                    header = _read(file, 0, int(manifest.spans[first, 0]))
                    find = _finder(manifest, header, delimiter)
                    spans = manifest.spans[rows[mine]].tolist()
                    places[mine] = [
                        _place(_read(file, *span), line, find)
                        for span, line in zip(spans, lines.tolist(), strict=True)
                    ]
            except (OSError, ValueError, RecursionError, csv.Error):
                places[mine] = 0  # changed since it was read
    return places


def first_rows(manifest: Manifest) -> list[dict[str, str | int]]:
    """Each table with its digest and the first of its rows, as run.json keeps them.

    By these it is known which table a row of the run is in, and whether that is still what was read.
    """
    if manifest.table_of is None:
        return []
    firsts = np.searchsorted(manifest.table_of, np.arange(len(manifest.tables)))
    return [
        {"path": str(table.resolve()), "first_row": int(row), "sha256": digest}
        for table, row, digest in zip(manifest.tables, firsts, manifest.table_sha256, strict=True)
    ]


def _line_numbers(
    file: BinaryIO,
    sha256: str,
    offsets: NDArray[np.int64],  # (M,) bytes from the start of the file
) -> NDArray[np.int64]:
    """(M,) number of the line, from 1, that each of these bytes is in; ValueError if the file has changed."""
    order = np.argsort(offsets, kind="stable")
    ahead = offsets[order]
    ended = np.zeros(len(ahead), np.int64)  # lines that end before each of them
    digest, start, seen, last = hashlib.sha256(), 0, 0, 0
    while block := file.read(_BLOCK):
        digest.update(block)
        data = np.frombuffer(block, np.uint8)
        ends = (data == 13) | (data == 10)
        ends[1:] &= (data[1:] != 10) | (data[:-1] != 13)  # "\r\n" is one, and its "\r" stands for it
        ends[0] &= data[0] != 10 or last != 13
        at = np.flatnonzero(ends)
        low, high = np.searchsorted(ahead, (start, start + len(data)))
        ended[low:high] = seen + np.searchsorted(at, ahead[low:high] - start)
        start, seen, last = start + len(data), seen + len(at), int(data[-1])
    if digest.hexdigest() != sha256:
        raise ValueError("the table has changed")
    lines = np.empty_like(ended)
    lines[order] = 1 + ended
    return lines


def _finder(manifest: Manifest, header: str, delimiter: str | None) -> FindLabel:
    """How a label is found in a row; `header` is what stands before the table's first row."""
    if manifest.kind == "jsonl":

        def find_member(row: str) -> int:
            found = [member.start for member in members(row) if member.key == manifest.label_column]
            return found[-1] if found else -1  # of several the last one counts

        return find_member
    between = separator(delimiter, manifest.kind)
    label = cell_pattern(
        column_names(header.removeprefix("\ufeff"), between).index(manifest.label_column), between
    )

    def find_cell(row: str) -> int:
        match = label.match(row)
        return match.start(1) if match else -1

    return find_cell


def _place(row: str, line: int, find: FindLabel) -> tuple[int, int]:
    """Line and column of the label in a row that begins at the start of `line`."""
    at = find(row)
    if at < 0:
        return line, 0
    begins = 0
    for end in _LINE_END.finditer(row, 0, at):
        line, begins = line + 1, end.end()
    return line, at - begins + 1


def _read(file: BinaryIO, start: int, end: int) -> str:
    file.seek(start)
    return file.read(end - start).decode("utf-8", "surrogateescape")
