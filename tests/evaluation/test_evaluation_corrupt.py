"""Corrupted manifests: exactly the noise asked for, in usable rows only, and a detect command that works."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pictures import QUICK, picture, write_csv, write_folder

from labelscrub import detect
from labelscrub.config import Settings, all_settings
from labelscrub.config_files import parse_value
from labelscrub.data import read_source
from labelscrub.errors import DataError, UsageError
from labelscrub.evaluation.corrupt import corrupt
from labelscrub.evaluation.noise import confusable_flips, pair_flips, uniform_flips
from labelscrub.store import read_arrays


def rows_of(file, **options):
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream, **options))


def detects(corrupted):
    """The Manifest that the suggested command reads."""
    source, *arguments, out, run = corrupted.detect
    assert (source, out) == (str(corrupted.manifest), "--out")
    assert run == str(corrupted.manifest.with_suffix("")) + "-run"
    options = {}
    while arguments:
        name = arguments.pop(0).removeprefix("--").replace("-", "_")
        field = all_settings()[name]
        options[name] = True if field.type == "bool" else parse_value(field, arguments.pop(0), name)
    return read_source(Path(source), Settings.of(options).source)


def test_a_folder_becomes_a_csv_beside_it(tmp_path):
    write_folder(tmp_path / "images", each=10, wrong=0)
    (tmp_path / "images" / "left" / "notes.txt").write_text("not an image")
    done = corrupt(tmp_path / "images", rate=0.3, seed=4)
    assert done.manifest == tmp_path / "images-noisy.csv"
    assert (done.images, done.listed, done.planted) == (30, 31, 9)
    rows = rows_of(done.manifest)
    assert list(rows[0]) == ["path", "label", "true_label"]
    truth = np.array([done.classes.index(row["true_label"]) for row in rows], np.int32)
    noisy = np.array([done.classes.index(row["label"]) for row in rows], np.int32)
    np.testing.assert_array_equal(noisy, uniform_flips(truth, 3, 0.3, seed=4))
    assert [row["path"].split("/")[1] for row in rows] == [row["true_label"] for row in rows]
    again = detects(done)
    assert (len(again), again.skipped) == (30, ())
    np.testing.assert_array_equal(again.labels, noisy)
    expected = np.zeros((3, 3), int)
    for a, b in zip(truth, noisy, strict=True):
        expected[a, b] += a != b
    assert done.changed.tolist() == expected.tolist()


def test_a_manifest_elsewhere_finds_its_images(tmp_path):
    write_csv(tmp_path / "source", each=10)
    (tmp_path / "else").mkdir()
    done = corrupt(tmp_path / "source" / "labels.csv", kind="pair", out=tmp_path / "else" / "noisy.csv")
    before, after = rows_of(tmp_path / "source" / "labels.csv"), rows_of(done.manifest)
    assert list(after[0]) == ["id", "path", "label", "true_label", "note"]
    for old, new in zip(before, after, strict=True):
        assert {**new, "label": new["true_label"]} == {**old, "true_label": old["label"]}
    again = detects(done)
    assert again.skipped == ()
    truth = np.array([again.classes.index(row["label"]) for row in before], np.int32)
    np.testing.assert_array_equal(again.labels, pair_flips(truth, 3, 0.2, seed=0))


def test_rows_that_cannot_be_used_keep_their_label(tmp_path):
    lines = ["path,label"]
    for number in range(10):
        picture("dark", number).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{'ab'[number % 2]}")
    lines += ["gone.png,a", "0.png,b", "1.png,", ",a"]
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    done = corrupt(tmp_path / "labels.csv", rate=1)
    assert (done.images, done.listed, done.planted) == (10, 14, 10)
    rows = rows_of(done.manifest)
    assert [row["true_label"] for row in rows] == [line.split(",")[1] for line in lines[1:]]
    assert [row["label"] for row in rows[:10]] == list("bababababa")
    assert [row["label"] for row in rows[10:]] == ["a", "b", "", "a"]
    assert detects(done).labels[:10].tolist() == [1, 0] * 5


def test_embedded_images_and_class_labels(tmp_path):
    (tmp_path / "set" / "data").mkdir(parents=True)
    features = {"info": {"features": {"label": {"names": ["b", "a"], "_type": "ClassLabel"}}}}
    table = pa.table({"image": [{"bytes": b"x", "path": "1.png"}] * 10, "label": [0, 1] * 5})
    table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    for number in (0, 1):
        pq.write_table(table, tmp_path / "set" / "data" / f"train-0000{number}-of-00002.parquet")
    done = corrupt(tmp_path / "set", rate=0.5)
    assert done.manifest == tmp_path / "set-noisy.parquet"
    found = pq.read_table(done.manifest)
    assert found["true_label"].to_pylist() == [0, 1] * 10
    assert (
        done.planted == 10 == sum(a != b for a, b in zip(*found.select(["label", "true_label"]), strict=True))
    )
    again = detects(done)
    assert (again.classes, again.labels.tolist()) == (("b", "a"), found["label"].to_pylist())


def test_a_metadata_table_stays_with_its_images(tmp_path):
    for name in ("train", "test"):
        (tmp_path / name).mkdir()
        for number in range(4):
            picture("dark", number).save(tmp_path / name / f"{number}.png")
        lines = ["file_name,kind", *(f"{i}.png,{'ab'[i % 2]}" for i in range(4))]
        (tmp_path / name / "metadata.csv").write_text("\n".join(lines))
    settings = Settings.of(split="test", label_column="kind")
    done = corrupt(tmp_path, rate=1, settings=settings)
    assert done.manifest == tmp_path / "test" / "metadata-noisy.csv"
    assert detects(done).labels.tolist() == [1, 0, 1, 0]
    with pytest.raises(UsageError, match="several folders"):
        corrupt(tmp_path, settings=Settings.of(split="all", label_column="kind"))


def test_settings_go_with_the_command(tmp_path):
    for number in range(4):
        picture("dark", number).save(tmp_path / f"{number}.png")
    text = "name;kind;truth\n" + "".join(f"{tmp_path}/{i}.png;{'ab'[i % 2]};x\n" for i in range(4))
    (tmp_path / "list.csv").write_text(text)
    settings = Settings.of(
        path_column="name", label_column="kind", delimiter=";", max_pixels=5000, allow_outside=True
    )
    done = corrupt(tmp_path / "list.csv", rate=1, true_column="label", settings=settings)
    assert done.manifest.read_text().splitlines()[:2] == ["name;kind;label;truth", f"{tmp_path}/0.png;b;a;x"]
    assert detects(done).labels.tolist() == [1, 0, 1, 0]
    assert "5000" in done.detect
    with pytest.raises(UsageError, match="has a column 'truth' already"):
        corrupt(tmp_path / "list.csv", true_column="truth", settings=settings)


@pytest.mark.parametrize("kind", ["csv", "npy"])
def test_a_matrix_decides_by_itself(tmp_path, kind):
    write_folder(tmp_path / "images", each=5, wrong=0)
    file, turned = tmp_path / f"noise.{kind}", np.roll(np.eye(3), 1, axis=1)
    np.save(file, turned) if kind == "npy" else np.savetxt(file, turned, delimiter=",")
    done = corrupt(tmp_path / "images", kind=f"matrix:{file}")
    assert (done.planted, done.rate) == (15, None)
    assert done.changed.tolist() == [[0, 5, 0], [0, 0, 5], [5, 0, 0]]


# Confusable


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A source with a broken image, and its finished run."""
    folder = tmp_path_factory.mktemp("confusable")
    write_csv(folder, each=20, wrong=0)
    (folder / "images" / "left" / "left-003.png").write_bytes(b"broken")
    detect(folder / "labels.csv", out=folder / "run", workers=0, **QUICK)
    return folder


