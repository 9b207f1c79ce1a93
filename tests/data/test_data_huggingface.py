"""Hugging Face layouts: metadata tables, splits, shards."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelscrub.config import SourceSettings
from labelscrub.data import read_embedded, read_source
from labelscrub.errors import DataError, UsageError


def read(root, **settings):
    return read_source(root, SourceSettings(**settings))


def write(path, content=b"x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def shard(path, labels):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pa.array(
        [{"bytes": label.encode(), "path": None} for label in labels],
        pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    )
    pq.write_table(pa.table({"image": image, "label": labels}), path)


def test_metadata_turns_folder_names_off(tmp_path):
    write(tmp_path / "cat" / "1.png")
    write(tmp_path / "dog" / "2.png")
    write(tmp_path / "metadata.csv", b"file_name,label\ncat/1.png,x\ndog/2.png,y\ndog/3.png,y\n")
    manifest = read(tmp_path)
    assert (manifest.kind, manifest.classes, manifest.root) == ("csv", ("x", "y"), tmp_path)
    assert manifest.tables == (tmp_path / "metadata.csv",)
    assert list(manifest.files) == ["cat/1.png", "dog/2.png", ""]
    assert manifest.skipped[0].kind == "missing"


@pytest.mark.parametrize("name", ["metadata.jsonl", "metadata.parquet"])
def test_other_metadata_kinds(tmp_path, name):
    write(tmp_path / "1.png")
    if name.endswith("jsonl"):
        write(tmp_path / name, b'{"file_name": "1.png", "label": "x"}\n')
    else:
        pq.write_table(pa.table({"file_name": ["1.png"], "label": ["x"]}), tmp_path / name)
    manifest = read(tmp_path)
    assert manifest.kind == name.removeprefix("metadata.") and list(manifest.files) == ["1.png"]


def test_metadata_in_splits(tmp_path):
    for split in ("train", "test"):
        write(tmp_path / split / "1.png")
        write(tmp_path / split / "metadata.csv", f"file_name,label\n1.png,{split}\n".encode())
    with pytest.raises(UsageError, match="has splits: test, train"):
        read(tmp_path)
    assert list(read(tmp_path, split="train").files) == ["train/1.png"]
    manifest = read(tmp_path, split="all")
    assert list(manifest.paths) == ["1.png", "1.png"]
    assert list(manifest.files) == ["test/1.png", "train/1.png"]
    assert manifest.table_of.tolist() == [0, 1] and len(manifest.table_sha256) == 2
    assert manifest.spans.tolist() == [[16, 27], [16, 28]]
    (tmp_path / "test" / "metadata.csv").unlink()
    with pytest.raises(DataError, match="has no metadata table"):
        read(tmp_path, split="all")


def test_one_metadata_table_above_splits_leaves_nothing_to_choose(tmp_path):
    write(tmp_path / "train" / "1.png")
    write(tmp_path / "test" / "2.png")
    write(tmp_path / "metadata.csv", b"file_name,label\ntrain/1.png,x\ntest/2.png,y\n")
    for split in (None, "all"):
        assert list(read(tmp_path, split=split).files) == ["train/1.png", "test/2.png"]
    with pytest.raises(UsageError, match=r"--split has no effect: .*metadata.csv lists all splits"):
        read(tmp_path, split="train")


def test_metadata_without_labels_says_why_folders_are_not_used(tmp_path):
    write(tmp_path / "cat" / "1.png")
    write(tmp_path / "metadata.csv", b"file_name,text\ncat/1.png,hello\n")
    with pytest.raises(UsageError, match="no column with the labels") as caught:
        read(tmp_path)
    assert "stands in for class folders" in caught.value.fix


def test_two_metadata_tables_are_one_too_many(tmp_path):
    write(tmp_path / "metadata.csv")
    write(tmp_path / "metadata.jsonl")
    with pytest.raises(DataError, match=r"metadata.csv and metadata.jsonl"):
        read(tmp_path)


@pytest.mark.parametrize("folder", ["", "data"])
def test_parquet_shards(tmp_path, folder):
    shard(tmp_path / folder / "train-00000-of-00002.parquet", ["a", "b", "a"])
    shard(tmp_path / folder / "train-00001-of-00002-0123abcd.parquet", ["b", "c"])
    shard(tmp_path / folder / "test-00000-of-00001.parquet", ["a", "d"])
    with pytest.raises(UsageError, match="has splits: test, train"):
        read(tmp_path)
    manifest = read(tmp_path, split="train")
    assert manifest.classes == ("a", "b", "c") and manifest.table_of.tolist() == [0, 0, 0, 1, 1]
    assert manifest.spans[:, 0].tolist() == [0, 1, 2, 0, 1]
    assert manifest.paths[4] == "train-00001-of-00002-0123abcd.parquet#1"
    assert list(read_embedded(manifest, [1, 3, 4])) == [(1, b"b"), (3, b"b"), (4, b"c")]
    assert len(read(tmp_path, split="all")) == 7


def test_missing_shards_are_noted(tmp_path):
    shard(tmp_path / "train-00001-of-00003.parquet", ["a", "b"])
    assert read(tmp_path).notes == ("split train: 2 of 3 Parquet files are missing",)
    with pytest.raises(UsageError, match="only the split 'train'"):
        read(tmp_path, split="test")


def test_shards_that_differ(tmp_path):
    shard(tmp_path / "train-00000-of-00002.parquet", ["a"])
    pq.write_table(pa.table({"path": ["x"], "label": ["a"]}), tmp_path / "train-00001-of-00002.parquet")
    with pytest.raises(DataError, match="its columns differ"):
        read(tmp_path)
