"""Where the label of a row stands in its text: a cell of a delimited row, a member of a JSON object."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from typing import NamedTuple

DELIMITERS = {"csv": ",", "tsv": "\t"}
DECODER = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str)  # numbers as they are written
_OPEN, _COLON, _NEXT = (re.compile(rf"[ \t\r\n]*{mark}[ \t\r\n]*") for mark in ("{", ":", "[,}]"))


def separator(delimiter: str | None, kind: str) -> str:
    """The character between the cells of a table of this kind; "tab" and "\\t" are spellings of a tab."""
    between = delimiter or DELIMITERS[kind]
    return {"tab": "\t", "\\t": "\t"}.get(between, between)


def column_names(header: str, between: str) -> list[str]:
    """The names in a header, around which blank lines may stand."""
    rows = csv.reader(io.StringIO(header.lstrip("\r\n"), newline=""), delimiter=between, strict=True)
    return next(rows, [])


def cell_pattern(at: int, between: str) -> re.Pattern[str]:
    """Matches a row up to its cell number `at`, from 0; group 1 is that cell, with its quotes.

    A cell as the csv module takes it with strict=True, which is how tables are read.
    """
    d = re.escape(between)
    one = rf'(?:"[^"]*(?:""[^"]*)*"|[^"{d}\r\n][^{d}\r\n]*|)'
    return re.compile(rf"(?:{one}{d}){{{at}}}({one})")


class Member(NamedTuple):
    """A member of a JSON object: where its value stands, and the colon with the space around it."""

    key: str
    colon: str
    start: int
    end: int


def members(row: str) -> Iterator[Member]:
    """The members of the object in a row, which is known to be one; ValueError where it is not."""
    at = _end(_OPEN, row, 0)
    while row[at : at + 1] != "}":
        key, begin = DECODER.raw_decode(row, at)
        start = _end(_COLON, row, begin)
        _, end = DECODER.raw_decode(row, start)
        yield Member(key, row[begin:start], start, end)
        at = _end(_NEXT, row, end)
        if "}" in row[end:at]:
            return


def _end(pattern: re.Pattern[str], row: str, at: int) -> int:
    match = pattern.match(row, at)
    if match is None:
        raise ValueError(f"not a JSON object at character {at}")
    return match.end()
