"""Other labels, and nothing else: every other cell as it was, in the same order and the same format."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelscrub.config import SourceSettings
from labelscrub.curation import relabel_text
from labelscrub.curation.relabel import image_root, write_relabelled
from labelscrub.data import read_source
from labelscrub.errors import DataError, UsageError

LABELS = ("cat", 'a "dog"', "größe", " cow", "semi;colon", "1", "two\nlines")


def relabelled(manifest, labels, target, *arguments, **options):
    """The bytes written; labels by name, "" to leave the row's."""
    target.unlink(missing_ok=True)
    codes = [manifest.classes.index(name) if name else -1 for name in labels]
    write_relabelled(manifest, np.array(codes, np.int32), target, *arguments, **options)
    assert not list(target.parent.glob(".labelscrub*"))
    return target.read_bytes()


# Delimited text

CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5)


@st.composite
def tables(draw):
    """A delimited table as bytes, with its cells, delimiter and the column with the labels."""
    delimiter = draw(st.sampled_from([",", "\t", ";", "|", "^", "]", "§"]))
    width = draw(st.integers(2, 4))
    at = draw(st.permutations(range(width)))
    names = [f"c{i}" for i in range(width)]
    names[at[0]], names[at[1]] = "path", draw(st.sampled_from(["label", 'a "label"']))
    rows = [names]
    for number in range(draw(st.integers(1, 6))):
        row = [draw(CELLS) for _ in range(width)]
        row[at[0]], row[at[1]] = f"{number}.png", draw(st.sampled_from([*LABELS, "", "nan"]))
        rows.append(row)
    ending = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    text = draw(st.sampled_from(["", ending]))
    for row in rows:
        cells = []
        for cell in row:
            bare = cell and cell[0] != '"' and not any(c in cell for c in (delimiter, "\r", "\n"))
            quoted = '"' + cell.replace('"', '""') + '"'
            cells.append(cell if bare and draw(st.booleans()) else quoted)  # a quote inside needs none
        text += delimiter.join(cells) + ending * draw(st.integers(1, 2))
    if draw(st.booleans()):
        text = text.rstrip("\r\n")
    return draw(st.sampled_from(["", "\ufeff"])) + text, rows, delimiter, names[at[1]]


def parsed(data, delimiter):
    text = data.decode().removeprefix("\ufeff")
    return [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True) if row]


