"""The cleaned manifest: the kept rows' own bytes, nothing else, and the source as it was."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelscrub.curation import clean, clean_suffix, kept_rows, write_clean
from labelscrub.errors import DataError, EnvironmentProblem, UsageError
from labelscrub.records import Manifest, Skipped

HEADER = b"path,label\n"


def manifest(folder, kind, rows, *, headers=(b"",), classes=("cat", "dog"), **fields):
    """A manifest of tables: `rows` is a list of lists of row bytes, one list a table with its header."""
    tables, spans, table_of = [], [], []
    for number, (header, lines) in enumerate(zip(headers, rows, strict=True)):
        table = folder / f"table-{number}.{kind}"
        table.write_bytes(header + b"".join(lines))
        tables.append(table)
        ends = len(header) + np.cumsum([len(line) for line in lines], dtype=np.int64)
        spans += [(end - len(line), end) for end, line in zip(ends, lines, strict=True)]
        table_of += [number] * len(lines)
    count = len(spans)
    return Manifest(
        source=tables[0],
        kind=kind,
        root=folder,
        classes=classes,
        paths=[f"{i}.png" for i in range(count)],
        files=[f"{i}.png" for i in range(count)],
        labels=np.arange(count, dtype=np.int32) % len(classes),
        tables=tuple(tables),
        table_of=np.array(table_of, np.int32),
        spans=np.array(spans, np.int64).reshape(-1, 2),
        table_sha256=tuple(hashlib.sha256(table.read_bytes()).hexdigest() for table in tables),
        **fields,
    )


def folder_manifest(folder, paths, labels, classes):
    return Manifest(folder, "folder", folder, classes, paths, paths, np.array(labels, np.int32))


def cleaned(source, keep, folder):
    target = folder / "clean"
    target.unlink(missing_ok=True)
    write_clean(source, np.array(keep, bool), target)
    assert not list(folder.glob(".labelscrub*"))
    return target.read_bytes()


# Rows


def skip(row, kind="unreadable", same_as=-1):
    return Skipped(row, f"{row}.png", kind, "why", same_as)


def test_kept_rows_are_the_usable_ones_that_stay(tmp_path):
    source = folder_manifest(tmp_path, list("abcdefgh"), [0, 1, 0, 1, 0, 1, 0, -1], ("cat", "dog"))
    skipped = [
        skip(1),
        skip(2, "skipped", same_as=0),  # same label as row 0, which stays
        skip(3, "skipped", same_as=0),  # another label
        skip(5, "skipped", same_as=1),  # same label as row 1, which can't be read
        skip(6, "skipped", same_as=4),  # same label as row 4, which is dropped
        skip(7, "skipped", same_as=7),  # no label
    ]
    keep = kept_rows(source, {4}, skipped)
    assert keep.tolist() == [True, False, True, False, False, False, False, False]
    assert kept_rows(source, {0}, skipped).tolist() == [False] * 4 + [True, False, True, False]
    assert not kept_rows(source, {2}, skipped)[2]  # asked for by itself


@pytest.mark.parametrize("row", [-1, 3])
def test_a_report_of_more_rows_is_refused(tmp_path, row):
    source = folder_manifest(tmp_path, ["a", "b", "c"], [0, 0, 0], ("cat",))
    with pytest.raises(DataError, match="lists 3 rows"):
        kept_rows(source, {row}, [])


# Text tables

CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)


@st.composite
def text_tables(draw):
    """Kind, header, rows as bytes and which are kept; cells hold quotes, separators and line breaks."""
    kind = draw(st.sampled_from(["csv", "tsv", "jsonl"]))
    ending = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    cells = draw(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=8))
    if kind == "jsonl":
        lines = [json.dumps({"path": a, "label": b}, ensure_ascii=False) for a, b in cells]
    else:
        quoted = [['"' + cell.replace('"', '""') + '"' for cell in row] for row in cells]
        lines = [{"csv": ",", "tsv": "\t"}[kind].join(row) for row in quoted]
    rows = [(line + ending * draw(st.integers(1, 2))).encode() for line in lines]
    if draw(st.booleans()):
        rows[-1] = rows[-1].rstrip(b"\r\n")
    header = b"" if kind == "jsonl" else f"path,label{ending}".encode()
    header = draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + header
    return kind, header, rows, draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(table=text_tables(), block=st.sampled_from([1, 2, 7, 1 << 20]))
def test_text_is_the_header_and_the_kept_rows_bytes(tmp_path_factory, table, block):
    folder = tmp_path_factory.mktemp("text")
    kind, header, rows, keep = table
    source = manifest(folder, kind, [rows], headers=[header])
    before = source.tables[0].read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clean, "_BLOCK", block)
        patch.setattr(clean, "_ROWS", block)
        kept = [row for row, wanted in zip(rows, keep, strict=True) if wanted]
        assert cleaned(source, keep, folder) == header + b"".join(kept)
        assert cleaned(source, [True] * len(rows), folder) == before
        assert cleaned(source, [False] * len(rows), folder) == header
    assert source.tables[0].read_bytes() == before


@settings(max_examples=100, deadline=None, derandomize=True)
@given(data=st.data())
def test_tables_with_one_header_become_one(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("tables")
    tables, keep, expected = [], [], [HEADER]
    for number in range(data.draw(st.integers(2, 3))):
        rows = [b"%d-%d,cat\n" % (number, i) for i in range(data.draw(st.integers(1, 3)))]
        kept = data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))
        expected += [row for row, wanted in zip(rows, kept, strict=True) if wanted]
        if data.draw(st.booleans()):
            rows[-1] = rows[-1].rstrip()
        tables.append(rows)
        keep += kept
    boms = [data.draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) for _ in tables]
    source = manifest(folder, "csv", tables, headers=[bom + HEADER for bom in boms])
    result = cleaned(source, keep, folder)
    assert result.removeprefix(boms[0]).splitlines() == b"".join(expected).splitlines()
    assert result.startswith(boms[0] + HEADER)


def test_the_files_own_line_ending_joins_tables(tmp_path):
    source = manifest(tmp_path, "jsonl", [[b'{"a": 1}\r\n', b'{"a": 2}'], [b'{"a": 3}']], headers=[b"", b""])
    assert cleaned(source, [1, 1, 1], tmp_path) == b'{"a": 1}\r\n{"a": 2}\r\n{"a": 3}'
    assert cleaned(source, [1, 1, 0], tmp_path) == b'{"a": 1}\r\n{"a": 2}'
    assert cleaned(source, [1, 0, 1], tmp_path) == b'{"a": 1}\r\n{"a": 3}'


def test_tables_with_other_headers_are_refused(tmp_path):
    source = manifest(tmp_path, "csv", [[b"a,b\n"], [b"c,d\n"]], headers=[HEADER, b"path,breed\n"])
    with pytest.raises(DataError, match=r"table-1\.csv has another header"):
        write_clean(source, np.ones(2, bool), tmp_path / "clean.csv")
    assert not (tmp_path / "clean.csv").exists()


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("how", ["edited", "cut", "gone"])
def test_a_table_that_changed_since_is_refused(tmp_path, kind, how):
    source = (
        parquet_manifest(tmp_path)
        if kind == "parquet"
        else manifest(tmp_path, "csv", [[b"a,b\n"]], headers=[HEADER])
    )
    table = source.tables[0]
    data = table.read_bytes()
    table.unlink() if how == "gone" else table.write_bytes(data[:-2] if how == "cut" else data + b"x")
    with pytest.raises(DataError, match=rf"{table.name} (changed|is gone) since it was read"):
        write_clean(source, np.ones(len(source), bool), tmp_path / "clean")
    assert not (tmp_path / "clean").exists() and not list(tmp_path.glob(".labelscrub*"))


# Targets


def test_nothing_is_overwritten_unless_it_is_our_own(tmp_path):
    source = manifest(tmp_path, "csv", [[b"a,cat\n"]], headers=[HEADER])
    target = tmp_path / "clean.csv"
    target.write_bytes(b"mine")
    with pytest.raises(UsageError, match="exists already"):
        write_clean(source, np.ones(1, bool), target)
    assert target.read_bytes() == b"mine"
    write_clean(source, np.ones(1, bool), target, overwrite=True)
    assert target.read_bytes() == HEADER + b"a,cat\n"


@pytest.mark.parametrize("overwrite", [False, True])
def test_the_source_is_no_target(tmp_path, overwrite):
    source = manifest(tmp_path, "csv", [[b"a,cat\n"]], headers=[HEADER])
    before = source.tables[0].read_bytes()
    with pytest.raises(UsageError, match="source itself"):
        write_clean(source, np.zeros(1, bool), source.tables[0], overwrite=overwrite)
    assert source.tables[0].read_bytes() == before


def test_a_target_in_no_folder_names_it(tmp_path):
    source = manifest(tmp_path, "csv", [[b"a,cat\n"]], headers=[HEADER])
    with pytest.raises(EnvironmentProblem, match=r"nowhere/clean\.csv"):
        write_clean(source, np.ones(1, bool), tmp_path / "nowhere" / "clean.csv")


# Folders


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    names=st.lists(st.binary(min_size=1, max_size=6).filter(lambda b: b"\0" not in b), min_size=1, max_size=6)
)
def test_a_folder_becomes_a_listing_that_csv_readers_read(tmp_path_factory, names):
    """Names are any bytes, also not UTF-8, and with quotes, commas and line breaks."""
    folder = tmp_path_factory.mktemp("folder")
    paths = [name.decode("utf-8", "surrogateescape") for name in names]
    classes = ("a,b", 'c"d', "plain")
    labels = [i % 3 for i in range(len(paths))]
    keep = [i % 4 != 1 for i in range(len(paths))]
    cleaned(folder_manifest(folder, paths, labels, classes), keep, folder)
    with (folder / "clean").open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        header, *rows = csv.reader(file, strict=True)
    assert header == ["path", "label"]
    expected = [[p, classes[k]] for p, k, wanted in zip(paths, labels, keep, strict=True) if wanted]
    assert rows == expected


def test_a_listing_is_written_part_by_part(tmp_path, monkeypatch):
    monkeypatch.setattr(clean, "_ROWS", 2)
    source = folder_manifest(tmp_path, [f"cat/{i}.png" for i in range(5)], [0] * 5, ("cat",))
    assert cleaned(source, [1, 0, 1, 1, 1], tmp_path) == b"path,label\n" + b"".join(
        b"cat/%d.png,cat\n" % i for i in (0, 2, 3, 4)
    )


def test_tables_in_several_folders_become_a_listing(tmp_path):
    """train/metadata.csv and test/metadata.csv both may list "1.png": only the path from the root tells."""
    for name in ("train", "test"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metadata.csv").write_bytes(b"file_name,label\n1.png,cat\n")
    source = Manifest(
        source=tmp_path,
        kind="csv",
        root=tmp_path,
        classes=("cat",),
        paths=["1.png", "1.png"],
        files=["train/1.png", "test/1.png"],
        labels=np.zeros(2, np.int32),
        tables=(tmp_path / "train" / "metadata.csv", tmp_path / "test" / "metadata.csv"),
        table_of=np.arange(2, dtype=np.int32),
        spans=np.array([[16, 26], [16, 26]]),
        table_sha256=("", ""),
    )
    assert clean_suffix(source) == "csv"
    assert cleaned(source, [1, 1], tmp_path) == b"path,label\ntrain/1.png,cat\ntest/1.png,cat\n"


def test_a_second_listing_in_several_folders_has_its_files_path(tmp_path):
    for name in ("train", "test"):
        (tmp_path / name).mkdir()
    skipped = (skip(1, "skipped", same_as=0), skip(3, "skipped", same_as=0))
    source = Manifest(
        source=tmp_path,
        kind="csv",
        root=tmp_path,
        classes=("cat", "dog"),
        paths=["1.png", "1.png", "1.png", "../train/1.png"],
        files=["train/1.png", "", "test/1.png", ""],
        labels=np.array([0, 0, 1, 1], np.int32),
        skipped=skipped,
        tables=(tmp_path / "train" / "metadata.csv", tmp_path / "test" / "metadata.csv"),
    )
    keep = kept_rows(source, set(), skipped)
    lines = cleaned(source, keep, tmp_path).splitlines()
    assert lines == [b"path,label", b"train/1.png,cat", b"train/1.png,cat", b"test/1.png,dog"]
    assert len(lines) - 1 == keep.sum()


def test_the_suffix_is_the_sources(tmp_path):
    assert clean_suffix(folder_manifest(tmp_path, [], [], ())) == "csv"
    for kind in ("csv", "tsv", "jsonl"):
        assert clean_suffix(manifest(tmp_path, kind, [[b"a"]])) == kind
    assert clean_suffix(parquet_manifest(tmp_path)) == "parquet"


# Parquet

FEATURES = json.dumps({"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}})


def image_table(count, start=0, metadata=FEATURES):
    images = [{"bytes": bytes([i % 256]) * 50, "path": f"{i}.png"} for i in range(start, start + count)]
    schema = pa.schema(
        [
            ("z", pa.dictionary(pa.int8(), pa.string())),
            ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            ("label", pa.int64()),
            ("when", pa.timestamp("us", "UTC")),
        ],
        metadata={"huggingface": metadata},
    )
    columns = {
        "z": pa.array(["x", None] * count)[:count].dictionary_encode().cast(schema.field("z").type),
        "image": images,
        "label": [None if i % 5 == 4 else i % 2 for i in range(count)],
        "when": list(range(count)),
    }
    return pa.table(columns, schema=schema)


def parquet_manifest(folder, tables=None, **options):
    """A manifest of Parquet shards with embedded images."""
    paths = []
    tables = tables or [image_table(3)]
    for number, table in enumerate(tables):
        paths.append(folder / f"train-{number}.parquet")
        pq.write_table(table, paths[-1], **options)
    counts = [len(table) for table in tables]
    spans = np.concatenate([np.stack([np.arange(n), np.arange(n) + 1], axis=1) for n in counts])
    rows = sum(counts)
    return Manifest(
        source=folder,
        kind="parquet",
        root=folder,
        classes=("cat", "dog"),
        paths=[""] * rows,
        files=[""] * rows,
        labels=np.zeros(rows, np.int32),
        tables=tuple(paths),
        table_of=np.repeat(np.arange(len(counts), dtype=np.int32), counts),
        spans=spans,
        table_sha256=tuple(hashlib.sha256(path.read_bytes()).hexdigest() for path in paths),
        image_column="image",
    )


@settings(max_examples=40, deadline=None, derandomize=True)
@given(data=st.data())
def test_parquet_is_the_table_filtered(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("parquet")
    counts = data.draw(st.lists(st.integers(0, 20), min_size=1, max_size=3).filter(any))
    tables = [image_table(count, start=10 * i) for i, count in enumerate(counts)]
    source = parquet_manifest(folder, tables, row_group_size=data.draw(st.integers(1, 25)))
    keep = data.draw(st.lists(st.booleans(), min_size=len(source), max_size=len(source)))
    cleaned(source, keep, folder)
    result = pq.read_table(folder / "clean")
    expected = pa.concat_tables(tables).filter(pa.array(keep, pa.bool_()))
    assert result.schema.equals(tables[0].schema, check_metadata=True)
    assert result.to_pylist() == expected.to_pylist()


def test_parquet_keeps_codecs_and_row_groups(tmp_path):
    codecs = {"z": "zstd", "image.bytes": "none", "image.path": "gzip", "label": "snappy", "when": "lz4"}
    source = parquet_manifest(
        tmp_path, [image_table(30)], row_group_size=10, compression=codecs, use_dictionary=["z", "image.path"]
    )
    cleaned(source, [i % 3 > 0 for i in range(30)], tmp_path)
    before, after = (pq.ParquetFile(p).metadata for p in (source.tables[0], tmp_path / "clean"))
    assert [after.row_group(i).num_rows for i in range(3)] == [6, 7, 7]
    for i in range(5):
        old, new = before.row_group(0).column(i), after.row_group(0).column(i)
        assert (new.path_in_schema, new.compression) == (old.path_in_schema, old.compression)
        assert new.has_dictionary_page == old.has_dictionary_page


def test_large_row_groups_are_written_in_parts(tmp_path, monkeypatch):
    from labelscrub.curation import clean_parquet

    monkeypatch.setattr(clean_parquet, "_IN_MEMORY", 1000)
    source = parquet_manifest(tmp_path, [image_table(100)])
    cleaned(source, [True] * 100, tmp_path)
    assert pq.read_table(tmp_path / "clean").to_pylist() == pq.read_table(source.tables[0]).to_pylist()
    assert pq.ParquetFile(tmp_path / "clean").num_row_groups > 3


@pytest.mark.parametrize(
    "other", [image_table(2).drop_columns("when"), image_table(2, metadata='{"info": 1}')]
)
def test_shards_that_differ_are_refused(tmp_path, other):
    source = parquet_manifest(tmp_path, [image_table(2), other])
    with pytest.raises(DataError, match=r"train-1\.parquet has other columns or class names"):
        write_clean(source, np.ones(4, bool), tmp_path / "clean.parquet")
    assert not (tmp_path / "clean.parquet").exists()


def test_the_package_alone_loads_no_pyarrow():
    import subprocess
    import sys

    code = "import sys, labelscrub.curation; sys.exit('pyarrow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path.cwd()).returncode == 0
