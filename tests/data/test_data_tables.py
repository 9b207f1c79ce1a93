"""CSV, TSV and JSON Lines: text as written, spans of bytes, errors with the row."""

import csv
import hashlib
import io
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelscrub.config import SourceSettings
from labelscrub.data import read_source
from labelscrub.data.lines import Lines
from labelscrub.data.tables import delimited_rows
from labelscrub.errors import DataError, UsageError


@pytest.fixture
def read(tmp_path):
    for i in range(8):
        (tmp_path / f"{i}.jpg").write_bytes(b"x")

    def reader(content, name="m.csv", **options):
        data = content if isinstance(content, bytes) else content.encode()
        (tmp_path / name).write_bytes(data)
        return read_source(tmp_path / name, SourceSettings(**options))

    return reader


def given_labels(manifest):
    return [manifest.classes[i] if i >= 0 else None for i in manifest.labels]


def pieces(manifest, content):
    """Header and rows by their spans."""
    return [content[: manifest.spans[0, 0]], *(content[start:end] for start, end in manifest.spans)]


CELLS = st.text(st.sampled_from('ab,"\r\n é\u2028;\x85'), max_size=5)


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(st.lists(CELLS, min_size=2, max_size=3), min_size=1, max_size=6),
    ending=st.sampled_from(["\n", "\r\n", "\r"]),
    bom=st.booleans(),
    last=st.booleans(),
    blank=st.integers(0, 2),
)
def test_rows_and_spans_agree_with_the_csv_module(rows, ending, bom, last, blank):
    lines = []
    for row in rows:
        out = io.StringIO()
        csv.writer(out, lineterminator="").writerow(row)
        lines.append(out.getvalue())
    text = (ending * (blank + 1)).join(lines) + (ending if last else "")
    content = (b"\xef\xbb\xbf" if bom else b"") + text.encode()
    source = Lines(io.BytesIO(content), "x")
    found = list(delimited_rows(source, ","))
    assert [cells for _, cells in found] == [row for row in csv.reader(io.StringIO(text, newline="")) if row]
    starts = [start for start, _ in found]
    assert source.end == len(content)
    ends = [*starts[1:], len(content)]
    for (start, cells), end in zip(found, ends, strict=True):
        again = csv.reader(io.StringIO(content[start:end].decode(), newline=""))
        assert [row for row in again if row] == [cells]
    assert content[: starts[0]] + b"".join(content[s:e] for s, e in zip(starts, ends, strict=True)) == content


def test_labels_stay_text(read):
    texts = ["007", "NA", "true", "1", "1.0", "2020-01-01", "null"]
    manifest = read("path,label\n" + "".join(f"{i}.jpg,{text}\n" for i, text in enumerate(texts)))
    assert given_labels(manifest) == texts
    assert manifest.classes == tuple(sorted(texts))


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_spans_cover_the_file(read, ending, bom):
    rows = ["path,label", "0.jpg,a", '1.jpg,"b\n\nb"', "", "2.jpg,é"]
    content = bom + ending.join(rows).encode()
    manifest = read(content)
    assert given_labels(manifest) == ["a", "b\n\nb", "é"]
    assert pieces(manifest, content)[0] == bom + f"path,label{ending}".encode()
    assert pieces(manifest, content)[2] == f'1.jpg,"b\n\nb"{ending}{ending}'.encode()
    assert b"".join(pieces(manifest, content)) == content
    assert manifest.table_sha256 == (hashlib.sha256(content).hexdigest(),)
    assert manifest.table_of.tolist() == [0, 0, 0]


@pytest.mark.parametrize("text", ["", " ", "nan", "NaN", "\t"])
def test_missing_label_is_skipped(read, text):
    manifest = read(f'path,label\n0.jpg,a\n1.jpg,"{text}"\n2.jpg,b\n')
    (item,) = manifest.skipped
    assert (item.row, item.kind, item.reason) == (1, "skipped", "no label")
    assert manifest.labels.tolist() == [0, -1, 1] and manifest.files[1] == ""


