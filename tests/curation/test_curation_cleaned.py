"""Rows out and labels in, in one pass: every other byte as it was, next to readers that parse it all."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelscrub.config import SourceSettings
from labelscrub.curation import clean, kept_rows, new_labels, write_clean
from labelscrub.data import read_source
from labelscrub.errors import DataError

LABELS = ("cat", 'a "dog"', "größe", " cow", "semi;colon", "1")
CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5)


def changes(data, manifest):
    """A random choice: rows to keep, and the new label of each row by name, "" to leave it."""
    rows = range(len(manifest))
    keep = [data.draw(st.booleans()) for _ in rows]
    # a row without a label is never a kept one
    new = [
        data.draw(st.sampled_from(["", *manifest.classes])) if manifest.labels[row] >= 0 else ""
        for row in rows
    ]
    return keep, new


def cleaned(manifest, keep, new, target, **options):
    target.unlink(missing_ok=True)
    codes = [manifest.classes.index(name) if name else -1 for name in new]
    write_clean(manifest, np.array(keep, bool), target, np.array(codes, np.int32), **options)
    assert not list(target.parent.glob(".labelscrub*"))
    return target.read_bytes()


@st.composite
def delimited(draw):
    """Bytes of a table with paths and labels somewhere in it, quoted here and there, and its delimiter."""
    delimiter = draw(st.sampled_from([",", "\t", ";"]))
    names = draw(st.permutations(["path", "label", "note"]))
    rows = [names]
    for number in range(draw(st.integers(1, 6))):
        cells = {"path": f"{number}.png", "label": draw(st.sampled_from([*LABELS, ""])), "note": draw(CELLS)}
        rows.append([cells[name] for name in names])
    ending = draw(st.sampled_from(["\n", "\r\n"]))
    text = ""
    for row in rows:
        cells = []
        for cell in row:
            bare = cell and cell[0] != '"' and not any(c in cell for c in (delimiter, "\r", "\n"))
            plain = bare and draw(st.booleans())
            cells.append(cell if plain else '"' + cell.replace('"', '""') + '"')
        text += delimiter.join(cells) + ending * draw(st.integers(1, 2))
    if draw(st.booleans()):
        text = text.rstrip("\r\n")
    return (draw(st.sampled_from(["", "\ufeff"])) + text).encode(), delimiter


def parsed(text, delimiter):
    file = io.StringIO(text.decode("utf-8-sig"), newline="")
    return [row for row in csv.reader(file, delimiter=delimiter, strict=True) if row]


@settings(max_examples=120, deadline=None, derandomize=True)
@given(table=delimited(), data=st.data(), block=st.sampled_from([1, 3, 1 << 20]))
def test_delimited_text_as_a_slow_reader_would_write_it(tmp_path_factory, table, data, block):
    text, delimiter = table
    folder = tmp_path_factory.mktemp("text")
    source = folder / "labels.csv"
    source.write_bytes(text)
    (folder / "classes.txt").write_text("\n".join(LABELS))
    read = SourceSettings(delimiter=delimiter, classes=str(folder / "classes.txt"))
    manifest = read_source(source, read)
    keep, new = changes(data, manifest)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clean, "_BLOCK", block)
        patch.setattr(clean, "_ROWS", block)
        written = cleaned(manifest, keep, new, folder / "out.csv", delimiter=delimiter)
        untouched = cleaned(manifest, [True] * len(new), [""] * len(new), folder / "out.csv")
    assert untouched == source.read_bytes() == text
    header, *rows = parsed(text, delimiter)
    at = header.index("label")
    expected = [
        [*row[:at], name or row[at], *row[at + 1 :]]
        for row, name, stays in zip(rows, new, keep, strict=True)
        if stays
    ]
    assert parsed(written, delimiter) == [header, *expected]
    assert written.startswith(b"\xef\xbb\xbf") == text.startswith(b"\xef\xbb\xbf")
    # rows that stay as they are keep their very bytes
    for (start, end), name, stays in zip(manifest.spans.tolist(), new, keep, strict=True):
        if stays and not name:
            assert text[start:end] in written


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_json_lines_as_a_slow_reader_would_write_them(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("json")
    style = data.draw(
        st.sampled_from([{}, {"separators": (",", ":")}, {"ensure_ascii": False}, {"indent": None}])
    )
    lines = []
    for number in range(data.draw(st.integers(1, 6))):
        entry = {"path": f"{number}.png", "label": data.draw(st.sampled_from(LABELS)), "x": data.draw(CELLS)}
        keys = data.draw(st.permutations(list(entry)))
        lines.append(
            json.dumps({key: entry[key] for key in keys}, **style)
            + data.draw(st.sampled_from(["\n", " \r\n\n"]))
        )
    source = folder / "labels.jsonl"
    source.write_bytes("".join(lines).encode())
    manifest = read_source(source, SourceSettings())
    keep, new = changes(data, manifest)
    written = cleaned(manifest, keep, new, folder / "out.jsonl")
    expected = [
        {**json.loads(line), **({"label": name} if name else {})}
        for line, name, stays in zip(lines, new, keep, strict=True)
        if stays
    ]
    assert [json.loads(line) for line in written.splitlines() if line.strip()] == expected
    assert [list(json.loads(line)) for line in written.splitlines() if line.strip()] == [
        list(entry) for entry in expected
    ]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(data=st.data())
def test_parquet_is_the_table_filtered_and_set(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("parquet")
    count = data.draw(st.integers(2, 30))
    kind = data.draw(st.sampled_from(["text", "dictionary", "classes"]))
    names = ["zebra", "ant", "bee"]
    labels = [data.draw(st.integers(0, 2)) for _ in range(count)]
    column = {
        "text": pa.array([names[k] for k in labels]),
        "dictionary": pa.array([names[k] for k in labels]).dictionary_encode(),
        "classes": pa.array(labels),
    }[kind]
    features = {"path": {"_type": "Value"}, "label": {"names": names, "_type": "ClassLabel"}}
    metadata = (
        {"huggingface": json.dumps({"info": {"features": features}})} if kind == "classes" else {"a": "b"}
    )
    table = pa.table(
        {
            "n": pa.array([{"a": [i]} for i in range(count)]),
            "label": column,
            "path": [f"{i}.png" for i in range(count)],
        }
    )
    table = table.replace_schema_metadata(metadata)
    source = folder / "labels.parquet"
    pq.write_table(table, source, row_group_size=data.draw(st.integers(1, 12)))
    manifest = read_source(source, SourceSettings())
    keep, new = changes(data, manifest)
    cleaned(manifest, keep, new, folder / "out.parquet")
    found = pq.read_table(folder / "out.parquet")
    expected = table.to_pylist()
    for row, name in zip(expected, new, strict=True):
        if name:
            row["label"] = names.index(name) if kind == "classes" else name
    assert found.to_pylist() == [row for row, stays in zip(expected, keep, strict=True) if stays]
    assert found.schema.equals(pq.read_schema(source), check_metadata=True)


def test_a_folder_becomes_a_listing_with_the_new_labels(tmp_path):
    for name in ("cat/1.png", "cat/2.png", "dog/3.png"):
        (tmp_path / "d" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "d" / name).write_bytes(b"x")
    manifest = read_source(tmp_path / "d", SourceSettings())
    written = cleaned(manifest, [1, 0, 1], ["dog", "", ""], tmp_path / "out.csv")
    assert written == b"path,label\ncat/1.png,dog\ndog/3.png,dog\n"


def test_a_second_listing_gets_the_label_of_the_first(tmp_path):
    for name in "abc":
        (tmp_path / f"{name}.png").write_bytes(name.encode())
    source = tmp_path / "labels.csv"
    source.write_bytes(b"path,label\na.png,cat\nb.png,cat\na.png,cat\n./a.png,dog\nc.png,dog\nb.png,cat\n")
    manifest = read_source(source, SourceSettings())
    dog = manifest.classes.index("dog")
    new = new_labels(manifest, {0: dog}, manifest.skipped)
    assert new.tolist() == [dog, -1, dog, -1, -1, -1]
    keep = kept_rows(manifest, {1}, manifest.skipped)
    write_clean(manifest, keep, tmp_path / "out.csv", new)
    assert (tmp_path / "out.csv").read_bytes() == b"path,label\na.png,dog\na.png,dog\nc.png,dog\n"


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_table_that_changed_is_refused_before_it_is_edited(tmp_path, kind):
    source = tmp_path / f"labels.{kind}"
    if kind == "csv":
        source.write_bytes(b'path,label\na.png,"cat"\nb.png,dog\n')
    else:
        pq.write_table(pa.table({"path": ["a.png", "b.png"], "label": ["cat", "dog"]}), source)
    manifest = read_source(source, SourceSettings())
    source.write_bytes(source.read_bytes().replace(b"cat", b'c"t'))
    with pytest.raises(DataError, match="changed since it was read"):
        write_clean(manifest, np.ones(2, bool), tmp_path / "out", np.array([1, -1], np.int32))
    assert not (tmp_path / "out").exists()
