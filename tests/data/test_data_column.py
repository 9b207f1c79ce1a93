"""A column of the source's tables as detect would read it as labels, whatever the format."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelscrub.config import SourceSettings
from labelscrub.data import read_labels, read_source
from labelscrub.data.column import read_column, read_numbers, read_pairs
from labelscrub.errors import DataError, UsageError

PATHS = [f"{index}.png" for index in range(4)]
LABELS, TRUE = ["cat", "dog", "cat", "dog"], ["cat", None, "dog", "e,l\n"]


def write(folder, kind):
    rows = list(zip(PATHS, LABELS, TRUE, strict=True))
    target = folder / f"m.{kind}"
    if kind in ("csv", "tsv"):
        comma = "," if kind == "csv" else "\t"
        cells = [
            comma.join((p, g, "" if t is None else f'"{t}"' if "\n" in t else t)) + "\r\n" for p, g, t in rows
        ]
        target.write_bytes((comma.join(("path", "label", "true")) + "\r\n" + "".join(cells)).encode())
    elif kind == "jsonl":
        target.write_text("".join(json.dumps({"path": p, "label": g, "true": t}) + "\n" for p, g, t in rows))
    else:
        pq.write_table(pa.table({"path": PATHS, "label": LABELS, "true": TRUE}), target)
    return target


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_a_column_of_every_kind_of_table(tmp_path, kind):
    manifest = read_source(write(tmp_path, kind), SourceSettings())
    assert read_column(manifest, "true", SourceSettings()) == TRUE
    with pytest.raises(UsageError, match="no column 'truth'; its columns are: 'path', 'label', 'true'"):
        read_column(manifest, "truth", SourceSettings())
    paths, labels = read_pairs(manifest.source, manifest)
    assert (list(paths), labels) == (PATHS, LABELS)  # nothing is called true_label here


def test_the_settings_of_the_source_hold_for_the_column(tmp_path):
    (tmp_path / "m.csv").write_text("file;name;label;true\n0;0.png;a;b\n1;1.png;b;b\n")
    settings = SourceSettings(delimiter=";", path_column="name", group_column="file")
    manifest = read_source(tmp_path / "m.csv", settings)
    assert read_column(manifest, "true", settings) == ["b", "b"]


def test_class_labels_are_named(tmp_path):
    names = {"names": ["cat", "dog"], "_type": "ClassLabel"}
    features = {"info": {"features": {"label": names, "true": names}}}
    table = pa.table({"path": PATHS, "label": [0, 1, 0, 1], "true": [1, -1, 0, None]})
    pq.write_table(
        table.replace_schema_metadata({"huggingface": json.dumps(features)}), tmp_path / "m.parquet"
    )
    manifest = read_source(tmp_path / "m.parquet", SourceSettings())
    assert read_column(manifest, "true", SourceSettings()) == ["dog", None, "cat", None]


def test_a_table_that_changed_meanwhile_is_refused(tmp_path):
    path = write(tmp_path, "csv")
    manifest = read_source(path, SourceSettings())
    with path.open("a") as file:
        file.write("4.png,cat,cat\n")
    with pytest.raises(DataError, match="changed while it was read"):
        read_column(manifest, "true", SourceSettings())


def test_a_folder_has_no_columns(tmp_path):
    for name in ("a/1.png", "b/2.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(UsageError, match="no columns"):
        read_column(read_source(tmp_path, SourceSettings()), "true", SourceSettings())


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_labels_without_images_have_columns_too(tmp_path, kind):
    path = write(tmp_path, kind)
    assert read_column(read_labels(path), "true", SourceSettings()) == TRUE
    with pytest.raises(UsageError, match="no column 'nothing'; its columns are: 'path'"):
        read_column(read_labels(path), "nothing", SourceSettings())


def test_pairs_take_the_true_label_and_the_sources_path_column(tmp_path):
    (tmp_path / "m.csv").write_text("id,file,label\n7,0.png,a\n8,1.png,b\n")
    (tmp_path / "t.csv").write_text("file,id,label,true_label\n0.png,7,a,b\n1.png,8,b,\n")
    manifest = read_source(tmp_path / "m.csv", SourceSettings(path_column="id"))
    paths, labels = read_pairs(tmp_path / "t.csv", manifest)
    assert (list(paths), labels) == (["7", "8"], ["b", None])


def test_pairs_without_their_columns_say_how_to_name_them(tmp_path):
    manifest = read_source(write(tmp_path, "csv"), SourceSettings())
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UsageError, match="its columns are: 'a', 'b'") as error:
        read_pairs(tmp_path / "t.csv", manifest)
    assert "'true_label'" in error.value.fix and "--" not in error.value.fix


def test_numbers_of_a_report(tmp_path):
    table = pa.table({"a": pa.array([1.5, None], pa.float32()), "b": pa.array([True, None]), "c": ["x", "y"]})
    pq.write_table(table, tmp_path / "r.parquet")
    read = read_numbers(tmp_path / "r.parquet", ["a", "b"])
    np.testing.assert_array_equal(read["a"], [1.5, np.nan])
    np.testing.assert_array_equal(read["b"], [1, np.nan])
    with pytest.raises(DataError, match=r"r\.parquet"):
        read_numbers(tmp_path / "r.parquet", ["d"])