@settings(max_examples=120, deadline=None, derandomize=True)
@given(table=tables(), data=st.data(), batch=st.sampled_from([1, 2, 1 << 12]))
def test_delimited_text_but_for_its_labels_is_as_it_was(tmp_path_factory, table, data, batch):
    text, rows, delimiter, label = table
    folder = tmp_path_factory.mktemp("text")
    source = folder / "labels.csv"
    source.write_bytes(before := text.encode())
    (folder / "classes.txt").write_text("\n".join(name for name in LABELS if "\n" not in name) + "\ntwo")
    known = {row[rows[0].index(label)] for row in rows[1:]} - {"", "nan"}
    given = {} if "two\nlines" in known else {"classes": str(folder / "classes.txt")}
    if not known and not given:
        return
    read = SourceSettings(label_column=label, delimiter=delimiter, **given)
    manifest = read_source(source, read)
    new = [data.draw(st.sampled_from(["", *manifest.classes])) for _ in rows[1:]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(relabel_text, "_ROWS", batch)
        plain = relabelled(manifest, new, folder / "out.csv", delimiter=delimiter)
        both = relabelled(manifest, new, folder / "out.csv", "true", delimiter=delimiter)
        same = relabelled(manifest, [""] * len(new), folder / "out.csv", delimiter=delimiter)
    assert same == source.read_bytes() == before
    at = rows[0].index(label)
    expected = [list(rows[0])]
    for row, name in zip(rows[1:], new, strict=True):
        expected.append([*row[:at], name or row[at], *row[at + 1 :]])
    assert parsed(plain, delimiter) == expected
    truth = ["true", *(row[at] for row in rows[1:])]
    expected = [[*row[: at + 1], t, *row[at + 1 :]] for row, t in zip(expected, truth, strict=True)]
    assert parsed(both, delimiter) == expected
    assert both.startswith(b"\xef\xbb\xbf") == before.startswith(b"\xef\xbb\xbf")


def test_quotes_stay_where_they_were(tmp_path):
    source = tmp_path / "labels.tsv"
    source.write_bytes(b'id\t"label"\tpath\r\n01\t"cat"\ta.png\r\n\r\n"02"\tdog\t"b.png"')
    manifest = read_source(source, SourceSettings())
    assert relabelled(manifest, ["dog", ""], tmp_path / "out.tsv", "was") == (
        b'id\t"label"\twas\tpath\r\n01\t"dog"\t"cat"\ta.png\r\n\r\n"02"\tdog\tdog\t"b.png"'
    )


def test_names_that_are_not_utf8_keep_their_bytes(tmp_path):
    (tmp_path / "b\udce9.png").write_bytes(b"x")
    source = tmp_path / "labels.csv"
    source.write_bytes(b"path,label\nb\xe9.png,cat\nc.png,dog\n")
    manifest = read_source(source, SourceSettings())
    written = relabelled(manifest, ["dog", "dog"], tmp_path / "out.csv", "true")
    assert written == b"path,label,true\nb\xe9.png,dog,cat\nc.png,dog,dog\n"


# JSON Lines


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_json_but_for_its_labels_is_as_it_was(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("json")
    others = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | CELLS,
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(CELLS, inner, max_size=2),
        max_leaves=4,
    )
    objects = []
    for number in range(data.draw(st.integers(1, 5))):
        item = {"path": f"{number}.png", "label": data.draw(st.sampled_from(["cat", "größe", 7, 2.5, True]))}
        if data.draw(st.integers(0, 5)) == 0:
            item["label"] = None
        item |= {f"c{i}": data.draw(others) for i in range(data.draw(st.integers(0, 2)))}
        keys = data.draw(st.permutations(list(item)))
        objects.append({key: item[key] for key in keys})
    style = {
        "ensure_ascii": data.draw(st.booleans()),
        "separators": data.draw(st.sampled_from([(",", ":"), (", ", ": "), (" , ", " :\t")])),
    }
    lines = [json.dumps(item, **style) + data.draw(st.sampled_from(["\n", " \r\n\n"])) for item in objects]
    source = folder / "labels.jsonl"
    source.write_bytes("".join(lines).encode())
    (folder / "classes.txt").write_text("cat\ngröße\n7\n2.5\ntrue\n12\n", encoding="utf-8")
    manifest = read_source(source, SourceSettings(classes=str(folder / "classes.txt")))
    new = [data.draw(st.sampled_from(["", *manifest.classes])) if o["label"] else "" for o in objects]
    assert relabelled(manifest, [""] * len(new), folder / "out.jsonl") == source.read_bytes()
    written = relabelled(manifest, new, folder / "out.jsonl", "true")
    assert written.count(b"\n") == source.read_bytes().count(b"\n")
    found = [json.loads(line) for line in written.splitlines() if line.strip()]
    numbers = {"7": 7, "2.5": 2.5, "true": True, "12": 12}
    for item, name, row in zip(objects, new, found, strict=True):
        label = item["label"]
        if name:  # as a number only where the row had one
            label = name if isinstance(label, str) else numbers.get(name, name)
            if name == {True: "true", 7: "7", 2.5: "2.5"}.get(item["label"]):
                label = item["label"]
        keys = list(item)
        keys.insert(keys.index("label") + 1, "true")
        assert list(row) == keys
        assert row == {**item, "label": label, "true": item["label"]}
        assert [type(row[key]) for key in keys] == [
            type({**item, "label": label, "true": item["label"]}[key]) for key in keys
        ]


def test_a_row_without_the_key_stays_without_labels(tmp_path):
    source = tmp_path / "labels.ndjson"
    source.write_bytes(b'{"path": "a.png", "label": "x", "label": "cat"}\n{"path": "b.png"}\n')
    manifest = read_source(source, SourceSettings(label_column="label"))
    written = relabelled(manifest, ["cat", ""], tmp_path / "out.jsonl", "was")
    assert written == source.read_bytes().replace(b'"cat"', b'"cat", "was": "cat"')


# Parquet


def parquet(folder, column, *, features=None, name="labels.parquet", **options):
    table = pa.table(
        {
            "path": [f"{i}.png" for i in range(len(column))],
            "label": column,
            "n": pa.array([{"a": [i]} for i in range(len(column))]),
        }
    )
    if features:
        table = table.replace_schema_metadata(
            {"huggingface": json.dumps({"info": {"features": features}}), "mine": "kept"}
        )
    pq.write_table(table, folder / name, **options)
    return table


@pytest.mark.parametrize(
    ("kind", "values", "new"),
    [
        (pa.string(), ["b", "a", None, "c"], "c"),
        (pa.large_string(), ["b", "a", None, "c"], "c"),
        (pa.string_view(), ["b", "a", None, "c"], "c"),
        (pa.dictionary(pa.int8(), pa.string()), ["b", "a", None, "c"], "c"),
        (pa.int8(), [3, 1, None, 5], "5"),
        (pa.uint64(), [3, 1, None, 5], "5"),
        (pa.bool_(), [False, True, None, True], "true"),
    ],
    ids=str,
)
def test_parquet_keeps_types_rows_and_columns(tmp_path, kind, values, new):
    table = parquet(tmp_path, pa.array(values, kind), row_group_size=3)
    manifest = read_source(tmp_path / "labels.parquet", SourceSettings())
    relabelled(manifest, [new, "", "", new], tmp_path / "out.parquet", "true")
    found = pq.read_table(tmp_path / "out.parquet")
    assert found.column_names == ["path", "label", "true", "n"]
    assert found.schema.field("label").type == found.schema.field("true").type == kind
    changed = {"c": "c", "5": 5, "true": True}[new]
    assert found["label"].to_pylist() == [changed, values[1], None, changed]
    assert found["true"].to_pylist() == values
    assert found.drop_columns("true").set_column(1, "label", table["label"]).equals(table)
    assert pq.ParquetFile(tmp_path / "out.parquet").num_row_groups == 2
    relabelled(manifest, [""] * 4, tmp_path / "out.parquet")
    found = pq.read_table(tmp_path / "out.parquet")
    assert found.to_pylist() == table.to_pylist()
    assert found.schema.field("label").equals(table.schema.field("label"))


FEATURES = {
    "path": {"dtype": "string", "_type": "Value"},
    "label": {"names": ["zebra", "ant", "bee"], "_type": "ClassLabel"},
    "n": {"a": [{"dtype": "int64", "_type": "Value"}]},
}


def test_class_labels_stay_numbers_with_names(tmp_path):
    parquet(tmp_path, pa.array([0, 1, -1, 2]), features=FEATURES)
    manifest = read_source(tmp_path / "labels.parquet", SourceSettings())
    relabelled(manifest, ["bee", "zebra", "", ""], tmp_path / "out.parquet", "true")
    found = pq.read_table(tmp_path / "out.parquet")
    assert found["label"].to_pylist() == [2, 0, -1, 2]
    assert found["true"].to_pylist() == [0, 1, -1, 2]
    assert found.schema.metadata[b"mine"] == b"kept"
    features = json.loads(found.schema.metadata[b"huggingface"])["info"]["features"]
    assert list(features) == found.column_names
    assert features == {**FEATURES, "true": FEATURES["label"]}
    again = read_source(tmp_path / "out.parquet", SourceSettings(label_column="true"))
    assert (again.classes, again.labels.tolist()) == (manifest.classes, manifest.labels.tolist())


def test_class_labels_in_another_order_of_classes(tmp_path):
    parquet(tmp_path, pa.array([0, 1, 2]), features=FEATURES)
    (tmp_path / "classes.txt").write_text("ant\nbee\nzebra\nyak\n")
    manifest = read_source(tmp_path / "labels.parquet", SourceSettings(classes=str(tmp_path / "classes.txt")))
    relabelled(manifest, ["bee", "", "ant"], tmp_path / "out.parquet")
    assert pq.read_table(tmp_path / "out.parquet")["label"].to_pylist() == [2, 1, 1]
    with pytest.raises(DataError, match="can't hold the class 'yak'"):
        relabelled(manifest, ["yak", "", ""], tmp_path / "out.parquet")


def test_a_class_that_the_type_cannot_hold(tmp_path):
    parquet(tmp_path, pa.array([1, 2, 3], pa.int8()))
    (tmp_path / "classes.txt").write_text("1\n2\n3\n300\n")
    manifest = read_source(tmp_path / "labels.parquet", SourceSettings(classes=str(tmp_path / "classes.txt")))
    with pytest.raises(DataError, match="can't hold the class '300'; it is int8"):
        relabelled(manifest, ["300", "", ""], tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()


def test_shards_become_one_table_with_their_codecs(tmp_path):
    (tmp_path / "data").mkdir()
    options = {"compression": {"path": "zstd", "label": "gzip"}, "use_dictionary": ["label"]}
    for number in (0, 1):
        name = f"data/train-0000{number}-of-00002.parquet"
        parquet(tmp_path, pa.array(["a", "b"]), name=name, **options)
    manifest = read_source(tmp_path, SourceSettings())
    relabelled(manifest, ["b", "", "", "a"], tmp_path / "out.parquet", "true")
    found = pq.read_table(tmp_path / "out.parquet")
    assert (found["label"].to_pylist(), found["true"].to_pylist()) == (list("bbaa"), list("abab"))
    columns = [pq.ParquetFile(tmp_path / "out.parquet").metadata.row_group(0).column(i) for i in (0, 1, 2)]
    assert [c.compression for c in columns] == ["ZSTD", "GZIP", "GZIP"]
    assert [c.has_dictionary_page for c in columns] == [False, True, True]


# Folders


def image_folder(folder):
    for name in ("cat/1.png", "cat/2,b.png", "dog/3.png", "dog/notes.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return read_source(folder, SourceSettings())


def test_a_folder_becomes_a_listing_with_paths_from_where_it_is(tmp_path):
    manifest = image_folder(tmp_path / "images")
    labels = ["dog", "", "cat", ""]
    written = relabelled(manifest, labels, tmp_path / "out.csv", "true")
    assert written == (
        b'path,label,true\nimages/cat/1.png,dog,cat\n"images/cat/2,b.png",cat,cat\nimages/dog/3.png,cat,dog\n'
    )
    assert image_root(manifest, tmp_path / "out.csv") is None
    (tmp_path / "other").mkdir()
    written = relabelled(manifest, labels, tmp_path / "other" / "out.csv")
    assert written.splitlines()[:2] == [b"path,label", b"cat/1.png,dog"]
    assert image_root(manifest, tmp_path / "other" / "out.csv") == tmp_path / "images"


def test_a_link_to_the_folder_is_where_it_stands(tmp_path):
    image_folder(tmp_path / "far" / "images")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "images").symlink_to(tmp_path / "far" / "images")
    (tmp_path / "here" / "far").symlink_to(tmp_path / "far" / "images" / "cat")
    manifest = read_source(tmp_path / "here" / "images", SourceSettings())
    assert b"\nimages/cat/1.png" in relabelled(manifest, [""] * 4, tmp_path / "here" / "out.csv")
    manifest = read_source(tmp_path / "here" / "far" / "..", SourceSettings())  # which is far/images
    assert image_root(manifest, tmp_path / "here" / "out.csv") == tmp_path / "here" / "far" / ".."


@pytest.mark.parametrize("column", ["path", "label"])
def test_a_listing_has_its_columns_once(tmp_path, column):
    manifest = image_folder(tmp_path / "images")
    with pytest.raises(UsageError, match="column"):
        relabelled(manifest, [""] * 4, tmp_path / "out.csv", column)


def test_tables_in_several_folders_are_refused(tmp_path):
    for name in ("train", "test"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metadata.csv").write_bytes(b"file_name,label\n1.png,cat\n2.png,dog\n")
    manifest = read_source(tmp_path, SourceSettings(split="all"))
    with pytest.raises(UsageError, match="several folders") as caught:
        relabelled(manifest, [""] * 4, tmp_path / "out.csv")
    assert "--split" in caught.value.fix
    one = read_source(tmp_path, SourceSettings(split="test"))
    assert b"1.png,dog" in relabelled(one, ["dog", ""], tmp_path / "out.csv")
    assert image_root(one, tmp_path / "out.csv") == tmp_path / "test"
    assert image_root(one, tmp_path / "test" / "out.csv") is None


# Targets


def table(folder, kind="csv"):
    source = folder / f"labels.{kind}"
    if kind == "parquet":
        parquet(folder, pa.array(["cat", "dog"]))
    elif kind == "jsonl":
        source.write_bytes(b'{"path": "a", "label": "cat"}\n{"path": "b", "label": "dog"}\n')
    else:
        source.write_bytes(b"path,label\na.png,cat\nb.png,dog\n")
    return read_source(source, SourceSettings())


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_what_is_there_is_never_overwritten_but_may_be_the_same(tmp_path, kind):
    manifest, target = table(tmp_path, kind), tmp_path / f"out.{kind}"
    relabelled(manifest, ["dog", ""], target, "true")
    before = (target.read_bytes(), target.stat().st_mtime_ns, target.stat().st_ino)
    write_relabelled(manifest, np.array([1, -1], np.int32), target, "true")
    with pytest.raises(UsageError, match="holds something else"):
        write_relabelled(manifest, np.array([-1, -1], np.int32), target, "true")
    assert before == (target.read_bytes(), target.stat().st_mtime_ns, target.stat().st_ino)
    assert {p.name for p in tmp_path.iterdir()} == {f"labels.{kind}", f"out.{kind}"}


def test_a_folder_or_a_dead_link_is_no_target(tmp_path):
    manifest = table(tmp_path)
    (tmp_path / "a.csv").mkdir()
    (tmp_path / "b.csv").symlink_to(tmp_path / "nowhere")
    for name, message in (("a.csv", r"a\.csv is a folder"), ("b.csv", "exists already")):
        with pytest.raises(UsageError, match=message):
            write_relabelled(manifest, np.array([1, -1], np.int32), tmp_path / name)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_column_is_never_doubled(tmp_path, kind):
    manifest = table(tmp_path, kind)
    with pytest.raises(UsageError, match="has a column 'path' already") as caught:
        write_relabelled(manifest, np.array([1, -1], np.int32), tmp_path / f"out.{kind}", "path")
    assert "--true-column" in caught.value.fix
    with pytest.raises(UsageError, match="name is empty"):
        write_relabelled(manifest, np.array([1, -1], np.int32), tmp_path / f"out.{kind}", "")
    assert [p.name for p in tmp_path.iterdir()] == [f"labels.{kind}"]


def test_the_source_and_other_formats_are_no_targets(tmp_path):
    manifest = table(tmp_path)
    (tmp_path / "link.csv").symlink_to(tmp_path / "labels.csv")
    for name in ("labels.csv", "link.csv"):
        with pytest.raises(UsageError, match="source itself"):
            write_relabelled(manifest, np.array([1, -1], np.int32), tmp_path / name)
    with pytest.raises(UsageError, match=r"out\.parquet has another ending than CSV") as caught:
        write_relabelled(manifest, np.array([1, -1], np.int32), tmp_path / "out.parquet")
    assert caught.value.fix == "let --out end in .csv"


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("how", ["edited", "gone"])
def test_a_table_that_changed_since_is_refused(tmp_path, kind, how):
    manifest = table(tmp_path, kind)
    source = Path(manifest.tables[0])
    source.unlink() if how == "gone" else source.write_bytes(source.read_bytes() + b"x")
    with pytest.raises(DataError, match="since it was read"):
        write_relabelled(manifest, np.array([1, -1], np.int32), tmp_path / f"out.{kind}")
    assert not (tmp_path / f"out.{kind}").exists()