def test_confusable_labels_come_from_the_run(finished):
    done = corrupt(
        finished / "labels.csv",
        kind="confusable",
        rate=0.25,
        seed=2,
        from_run=finished / "run",
        out=finished / "confusable.csv",
    )
    assert (done.images, done.planted) == (59, 15)
    rows = rows_of(done.manifest)
    assert next(row for row in rows if "left-003" in row["path"])["label"] == "left"
    used = [row for row in rows if "left-003" not in row["path"]]
    pred_probs = read_arrays(finished / "run" / "predictions.npz")["pred_probs"]
    truth = np.array([done.classes.index(row["true_label"]) for row in used], np.int32)
    expected = confusable_flips(truth, pred_probs, 0.25, seed=2)
    assert [row["label"] for row in used] == [done.classes[k] for k in expected]


def test_a_run_of_other_data_is_refused(finished, tmp_path):
    shutil.copytree(finished / "images", tmp_path / "images")
    (tmp_path / "labels.csv").write_bytes((finished / "labels.csv").read_bytes())
    asked = {"kind": "confusable", "from_run": finished / "run"}
    corrupt(tmp_path / "labels.csv", out=tmp_path / "same.csv", **asked)  # the place does not matter
    file = next((tmp_path / "images").rglob("dark-004.png"))
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(DataError, match="other data"):
        corrupt(tmp_path / "labels.csv", out=tmp_path / "a.csv", **asked)
    (tmp_path / "labels.csv").write_bytes(
        b"".join((finished / "labels.csv").read_bytes().splitlines(True)[:-1])
    )
    with pytest.raises(DataError, match="other data"):
        corrupt(tmp_path / "labels.csv", out=tmp_path / "b.csv", **asked)
    assert not list(tmp_path.glob("[ab].csv"))


def test_a_run_that_trained_nothing_has_no_runner_up(finished, tmp_path):
    np.save(tmp_path / "probs.npy", read_arrays(finished / "run" / "predictions.npz")["pred_probs"])
    detect(finished / "labels.csv", pred_probs=tmp_path / "probs.npy", out=tmp_path / "run", workers=0)
    with pytest.raises(UsageError, match="trained no model"):
        corrupt(finished / "labels.csv", kind="confusable", from_run=tmp_path / "run", out=tmp_path / "a.csv")
    with pytest.raises(UsageError, match="no run"):
        corrupt(finished / "labels.csv", kind="confusable", from_run=tmp_path, out=tmp_path / "a.csv")


