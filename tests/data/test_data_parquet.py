"""Parquet: paths or embedded bytes, class names from the schema, and nothing a hostile file can do."""

import json
import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelscrub.config import SourceSettings
from labelscrub.data import read_embedded, read_source
from labelscrub.errors import DataError, UsageError

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
REVERSED = pa.struct([("path", pa.string()), ("bytes", pa.binary())])


def features(**columns):
    return {"huggingface": json.dumps({"info": {"features": columns}})}


ZOO = features(label={"_type": "ClassLabel", "names": ["zebra", "ant"]}, image={"_type": "Image"})


@pytest.fixture
def read(tmp_path):
    for i in range(4):
        (tmp_path / f"{i}.jpg").write_bytes(b"x")

    def reader(columns, metadata=None, row_group_size=2, **options):
        table = pa.table(columns).replace_schema_metadata(metadata)
        pq.write_table(table, tmp_path / "t.parquet", row_group_size=row_group_size)
        return read_source(tmp_path / "t.parquet", SourceSettings(**options))

    return reader


def given_labels(manifest):
    return [manifest.classes[i] if i >= 0 else None for i in manifest.labels]


@pytest.mark.parametrize("kind", [IMAGE, REVERSED])
def test_embedded_images(read, kind):
    cells = [
        {"bytes": b"0", "path": "dir/0.png"},
        {"bytes": b"1", "path": None},
        {"bytes": None, "path": "2.jpg"},
        None,
        {"bytes": b"", "path": "4.png"},
        {"bytes": b"5" * 1000, "path": "5.png"},
    ]
    manifest = read({"image": pa.array(cells, kind), "label": [0, 1, 1, 0, -1, 1]}, ZOO)
    assert (manifest.kind, manifest.image_column, manifest.classes) == ("parquet", "image", ("zebra", "ant"))
    assert list(manifest.paths) == ["dir/0.png", "t.parquet#1", "2.jpg", "", "4.png", "5.png"]
    assert list(manifest.files) == ["", "", "2.jpg", "", "", ""]
    assert manifest.labels.tolist() == [0, 1, 1, 0, -1, 1]
    assert {item.row: item.reason for item in manifest.skipped} == {3: "no path", 4: "no label"}
    assert manifest.spans.tolist() == [[i, i + 1] for i in range(6)]
    assert list(read_embedded(manifest, [0, 1, 5])) == [(0, b"0"), (1, b"1"), (5, b"5" * 1000)]
    assert list(read_embedded(manifest, np.array([3, 4]))) == [(3, None), (4, b"")]


@pytest.mark.parametrize("statistics", [True, False])
def test_which_rows_have_bytes_needs_no_statistics(tmp_path, statistics):
    cells = [{"bytes": b"x" if i % 3 else None, "path": None} for i in range(20)]
    table = pa.table({"image": pa.array(cells, IMAGE), "label": ["ab"[i % 2] for i in range(20)]})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=8, write_statistics=statistics)
    manifest = read_source(tmp_path / "t.parquet", SourceSettings())
    assert [item.row for item in manifest.skipped] == list(range(0, 20, 3))


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_plain_bytes(read, kind):
    manifest = read({"img": pa.array([b"0", b"1", None], kind), "label": ["a", "b", "a"]})
    assert list(manifest.paths) == ["t.parquet#0", "t.parquet#1", ""]
    assert list(read_embedded(manifest, [0, 1])) == [(0, b"0"), (1, b"1")]


@pytest.mark.parametrize("only", ["bytes", "path"])
def test_a_struct_may_lack_a_field(read, only):
    value = b"0" if only == "bytes" else "0.jpg"
    kind = pa.struct([(only, pa.binary() if only == "bytes" else pa.string())])
    manifest = read({"image": pa.array([{only: value}], kind), "label": ["a"]})
    assert list(manifest.files) == ([""] if only == "bytes" else ["0.jpg"])
    assert list(read_embedded(manifest, [0])) == [(0, b"0" if only == "bytes" else None)]