def test_huge_cell(read):
    label = "x" * 200_000
    assert read(f"path,label\n0.jpg,{label}\n1.jpg,y\n").classes == (label, "y")


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "no rows"),
        (b"path,label\n", "no rows"),
        (b"path,label\n0.jpg,a\n1.jpg\n", r"line 3 \(row 1\): 1 cells where the header has 2"),
        (b"path,label\n0.jpg,a,\n", r"row 0\): 3 cells"),
        (b'path,label\n0.jpg,a\n\n1.jpg,"b\n2.jpg,c\n', r"line 4 \(row 1\): a quote is opened"),
        (b'path,label\n0.jpg,"a"b\n', r"row 0\): ',' expected"),
        (b"path,label\n0.jpg,a\n1.jpg,b\0\n", r"row 1\): a NUL"),
        ("path,label\n0.jpg,a\n1.jpg,é\n".encode("latin-1"), r"row 1\): not UTF-8 text \(Latin-1"),
        ("path,label\n0.jpg,a\n".encode("utf-16"), "UTF-16"),
        ("path,label\n0.jpg,a\n".encode("utf-16-be"), "UTF-16"),
    ],
)
def test_broken_tables_name_the_row(read, content, cause):
    with pytest.raises(DataError, match=cause) as caught:
        read(content)
    assert caught.value.fix


@pytest.mark.parametrize(
    ("header", "options", "cause", "fix"),
    [
        ("path;label", {}, "one column found", "--delimiter ';'"),
        ("path\tlabel", {}, "one column found", "--delimiter tab"),
        ("path, label", {}, "'path', ' label'", "--label-column ' label'"),
        ("PATH,label", {}, "'PATH', 'label'", "--path-column 'PATH'"),
        ("path,label,label", {}, "2 columns named 'label'", "--label-column"),
        ("path,label,class", {}, "could be 'label' and 'class'", "--label-column"),
        ("path,file,label", {}, "could be 'path' and 'file'", "--path-column"),
        ("path,other", {}, "columns are: 'path', 'other'", "--label-column"),
        ("path,label", {"label_column": "Label"}, "no column 'Label'", "'label'"),
        ("path,label", {"group_column": "patient"}, "no column 'patient'", "--group-column"),
        ("path,label", {"delimiter": "::"}, "single character", "tab"),
    ],
)
def test_columns_that_are_not_clear(read, header, options, cause, fix):
    with pytest.raises(UsageError) as caught:
        read(f"{header}\n0.jpg,a,b\n", **options)
    assert cause in caught.value.cause and fix in caught.value.fix


def test_columns_found_and_named(read):
    assert given_labels(read("id,filename,label\nx,0.jpg,a\ny,1.jpg,b\n")) == ["a", "b"]
    manifest = read("what,where\na,0.jpg\nb,1.jpg\n", path_column="where", label_column="what")
    assert (manifest.path_column, manifest.label_column) == ("where", "what")
    assert list(manifest.files) == ["0.jpg", "1.jpg"]


@pytest.mark.parametrize(
    ("name", "delimiter", "given"), [("m.tsv", "\t", None), ("m.csv", ";", ";"), ("m.csv", "\t", "tab")]
)
def test_delimiters(read, name, delimiter, given):
    manifest = read(f"path{delimiter}label\n0.jpg{delimiter}a,b\n", name, delimiter=given)
    assert given_labels(manifest) == ["a,b"] and manifest.kind == name[2:]


def test_groups(read):
    manifest = read("path,label,patient\n0.jpg,a,7\n1.jpg,b,\n2.jpg,b,7\n", group_column="patient")
    assert list(manifest.groups) == ["7", "", "7"]
    assert manifest.notes == ("rows without a group, kept in one fold together: 1",)
    assert read("path,label\n0.jpg,a\n").groups is None