# What makes no sense


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "unform"}, "is not one of: uniform, pair, confusable, matrix:FILE"),
        ({"kind": "pair:x"}, "is not one of"),
        ({"kind": "matrix"}, "needs its file"),
        ({"kind": "matrix:none.csv"}, "none.csv does not exist"),
        ({"kind": "matrix:m.csv", "rate": 0.2}, "--rate has no effect"),
        ({"kind": "confusable"}, "needs a model's probabilities"),
        ({"kind": "pair", "from_run": "run"}, "--from has no effect"),
        ({"rate": 1.5}, "--rate must be in 0..1"),
        ({"out": "images/noisy.csv"}, "is inside the source"),
        ({"out": "noisy.parquet"}, "noisy.parquet has another ending than CSV; the manifest"),
        ({"out": "."}, "is a folder; the manifest of this source is CSV"),
        ({"true_column": "label"}, "has a column 'label' already"),
        ({"settings": Settings.of(split="train")}, "--split has no effect"),
    ],
)
def test_arguments_that_make_no_sense(tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "images", each=2, wrong=0)
    with pytest.raises(UsageError, match=message):
        corrupt("images", **options)
    assert [p.name for p in tmp_path.iterdir()] == ["images"]


def test_sources_that_cannot_be_corrupted(tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        corrupt(tmp_path / "none")
    with pytest.raises(UsageError, match="name is empty"):
        corrupt("")
    (tmp_path / "labels.csv").write_text("path,label\ngone.png,a\nlost.png,b\n")
    with pytest.raises(DataError, match="no usable image: 2 no such file"):
        corrupt(tmp_path / "labels.csv", settings=Settings.of(max_missing=1.0))
    picture("dark", 0).save(tmp_path / "gone.png")
    (tmp_path / "one.csv").write_text("path,label\ngone.png,a\n")
    with pytest.raises(DataError, match="among 1 classes"):
        corrupt(tmp_path / "one.csv")


def test_as_many_may_be_missing_as_for_detect(tmp_path):
    picture("dark", 0).save(tmp_path / "0.png")
    (tmp_path / "labels.csv").write_text("path,label\n0.png,a\ngone.png,b\nlost.png,b\n")
    with pytest.raises(DataError) as caught:
        corrupt(tmp_path / "labels.csv")
    assert (
        "2 of 3 listed images are missing (2 no such file), more than --max-missing 0.1" in caught.value.cause
    )
    assert f"looked for in {tmp_path}" in caught.value.fix
    assert [p.name for p in tmp_path.glob("*.csv")] == ["labels.csv"]
    assert corrupt(tmp_path / "labels.csv", rate=1, settings=Settings.of(max_missing=0.7)).planted == 1


def test_no_label_changed_is_said_unless_asked_for(tmp_path):
    write_folder(tmp_path / "images", each=10, wrong=0)
    done = corrupt(tmp_path / "images", rate=0.01)
    assert (done.planted, done.notes) == (
        0,
        ("no label is changed: 0.01 of 30 labels is less than one: take a higher --rate",),
    )
    assert corrupt(tmp_path / "images", rate=0, out=tmp_path / "none.csv").notes == ()
    np.save(tmp_path / "same.npy", np.eye(3))
    same = corrupt(tmp_path / "images", kind=f"matrix:{tmp_path / 'same.npy'}", out=tmp_path / "same.csv")
    assert same.to_json()["notes"] == ["no label is changed: the matrix drew none"]
    assert corrupt(tmp_path / "images", out=tmp_path / "some.csv").notes == ()


@pytest.mark.parametrize("name", ["nan", " ", "caf\udce9"])
def test_a_class_that_no_table_can_name(tmp_path, name):
    for kind in (name, "größe"):
        (tmp_path / "images" / kind).mkdir(parents=True)
        picture("dark", 0).save(tmp_path / "images" / kind / "1.png")
    with pytest.raises(DataError, match="can't be a label in a CSV"):
        corrupt(tmp_path / "images")
    (tmp_path / "images" / name).rename(tmp_path / "images" / "plain")
    assert detects(corrupt(tmp_path / "images", rate=1)).classes == ("größe", "plain")


def test_the_same_again_and_nothing_else_over_it(tmp_path, monkeypatch):
    write_folder(tmp_path / "images", each=4, wrong=0)
    monkeypatch.chdir(tmp_path / "images")
    first = corrupt(".")  # a folder by another name
    assert first.manifest == tmp_path / "images-noisy.csv"
    before = first.manifest.read_bytes()
    assert corrupt(tmp_path / "images").manifest.read_bytes() == before
    with pytest.raises(UsageError, match="holds something else"):
        corrupt(tmp_path / "images", seed=1)
    assert first.manifest.read_bytes() == before
