"""Finished runs exported and read back: every format, every kind of source, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from io import BytesIO
from os.path import normpath, splitext
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from judged import judge
from pictures import picture, write_csv, write_folder

import labelscrub
from labelscrub.config import SourceSettings
from labelscrub.curation import read_any_decisions, read_report, settle
from labelscrub.curation.exchanged import Returned
from labelscrub.data import read_source
from labelscrub.errors import DataError, EnvironmentProblem, UsageError
from labelscrub.pipeline import check, export, prune
from labelscrub.reporting import read_suspects

CLASSES = ("dark", "left", "right")
TO = {"label-studio": "tasks.json", "fiftyone": "out", "huggingface": "out"}
ALL = list(TO)
FOLDERS = ["fiftyone", "huggingface"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    planted = write_folder(folder / "pets", each=8)
    judge(folder / "pets", folder / "run", planted)
    return folder


@pytest.fixture
def run(finished, tmp_path):
    """A copy of run and images that a test may change; the run says where the images were."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    return tmp_path


def exported(folder, format, **arguments):
    target = folder / TO[format]
    done = export(folder / "run", format=format, to=target, source=folder / "pets", **arguments)
    assert done.target == target
    return done


def decisions(folder, path):
    table = read_report(folder / "run" / "report.parquet")
    return settle(read_any_decisions(path, table, CLASSES).decisions, table)


def entries(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir())


@pytest.mark.parametrize("format", ALL)
def test_what_is_exported_and_not_touched_decides_nothing(run, format):
    done = exported(run, format)
    assert done.images == 6
    settled = decisions(run, done.target)
    assert settled.decisions == () and settled.strange == ()


def answered(tasks, answers):
    """The tasks as Label Studio's JSON export has them, https://labelstud.io/guide/task_format."""
    return [
        {
            "id": number,
            "data": task["data"],
            "annotations": [
                {
                    "id": number,
                    "result": [dict(task["predictions"][0]["result"][0], value={"choices": [answer]})],
                    "was_cancelled": False,
                    "updated_at": "2026-03-09T22:16:08.728378Z",
                }
            ],
            "predictions": task["predictions"],
        }
        for number, (task, answer) in enumerate(zip(tasks, answers, strict=True), 1)
    ]


def test_label_studio_there_and_back(run):
    done = exported(run, "label-studio")
    tasks = json.loads(done.target.read_bytes())
    suspects = read_suspects(run / "run" / "report.parquet")
    assert [task["data"]["row"] for task in tasks] == [s.row for s in suspects]
    for task, suspect in zip(tasks, suspects, strict=True):
        query = parse_qs(urlsplit(task["data"]["image"]).query)["d"][0]
        assert (run / query).read_bytes() == (
            run / "pets" / suspect.path
        ).read_bytes()  # run: the document root
        assert task["predictions"][0]["score"] == pytest.approx(suspect.suggested_probability, abs=1e-6)
    answers = [suspects[0].given_label, suspects[1].suggested_label, "[remove]"]
    (run / "export.json").write_text(json.dumps(answered(tasks[:3], answers)))
    found = {d.row: (d.choice, d.label) for d in decisions(run, run / "export.json").decisions}
    assert found == {
        suspects[0].row: ("keep", ""),
        suspects[1].row: ("relabel", suspects[1].suggested_label),
        suspects[2].row: ("remove", ""),
    }
    assert [name in done.config.read_text() for name in (*CLASSES, "[remove]")] == [True] * 4
    expected = ["export.json", "pets", "run", "run.npy", "tasks.json", "tasks.xml"]
    assert sorted(path.name for path in run.iterdir()) == expected


def test_answers_reach_prune_and_the_baseline(run):
    tasks = json.loads(exported(run, "label-studio").target.read_bytes())
    given, suggested = tasks[0]["data"]["given_label"], tasks[1]["data"]["suggested_label"]
    answers = [*answered(tasks[:3], [given, suggested, "[remove]"]), *tasks[3:]]
    (run / "export.json").write_text(json.dumps(answers))
    done = prune(run / "run", source=run / "pets", decisions=run / "export.json", to=run / "clean.csv")
    assert (done.suspects, done.relabelled) == (1, 1)
    assert any("decides nothing about 3 images" in note for note in done.notes)
    check(
        run / "run",
        baseline=str(run / "baseline.json"),
        update_baseline=True,
        decisions=run / "export.json",
        max_suspects=0,
    )
    stored = (run / "baseline.json").read_text()
    for verdict, count in (("keep", 1), ("relabel", 1), ("remove", 1), ("unreviewed", 3)):
        assert stored.count(f'"{verdict}"') == count


