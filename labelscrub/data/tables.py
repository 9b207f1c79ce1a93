"""CSV, TSV and JSON Lines: every cell stays the text it is, and every row knows its bytes."""

from __future__ import annotations

import csv
import itertools
import json
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from labelscrub.config import SourceSettings
from labelscrub.data.columns import find_columns
from labelscrub.data.lines import Lines, is_unicode, not_utf8, open_table
from labelscrub.data.pace import EVERY
from labelscrub.data.rows import Rows, byte_spans
from labelscrub.errors import DataError, UsageError

DELIMITERS = {"csv": ",", "tsv": "\t"}
_LARGEST_CELL = 1 << 26  # characters; an open quote is noticed here at the latest
_LOOKED_AT = 100  # objects of a JSON Lines file whose keys make up its columns


def read_text_table(path: Path, prefix: str, settings: SourceSettings, rows: Rows) -> None:
    """Append the rows of a CSV, TSV or JSON Lines file; `prefix`: its folder below the root, with '/'."""
    read = _read_jsonl if rows.kind == "jsonl" else _read_delimited
    with open_table(path) as (file, sha256):
        lines = Lines(file, str(path))
        starts = read(lines, settings, rows)
        rows.close_table(path, prefix, sha256, byte_spans(starts, lines.end))


def delimited_rows(lines: Lines, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Byte offset and cells of each row, header included; blank lines are no rows."""
    csv.field_size_limit(max(csv.field_size_limit(), _LARGEST_CELL))
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        start, number = lines.end, lines.number
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            reason = "a quote is opened and never closed" if "unexpected end" in str(error) else str(error)
            lines.number = number + 1
            raise DataError(f"{lines.where()}: {reason}", "check the quotes of this row") from error
        if cells:
            yield start, cells


def _read_delimited(lines: Lines, settings: SourceSettings, rows: Rows) -> array[int]:
    """Append a CSV's rows and give the byte at which each starts."""
    table = delimited_rows(lines, _delimiter(settings, rows.kind))
    _, header = next(table, (0, None))
    if header is None:
        raise DataError(f"{lines.name}: the manifest has no rows", "it needs a header and a row an image")
    if len(header) == 1:
        _reject_other_delimiter(header[0], lines.name)
    columns = find_columns(header, settings, lines.name)
    rows.columns = rows.columns or columns
    path_at, label_at = header.index(columns.path), header.index(columns.label)
    group_at = -1 if columns.group is None else header.index(columns.group)
    add_group = group_adder(rows, columns.group)

    width, paths, labels, codes = len(header), rows.paths, rows.labels, rows.labels.codes
    starts = array("q")
    lines.row = len(paths)
    lines.tolerant = True  # of file names, which may be any bytes
    for start, cells in table:
        if len(cells) != width:
            raise DataError(
                f"{lines.where()}: {len(cells)} cells where the header has {width}", "mend or quote this row"
            )
        if lines.foreign:
            if not all(is_unicode(cell) for i, cell in enumerate(cells) if i != path_at):
                raise not_utf8(lines.where(), lines.name)
            lines.foreign = False
        starts.append(start)
        paths.append(cells[path_at])
        codes.append(labels[cells[label_at]])
        if group_at >= 0:
            add_group(cells[group_at])
        lines.row += 1
        if lines.row % EVERY == 0:
            rows.pace.tick(lines.row)
    if not starts:
        raise DataError(f"{lines.name}: the manifest has no rows, only a header", "it needs a row an image")
    return starts


def _read_jsonl(lines: Lines, settings: SourceSettings, rows: Rows) -> array[int]:
    """Append the objects of a JSON Lines file and give the byte at which each starts."""
    if settings.delimiter is not None:
        raise UsageError("--delimiter has no effect on JSON Lines", "leave it out")
    lines.row = len(rows)
    table = _objects(lines)
    first = list(itertools.islice(table, _LOOKED_AT))
    if not first:
        raise DataError(f"{lines.name}: the manifest has no rows", "it needs a JSON object a line")
    columns = find_columns(
        list(dict.fromkeys(key for _, item in first for key in item)), settings, lines.name
    )
    rows.columns = rows.columns or columns
    add_group = group_adder(rows, columns.group)

    starts = array("q")
    for start, item in itertools.chain(first, table):
        where = f"{lines.name}, row {len(rows)}"
        path = _literal(item.get(columns.path), f"{where}: the path")
        label = _literal(item.get(columns.label), f"{where}: single-label data only, but the label")
        if columns.group is not None:
            add_group(_literal(item.get(columns.group), f"{where}: the group") or "")
        starts.append(start)
        rows.labels.codes.append(rows.labels[label])
        rows.paths.append(path or "")
        if len(rows) % EVERY == 0:
            rows.pace.tick(len(rows))
    return starts


def _objects(lines: Lines) -> Iterator[tuple[int, dict[str, Any]]]:
    """Byte offset and object of each line that is not blank; numbers stay the text they are."""
    decoder = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str)
    while True:
        start = lines.end
        line = next(lines, None)
        if line is None:
            return
        if not line.strip():
            continue
        try:
            item = decoder.decode(line)
        except (ValueError, RecursionError) as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deeply"
            raise DataError(
                f"{lines.where()}: not JSON ({reason})", "write one JSON object a line"
            ) from error
        if not isinstance(item, dict):
            raise DataError(f"{lines.where()}: not a JSON object", "write one JSON object a line")
        yield start, item
        lines.row += 1


def group_adder(rows: Rows, column: str | None) -> Callable[[str], None]:
    """A function that appends a row's group to `rows`; does nothing without a group column."""
    if column is None:
        return lambda text: None
    if rows.groups is None:
        rows.groups = []
    groups, seen = rows.groups, dict[str, str]()
    return lambda text: groups.append(seen.setdefault(text, text))  # equal texts share one object


def _literal(value: Any, what: str) -> str | None:
    """A JSON scalar as it is written: true -> "true", null -> None; numbers are text already."""
    if isinstance(value, str) or value is None:
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    raise DataError(
        f"{what} is a JSON {'array' if isinstance(value, list) else 'object'}", "write it as a string"
    )


def _delimiter(settings: SourceSettings, kind: str) -> str:
    """The separator to use; "\\t" and "tab" are spellings of a tab."""
    given = settings.delimiter
    if given is None:
        return DELIMITERS[kind]
    delimiter = "\t" if given in ("\\t", "tab") else given
    if len(delimiter) != 1 or delimiter in '\r\n"\0':
        raise UsageError(f"--delimiter must be a single character, not {given!r}", "for a tab write 'tab'")
    return delimiter


def _reject_other_delimiter(cell: str, name: str) -> None:
    """A header with one cell that holds another separator."""
    for delimiter, shown in ((";", "';'"), ("\t", "tab"), ("|", "'|'"), (",", "','")):
        if delimiter in cell:
            raise UsageError(f"{name}: one column found, {cell[:80]!r}", f"try --delimiter {shown}")