@pytest.mark.parametrize(
    ("labels", "texts"),
    [
        (pa.array(["007", "NA", None, ""]), ["007", "NA", None, None]),
        (pa.array(["a", "b", "a", "b"], pa.large_string()), ["a", "b", "a", "b"]),
        (pa.array(["a", "b", None, "b"]).dictionary_encode(), ["a", "b", None, "b"]),
        (pa.array([7, 10, None, 7], pa.uint8()), ["7", "10", None, "7"]),
        (pa.array([True, False, True, None]), ["true", "false", "true", None]),
    ],
)
def test_labels_become_text(read, labels, texts):
    manifest = read({"path": [f"{i}.jpg" for i in range(4)], "label": labels})
    assert given_labels(manifest) == texts
    assert [bool(file) for file in manifest.files] == [text is not None for text in texts]


@pytest.mark.parametrize(
    "labels",
    [
        pa.array([["a"], ["b"]]),
        pa.array([{"x": 1}, {"x": 2}]),
        pa.array([b"a", b"b"]),
        pa.array([0.5, 1.0]),
        pa.array([0, 1], pa.date32()),
    ],
)
def test_other_labels_are_refused(read, labels):
    with pytest.raises(DataError, match=r"column 'label' holds .*single-label"):
        read({"path": ["0.jpg", "1.jpg"], "label": labels})


def test_paths_of_other_types_are_refused(read):
    with pytest.raises(DataError, match="column 'path' holds"):
        read({"path": [[1], [2]], "label": ["a", "b"]})


def test_class_label_numbers_out_of_range_name_the_row(read):
    with pytest.raises(DataError, match="row 3: label 2 of 2 class names"):
        read({"path": ["0.jpg"] * 4, "label": [0, 1, 1, 2]}, ZOO)


def test_a_class_label_is_found_under_any_name(read):
    metadata = features(coarse={"_type": "ClassLabel", "names": ["x", "y"]})
    assert given_labels(read({"path": ["0.jpg", "1.jpg"], "coarse": [1, 0]}, metadata)) == ["y", "x"]


@pytest.mark.parametrize(
    "metadata", [{"huggingface": "{"}, {"huggingface": "[]"}, {"huggingface": '{"info": 1}'}]
)
def test_damaged_metadata_are_ignored(read, metadata):
    assert read({"path": ["0.jpg", "1.jpg"], "label": [0, 1]}, metadata).classes == ("0", "1")


def test_columns_that_are_not_clear(read):
    image = pa.array([{"bytes": b"0", "path": None}], IMAGE)
    with pytest.raises(UsageError, match="could be 'left' and 'right'"):
        read({"left": image, "right": image, "label": ["a"]})
    assert read({"left": image, "right": image, "label": ["a"]}, path_column="right").image_column == "right"
    with pytest.raises(UsageError, match="no column with the labels"):
        read({"image": image, "x": ["a"]})


def test_groups_and_empty_tables(read):
    assert list(
        read({"path": ["0.jpg", "1.jpg"], "label": ["a", "b"], "g": [1, None]}, group_column="g").groups
    ) == ["1", ""]
    with pytest.raises(DataError, match="no rows"):
        read({"path": pa.array([], pa.string()), "label": pa.array([], pa.string())})


def test_bytes_that_can_no_longer_be_read_are_none(read, tmp_path):
    image = pa.array([{"bytes": bytes([i]), "path": None} for i in range(6)], IMAGE)
    manifest = read({"image": image, "label": ["a", "b"] * 3})
    content = (tmp_path / "t.parquet").read_bytes()
    for damage in (b"", content[:-20], None):
        (tmp_path / "t.parquet").unlink()
        if damage is not None:
            (tmp_path / "t.parquet").write_bytes(damage)
        assert list(read_embedded(manifest, [1, 4])) == [(1, None), (4, None)]


def test_damaged_files_raise_data_errors_only(read, tmp_path):
    cells = [{"bytes": bytes([i]) * 50, "path": f"{i}.png"} for i in range(20)]
    read({"image": pa.array(cells, IMAGE), "label": [0, 1] * 10}, ZOO)
    path, content = tmp_path / "t.parquet", (tmp_path / "t.parquet").read_bytes()
    rng = random.Random(0)
    failed = 0
    for _ in range(150):
        damaged = bytearray(content)
        for _ in range(rng.randint(1, 3)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(damaged[: rng.randrange(len(damaged))] if rng.random() < 0.2 else damaged)
        try:
            manifest = read_source(path, SourceSettings())
            assert len(list(read_embedded(manifest, range(len(manifest))))) == len(manifest)
        except (DataError, UsageError):
            failed += 1
    assert failed > 50
