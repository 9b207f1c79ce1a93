"""Line and column of labels, against a reader that splits the whole text and asks the csv module."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelscrub.config import SourceSettings
from labelscrub.curation import first_rows, locate, location
from labelscrub.curation.cells import cell_pattern, column_names, members
from labelscrub.data import read_source

LABELS = ("cat", 'a "dog"', "größe", " cow", "semi;colon", "two\nlines", "old\rmac", "\r\nfirst")


def read(path, **options):
    return read_source(path, SourceSettings(label_column="label", path_column="path", **options))


def places(manifest, rows=None, delimiter=None):
    rows = np.arange(len(manifest)) if rows is None else np.array(rows, np.int64)
    found = locate(manifest, rows, delimiter)
    assert found.shape == (len(rows), 2) and found.dtype == np.int64
    return [tuple(place) for place in found.tolist()]


def slow_places(data: bytes, starts, find):
    """Of each row at these bytes: line and column of the character `find(row)`, by plain splitting."""
    result = []
    for start in starts:
        row = data[start:].decode("utf-8", "surrogateescape")
        before = data[:start].decode("utf-8", "surrogateescape").removeprefix("\ufeff") + row[: find(row)]
        lines = re.split("\r\n|\r|\n", before)
        result.append((len(lines), len(lines[-1]) + 1))
    return result


def slow_cell(number):
    """The character at which a cell begins: where what stands before it reads as so many cells."""

    def find(row):
        for end in range(len(row) + 1):
            with_mark = row[:end] + "MARK"
            try:
                cells = next(csv.reader(io.StringIO(with_mark, newline=""), strict=True))
            except (csv.Error, StopIteration):
                continue
            if len(cells) == number + 1 and cells[-1] == "MARK":
                return end
        raise AssertionError(row)

    return find


CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5)


@st.composite
def tables(draw):
    """A CSV as bytes, and the number of its label's column."""
    width = draw(st.integers(2, 4))
    at = draw(st.permutations(range(width)))
    names = [f"c{i}" for i in range(width)]
    names[at[0]], names[at[1]] = "path", "label"
    rows = [names]
    for number in range(draw(st.integers(1, 6))):
        row = [draw(CELLS) for _ in range(width)]
        row[at[0]], row[at[1]] = f"{number}.png", draw(st.sampled_from(LABELS))
        rows.append(row)
    ending = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    text = draw(st.sampled_from(["", "\ufeff"])) + draw(st.sampled_from(["", ending]))
    for row in rows:
        quoted = ['"' + cell.replace('"', '""') + '"' for cell in row]
        bare = [cell and cell[0] != '"' and not set(cell) & set(",\r\n") for cell in row]
        cells = [c if b and draw(st.booleans()) else q for c, q, b in zip(row, quoted, bare, strict=True)]
        text += ",".join(cells) + ending * draw(st.integers(1, 2))
    if draw(st.booleans()):
        text = text.rstrip("\r\n")
    return text.encode(), at[1]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(table=tables(), block=st.sampled_from([1, 2, 3, 7, 1 << 20]))