def test_json_lines(read):
    content = (
        b'\xef\xbb\xbf{"path": "0.jpg", "label": 7}\n\n'
        b'{"label": true, "path": "1.jpg"}\r\n'
        b'{"path": "2.jpg", "label": null}\n{"path": "3.jpg"}\n'
        b'{"path": "4.jpg", "label": 1.50}\n{"path": 5, "label": "caf\\u00e9"}'
    )
    manifest = read(content, "m.jsonl")
    assert given_labels(manifest) == ["7", "true", None, None, "1.50", "café"]
    assert list(manifest.files) == ["0.jpg", "1.jpg", "", "", "4.jpg", "5.jpg"]
    assert b"".join(pieces(manifest, content)) == content
    assert pieces(manifest, content)[1] == b'{"path": "0.jpg", "label": 7}\n\n'


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        ("\n", "no rows"),
        ('{"path":"0.jpg","label":"a"}\n{"path":"1.jpg","label":["a","b"]}', "row 1: single-label data only"),
        ('{"path":"0.jpg","label":"a"}\n{"path":{"a":1},"label":"a"}', "row 1: the path is a JSON object"),
        ('{"path":"0.jpg","label":"a"}\noops\n', r"line 2 \(row 1\): not JSON"),
        ('{"path":"0.jpg","label":"a"}\n[1]\n', r"line 2 \(row 1\): not a JSON object"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_broken_json_lines(read, content, cause):
    with pytest.raises(DataError, match=cause):
        read(content, "m.jsonl")


def test_row_numbers_after_the_columns_are_known(read):
    good = "".join(f'{{"path": "{i % 8}.jpg", "label": "a{i % 3}"}}\n' for i in range(150))
    with pytest.raises(DataError, match=r"line 151 \(row 150\)"):
        read(good + "oops", "m.jsonl")


@pytest.mark.parametrize(
    ("name", "content", "cause"),
    [
        ("m.csv.gz", b"x", "compressed"),
        ("m.csv", b"\x1f\x8b\x08x", "compressed"),
        ("m.txt", b"x", "neither a folder nor a manifest"),
        ("m.jpg", b"x", "neither a folder nor a manifest"),
    ],
)
def test_files_that_are_no_manifest(read, name, content, cause):
    with pytest.raises(UsageError, match=cause):
        read(content, name)


def test_pipes_and_folders_are_refused_without_hanging(tmp_path):
    os.mkfifo(tmp_path / "f.csv")
    (tmp_path / "d.csv").mkdir()
    for source in (tmp_path / "f.csv", tmp_path / "d.csv", tmp_path / "gone", Path("-")):
        with pytest.raises(UsageError):
            read_source(source, SourceSettings())


def test_options_without_effect_are_refused(read, tmp_path):
    with pytest.raises(UsageError, match="--split has no effect"):
        read("path,label\n0.jpg,a\n", split="train")
    with pytest.raises(UsageError, match="--delimiter has no effect"):
        read('{"path": "0.jpg", "label": "a"}', "m.jsonl", delimiter=";")
    with pytest.raises(UsageError, match="is not a folder"):
        read("path,label\n0.jpg,a\n", image_root=str(tmp_path / "0.jpg"))
    (tmp_path / "d" / "a").mkdir(parents=True)
    with pytest.raises(UsageError, match="--label-column has no effect on an image folder"):
        read_source(tmp_path / "d", SourceSettings(label_column="x"))


def test_bytes_that_are_not_utf_8_are_a_file_name_where_a_file_has_it(read, tmp_path):
    """bad_inputs F17: the clean.csv of a folder with such names can be read back."""
    content = b"path,label\n0.jpg,a\ncaf\xe9.jpg,b\n"
    with pytest.raises(DataError, match=r"row 1: not UTF-8"):
        read(content)
    with open(os.fsencode(tmp_path) + b"/caf\xe9.jpg", "wb") as file:  # noqa: PTH123  (bytes have no Path)
        file.write(b"x")
    manifest = read(content)
    assert os.fsencode(manifest.files[1]) == b"caf\xe9.jpg"
    assert pieces(manifest, content) == content.splitlines(keepends=True)
    with pytest.raises(DataError, match=r"line 3 \(row 1\): not UTF-8"):
        read(content.replace(b",b", b",b\xe9"))