def test_label_studio_images_elsewhere(run):
    tasks = json.loads(exported(run, "label-studio", image_prefix="https://host/x").target.read_bytes())
    for task in tasks:
        assert unquote(task["data"]["image"]) == f"https://host/x/{task['data']['path']}"


def load_fiftyone(folder):
    """As FiftyOne's importer: data files, but hidden ones, by path without extension; labels by that key."""
    files = {}
    for path in (folder / "data").rglob("*"):
        relative = path.relative_to(folder / "data")
        if path.is_file() and not any(part.startswith(".") for part in relative.parts):
            key = normpath(splitext(relative)[0])  # noqa: PTH122  (FiftyOne's rule)
            assert key not in files
            files[key] = path
    document = json.loads((folder / "labels.json").read_bytes())
    assert set(document) == {"classes", "labels"}
    return {files[normpath(key)]: label for key, label in document["labels"].items()}


def test_fiftyone_there_and_back(run):
    done = exported(run, "fiftyone")
    samples = load_fiftyone(done.target)
    suspects = {s.row: s for s in read_suspects(run / "run" / "report.parquet")}
    assert len(samples) == len(suspects) == done.images
    for path, label in samples.items():
        suspect = suspects[label["attributes"]["row"]]
        assert (label["label"], label["attributes"]["rank"]) == (suspect.given_label, suspect.rank)
        assert (
            hashlib.sha256(path.read_bytes()).hexdigest() == label["attributes"]["sha256"] == suspect.sha256
        )
        assert path.relative_to(done.target / "data").as_posix() == suspect.path
    document = json.loads((done.target / "labels.json").read_bytes())
    assert document["classes"] == list(CLASSES)
    first = next(iter(document["labels"].values()))
    first["label"] = first["attributes"]["suggested_label"]
    (run / "back.json").write_text(json.dumps(document))
    (decision,) = decisions(run, run / "back.json").decisions
    assert (decision.row, decision.choice) == (first["attributes"]["row"], "relabel")
    assert decision.label == first["label"]


def test_huggingface_there_and_back(run):
    done = exported(run, "huggingface")
    suspects = read_suspects(run / "run" / "report.parquet")
    manifest = read_source(done.target, SourceSettings())
    assert [manifest.classes[label] for label in manifest.labels] == [s.given_label for s in suspects]
    assert not manifest.skipped
    for row, suspect in enumerate(suspects):
        assert hashlib.sha256(manifest.path_of(row).read_bytes()).hexdigest() == suspect.sha256
    lines = [json.loads(line) for line in (done.target / "metadata.jsonl").read_text().splitlines()]
    lines[2]["label"] = lines[2]["suggested_label"]
    lines[3]["decision"] = "keep"
    (run / "back").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = {d.row: d.label or d.choice for d in decisions(run, run / "back").decisions}
    assert found == {suspects[2].row: suspects[2].suggested_label, suspects[3].row: "keep"}


@pytest.mark.parametrize("format", ALL)
def test_all_of_a_data_set(run, format):
    (run / "pets" / "left" / "broken.png").write_bytes(b"no image")
    shutil.rmtree(run / "run")
    wrong = {path.relative_to(run / "pets").as_posix() for path in (run / "pets" / "left").glob("dark*")}
    judge(run / "pets", run / "run", wrong)
    done = exported(run, format, everything=True)
    assert done.images == 24
    probabilities = []
    if format == "label-studio":
        probabilities = [task["predictions"][0]["score"] for task in json.loads(done.target.read_bytes())]
    elif format == "fiftyone":
        probabilities = [
            label["attributes"]["suggested_probability"] for label in load_fiftyone(done.target).values()
        ]
    else:
        lines = [json.loads(line) for line in (done.target / "metadata.jsonl").read_text().splitlines()]
        probabilities = [line["suggested_probability"] for line in lines]
        assert [line["is_suspect"] for line in lines] == [True] * 2 + [False] * 22
        manifest = read_source(done.target, SourceSettings())
        assert np.bincount(manifest.labels).tolist() == [8, 8, 8]
    assert probabilities == pytest.approx([0.9 / 0.94] * 24, abs=1e-6)  # as `judge` makes them up
    assert decisions(run, done.target).decisions == ()


@pytest.mark.parametrize("format", FOLDERS)
def test_links_and_copies(run, format):
    assert not exported(run, format).linked
    copied = {p.stat().st_ino for p in (run / "out").rglob("*.png")}
    shutil.rmtree(run / "out")
    done = exported(run, format, link=True)
    assert done.linked
    source = {p.stat().st_ino for p in (run / "pets").rglob("*.png")}
    linked = {p.stat().st_ino for p in (run / "out").rglob("*.png")}
    assert linked <= source and not copied & source