def test_any_csv_is_counted_as_by_the_slow_reader(tmp_path_factory, table, block):
    data, at = table
    path = tmp_path_factory.mktemp("table") / "labels.csv"
    path.write_bytes(data)
    manifest = read(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(location, "_BLOCK", block)
        assert places(manifest) == slow_places(data, manifest.spans[:, 0].tolist(), slow_cell(at))


def test_what_an_editor_shows(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_bytes(
        b"\xef\xbb\xbfpath,note,label\r\n"  # 1
        b"a.png,,cat\r\n"  # 2
        b"\r\n"  # 3
        b'"b.png","two\nlines",dog\r\n'  # 4, 5
        b'c.png,"x",\n'  # 6: no label
        + 'd.png,größe,"co\nw"\r'.encode()  # 7, 8
        + b"e.png,n,cat"  # 9
    )
    manifest = read(path)
    assert places(manifest) == [(2, 8), (5, 8), (6, 11), (7, 13), (9, 9)]
    assert places(manifest, [4, 1, 1]) == [(9, 9), (5, 8), (5, 8)], "in any order, also twice"
    assert places(manifest, []) == []


@pytest.mark.parametrize(("delimiter", "said"), [(";", ";"), ("\t", "tab"), ("\t", "\\t"), ("§", "§")])
def test_another_delimiter(tmp_path, delimiter, said):
    path = tmp_path / "labels.csv"
    path.write_text(delimiter.join(("path", "label")) + "\n" + delimiter.join(("a,b.png", "cat")) + "\n")
    assert places(read(path, delimiter=said), delimiter=said) == [(2, 9)]


def test_tsv_and_names_that_are_not_utf8(tmp_path):
    path = tmp_path / "labels.tsv"
    path.write_bytes(b"path\tlabel\ncaf\xe9.png\tcat\n")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png")).write_bytes(b"")
    assert places(read(path)) == [(2, 10)]


@pytest.mark.parametrize("block", [1, 5, 1 << 20])
def test_json_lines(tmp_path, monkeypatch, block):
    monkeypatch.setattr(location, "_BLOCK", block)
    lines = [
        '{"path": "a.png", "label": "cat"}',
        '  { "label" : 7, "path":"ß.png"}',
        "",
        '{"note": {"label": "no", "x": [1, "}"]}, "path": "c.png", "label":\t"dog"}',
        '{"label": "first", "path": "d.png", "label": "cat"}',
        '{"path": "e.png"}',
    ]
    path = tmp_path / "labels.jsonl"
    path.write_bytes("\r\n".join(lines).encode("utf-8-sig"))
    manifest = read(path)
    wanted = [(1, 28), (2, 15), (4, 68), (5, 46), (6, 0)]
    assert places(manifest) == wanted
    for (line, column), label in zip(wanted, ('"cat"', "7", '"dog"', '"cat"'), strict=False):
        assert lines[line - 1][column - 1 :].startswith(label)


def test_several_tables_each_count_their_own_lines(tmp_path):
    for split, header, rows in (("train", "label,file_name", 3), ("test", "file_name,label", 2)):
        folder = tmp_path / split
        folder.mkdir()
        body = [f"cat,{i}.png" if header.startswith("label") else f"{i}.png,cat" for i in range(rows)]
        (folder / "metadata.csv").write_text("\n".join([header, *body]))
        for i in range(rows):
            (folder / f"{i}.png").write_bytes(b"")
    manifest = read_source(tmp_path, SourceSettings(split="all"))
    tables = [table["path"].split("/")[-2] for table in first_rows(manifest)]
    expected = {"train": [(2, 1), (3, 1), (4, 1)], "test": [(2, 7), (3, 7)]}
    assert places(manifest) == [place for table in tables for place in expected[table]]
    starts = [table["first_row"] for table in first_rows(manifest)]
    assert starts == [0, len(expected[tables[0]])]
    second = list(range(starts[1], len(manifest)))
    assert places(manifest, second) == expected[tables[1]]


@pytest.mark.parametrize("change", [b"path,label\na.png,dog\n", b"path,label\n", b"", b'"', None])
def test_a_table_that_has_changed_gives_no_places_and_no_error(tmp_path, change):
    path = tmp_path / "labels.csv"
    path.write_bytes(b"path,label\na.png,cat\n")
    manifest = read(path)
    assert places(manifest) == [(2, 7)]
    path.unlink()
    if change is not None:
        path.write_bytes(change)
    assert places(manifest) == [(0, 0)]


def test_what_has_no_text_table_has_no_places(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").write_bytes(b"x")
    manifest = read_source(tmp_path, SourceSettings())
    assert places(manifest) == [(0, 0)] * 2 and first_rows(manifest) == []
    assert places(replace(manifest, kind="parquet")) == [(0, 0)] * 2
    assert places(replace(manifest, kind="csv")) == [(0, 0)] * 2, "labels alone"


@pytest.mark.parametrize("row", ["", "3", "[1]", '{"a" 1}', '{"a": }', '{"a": 1', "{a: 1}"])
def test_what_is_no_object_is_a_value_error(row):
    with pytest.raises(ValueError):
        list(members(row))


def test_members_and_cells_stand_where_they_are():
    row = '{ "a": {"b": "}"} ,"c":1.50}'
    assert [(m.key, row[m.start : m.end], m.colon) for m in members(row)] == [
        ("a", '{"b": "}"}', ": "),
        ("c", "1.50", ":"),
    ]
    assert list(members("{}")) == [] and json.loads(row)
    assert cell_pattern(1, "|").match('"a|""b"|c|d')[1] == "c"
    assert column_names('\r\n\na,"b\nc"\n', ",") == ["a", "b\nc"] and column_names("", ",") == []