@pytest.mark.parametrize("format", ALL)
def test_nothing_is_overwritten(run, format):
    (run / TO[format]).write_text("mine")
    with pytest.raises(UsageError, match="never overwritten"):
        exported(run, format)
    assert (run / TO[format]).read_text() == "mine"
    assert entries(run / "pets") == entries(run / "pets")
    assert not list(run.glob("tasks.xml"))


def test_a_configuration_that_exists_is_left_alone(run):
    (run / "tasks.xml").write_text("mine")
    with pytest.raises(UsageError, match=r"tasks\.xml exists already"):
        exported(run, "label-studio")
    assert not (run / "tasks.json").exists() and (run / "tasks.xml").read_text() == "mine"
    with pytest.raises(UsageError, match="labelling configuration"):
        export(run / "run", format="label-studio", to=run / "x.xml", source=run / "pets")
    with pytest.raises(UsageError, match="exists already"):  # a folder, without a name at that
        export(run / "run", format="label-studio", to=".", source=run / "pets")


def test_a_configuration_left_by_a_kill_does_not_block_the_next_run(run, monkeypatch):
    done = exported(run, "label-studio")
    done.target.unlink()
    before = done.config.stat()
    with monkeypatch.context() as patch:
        patch.setattr("labelscrub.reporting.label_studio.tasks_json", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            exported(run, "label-studio")
    assert exported(run, "label-studio").config == done.config
    after = done.config.stat()  # not even written anew: it may as well be the user's
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("format", ALL)
def test_all_or_nothing(run, format, monkeypatch):
    before = entries(run)

    def full(*_):
        raise OSError(28, "No space left on device")

    if format == "label-studio":
        monkeypatch.setattr("labelscrub.reporting.label_studio.tasks_json", full)
        expected = OSError
    else:
        monkeypatch.setattr(
            f"labelscrub.reporting.{format}.{'labels_json' if format == 'fiftyone' else 'metadata_jsonl'}",
            full,
        )
        expected = EnvironmentProblem
    with pytest.raises(expected, match="No space"):
        exported(run, format)
    assert entries(run) == before and not (run / "out").exists()


@pytest.mark.parametrize("format", FOLDERS)
def test_a_changed_image_is_refused_by_name(run, format):
    suspect = read_suspects(run / "run" / "report.parquet")[2]
    picture("left", 77).save(run / "pets" / suspect.path)
    with pytest.raises(DataError, match=suspect.path.replace(".", r"\.") + r" \(changed\)"):
        exported(run, format)
    assert not (run / "out").exists() and not list(run.glob(".labelscrub*"))


@pytest.mark.parametrize("format", ALL)
def test_other_rows_than_the_run_saw_are_refused(run, format):
    (run / "pets" / "left" / "left-007.png").rename(run / "pets" / "dark" / "left-007.png")
    with pytest.raises(DataError, match="not what the run saw"):
        exported(run, format)
    shutil.rmtree(run / "pets")
    with pytest.raises(UsageError, match="no such file"):
        exported(run, format)


def test_options_of_another_format_are_refused(run):
    with pytest.raises(UsageError, match="--link has no effect"):
        exported(run, "label-studio", link=True)
    with pytest.raises(UsageError, match="--image-prefix has no effect"):
        exported(run, "fiftyone", image_prefix="x")
    with pytest.raises(UsageError, match="inside the data set"):
        export(run / "run", format="fiftyone", to=run / "pets" / "new", source=run / "pets")
    with pytest.raises(UsageError, match="no run"):
        export(run / "nothing", format="fiftyone", to=run / "new")
    assert not (run / "new").exists()


def test_an_edited_report_is_refused(run):
    with (run / "run" / "suspects.csv").open("a") as file:
        file.write("\n")
    with pytest.raises((UsageError, DataError), match=r"suspects\.csv"):
        exported(run, "fiftyone")


def test_labels_alone_have_no_images(tmp_path):
    labels = np.arange(60) % 3
    np.save(tmp_path / "y.npy", labels)
    np.save(tmp_path / "p.npy", np.eye(3, dtype=np.float32)[labels] * 0.9 + 0.1 / 3)
    labelscrub.detect(None, pred_probs=tmp_path / "p.npy", labels=tmp_path / "y.npy", out=tmp_path / "run")
    for format in ALL:
        with pytest.raises(UsageError, match="labels alone"):
            export(tmp_path / "run", format=format, to=tmp_path / "out")


@pytest.mark.parametrize("format", ALL)
def test_a_run_without_suspects(tmp_path, format):
    write_folder(tmp_path / "pets", each=8, wrong=0)
    judge(tmp_path / "pets", tmp_path / "run", ())
    done = exported(tmp_path, format)
    assert done.images == 0
    if format == "label-studio":
        assert json.loads(done.target.read_bytes()) == []
    else:
        table = "labels.json" if format == "fiftyone" else "metadata.jsonl"
        folder = "data" if format == "fiftyone" else "images"
        assert sorted(p.name for p in done.target.iterdir()) == sorted([folder, table])
    assert decisions(tmp_path, done.target).decisions == ()


def test_copies_of_one_image_under_two_labels(tmp_path):
    write_folder(tmp_path / "pets", each=8, wrong=0)
    shutil.copy(tmp_path / "pets" / "dark" / "dark-003.png", tmp_path / "pets" / "left" / "again.png")
    judge(tmp_path / "pets", tmp_path / "run", ())
    done = exported(tmp_path, "label-studio")
    tasks = json.loads(done.target.read_bytes())
    assert [task["data"]["given_label"] for task in tasks] == ["dark", "left"]
    (tmp_path / "export.json").write_text(json.dumps(answered(tasks, ["dark", "[remove]"])))
    found = {d.path: d.choice for d in decisions(tmp_path, tmp_path / "export.json").decisions}
    assert found == {"dark/dark-003.png": "keep", "left/again.png": "remove"}


HOSTILE = (
    "a b&c=1#%.png",
    "caf\udce9.png",
    "\u202egnp.exe.png",
    "nl\nx.png",
    "[red]{{x}}.png",
    "<script><img>.png",
    "train_001.png",
    "twins.png",
    "twins.jpg",
    "TWINS.PNG",
    "x" * 240 + ".png",
)


def test_hostile_names(tmp_path):
    root = tmp_path / "pets ü"
    write_folder(root, each=12, wrong=0)
    wrong = set()
    for number, name in enumerate(HOSTILE):
        kind = "left" if "twins" in name.lower() else CLASSES[number % 3]
        (root / kind).mkdir(exist_ok=True)
        with open(root / kind / name, "wb") as file:  # noqa: PTH123  (a name that is not UTF-8)
            picture(kind, 500 + number).save(file, format="PNG")
        wrong.add(f"{kind}/{name}")
    paths = judge(root, tmp_path / "run", wrong)
    suspects = read_suspects(tmp_path / "run" / "report.parquet")
    assert {paths[s.row] for s in suspects} == wrong
    table = read_report(tmp_path / "run" / "report.parquet")

    done = export(tmp_path / "run", format="fiftyone", to=tmp_path / "fo")
    assert {label["attributes"]["sha256"] for label in load_fiftyone(done.target).values()} == {
        s.sha256 for s in suspects
    }
    assert done.renamed == 7  # byte, mark, line end and "<" in names, two of three twins, and the long one
    done = export(tmp_path / "run", format="huggingface", to=tmp_path / "hf")
    manifest = read_source(done.target, SourceSettings())
    assert not manifest.skipped and len(manifest) == len(wrong)
    assert not [path for path in manifest.paths if "train_" in path]
    done = export(tmp_path / "run", format="label-studio", to=tmp_path / "t.json")
    for task in json.loads(done.target.read_bytes()):
        query = urlsplit(task["data"]["image"]).query.removeprefix("d=")
        assert unquote(query, errors="surrogateescape") == f"pets ü/{paths[task['data']['row']]}"
    for target in ("fo", "hf", "t.json"):
        assert read_any_decisions(tmp_path / target, table, CLASSES) == Returned((), len(wrong))


def test_a_manifest_with_ids_and_paths_that_lead_out(tmp_path):
    write_csv(tmp_path / "data", each=6)
    text = (tmp_path / "data" / "labels.csv").read_text()
    (tmp_path / "data" / "labels.csv").write_text(text.replace(".png", ""))  # ids: the extension is found
    planted = set(read_source(tmp_path / "data" / "labels.csv", SourceSettings()).paths[:3])
    judge(tmp_path / "data" / "labels.csv", tmp_path / "ids", planted)
    tasks = json.loads(
        export(tmp_path / "ids", format="label-studio", to=tmp_path / "t.json").target.read_bytes()
    )
    assert {t["data"]["image"] for t in tasks} == {
        f"/data/local-files/?d=data/{path}.png" for path in planted
    }

    (tmp_path / "data" / "sub").mkdir()
    (tmp_path / "data" / "sub" / "out.csv").write_text(text.replace("images/", "../images/"))
    (tmp_path / "data" / "sub" / "abs.csv").write_text(text.replace("images/", f"{tmp_path}/data/images/"))
    for name in ("out", "abs"):
        source = tmp_path / "data" / "sub" / f"{name}.csv"
        paths = list(read_source(source, SourceSettings(allow_outside=True)).paths)
        judge(source, tmp_path / name, set(paths[:2]), allow_outside=True)
        done = export(tmp_path / name, format="huggingface", to=tmp_path / f"{name}-hf")
        assert all(Path(p).resolve().is_relative_to(done.target) for p in done.target.rglob("*"))
        assert len(read_source(done.target, SourceSettings())) == done.images == 2
        with pytest.raises(UsageError, match="--image-prefix"):
            export(tmp_path / name, format="label-studio", to=tmp_path / f"{name}.json")
        export(tmp_path / name, format="label-studio", to=tmp_path / f"{name}.json", image_prefix="https://h")
        assert "https://h/.." not in (tmp_path / f"{name}.json").read_text()


def encoded(kind, number, format):
    stream = BytesIO()
    picture(kind, number).save(stream, format=format)
    return stream.getvalue()


@pytest.mark.parametrize("format", FOLDERS)
def test_embedded_images_are_written_out(tmp_path, format):
    names = [None, "../a.png", "a.png", "train-x.jpg", ""]
    formats = ["PNG", "JPEG", "PNG", "WEBP", "BMP"]
    images = [
        {"bytes": encoded(CLASSES[n % 3], n, formats[n % 5]), "path": names[n] if n < 5 else f"x/{n}.png"}
        for n in range(30)
    ]
    labels = [CLASSES[n % 3] for n in range(30)]
    pq.write_table(pa.table({"image": images, "label": labels}), tmp_path / "pets.parquet")
    paths = read_source(tmp_path / "pets.parquet", SourceSettings()).paths
    judge(tmp_path / "pets.parquet", tmp_path / "run", set(paths[:5]))
    done = export(tmp_path / "run", format=format, to=tmp_path / "out")
    assert done.images == 5
    if format == "huggingface":
        lines = [json.loads(line) for line in (done.target / "metadata.jsonl").read_text().splitlines()]
        by_row = {line["row"]: done.target / line["file_name"] for line in lines}
        expected = ["row-0000000.png", "a.png.jpg", "a.png", "trainset-x.jpg.webp", "row-0000004.bmp"]
        assert [by_row[row].name for row in range(5)] == expected
    else:
        by_row = {label["attributes"]["row"]: path for path, label in load_fiftyone(done.target).items()}
    assert [by_row[row].read_bytes() for row in range(5)] == [image["bytes"] for image in images[:5]]
    with pytest.raises(UsageError, match="inside a Parquet file"):
        export(tmp_path / "run", format="label-studio", to=tmp_path / "t.json")
    export(tmp_path / "run", format="label-studio", to=tmp_path / "t.json", image_prefix="https://h/x")
    changed = [dict(image, bytes=encoded("dark", 99, "PNG")) for image in images]
    pq.write_table(pa.table({"image": changed, "label": labels}), tmp_path / "pets.parquet")
    with pytest.raises(DataError, match="changed"):
        export(tmp_path / "run", format=format, to=tmp_path / "again")
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize("format", FOLDERS)
def test_embedded_images_are_on_the_disk_before_the_export_gets_its_name(tmp_path, format, monkeypatch):
    images = [{"bytes": encoded(CLASSES[n % 3], n, "PNG"), "path": f"{n % 3}/{n}.png"} for n in range(30)]
    table = pa.table({"image": images, "label": [CLASSES[n % 3] for n in range(30)]})
    pq.write_table(table, tmp_path / "pets.parquet")
    paths = read_source(tmp_path / "pets.parquet", SourceSettings()).paths
    judge(tmp_path / "pets.parquet", tmp_path / "run", set(paths[:5]))
    synced, missing, real = set(), [], os.rename

    def rename(old, new):
        made = [old, *old.rglob("*")]
        missing.extend(path for path in made if path.stat().st_ino not in synced)
        real(old, new)

    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.add(os.fstat(descriptor).st_ino))
    monkeypatch.setattr(os, "rename", rename)
    done = export(tmp_path / "run", format=format, to=tmp_path / "out")
    assert len(list(done.target.rglob("*.png"))) == 5 and not missing


def test_a_stopped_export_leaves_nothing(run, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("labelscrub.reporting.huggingface.metadata_jsonl", stop)
    with pytest.raises(KeyboardInterrupt):
        exported(run, "huggingface")
    assert not (run / "out").exists() and not list(run.glob(".labelscrub*"))
