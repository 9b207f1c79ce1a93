"""`detect(B, train_on=A)`: a network trained on one source judges the labels of another."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from pictures import CLASSES, QUICK, picture, write_folder
from PIL import Image

import labelscrub
from labelscrub.errors import DataError, ModelError, UsageError
from labelscrub.pipeline import check, prune
from labelscrub.records import Images

STABLE = ("suspects.csv", "report.parquet", "report.html", "clean.csv", "predictions.npz")
EACH = 16


def write_judged(folder, names=CLASSES, *, wrong=2):
    """Other pictures than write_folder's, the first `wrong` of each kind filed under the next class."""
    planted = set()
    for number, kind in enumerate(CLASSES):
        for index in range(EACH):
            label = names[(number + 1) % 3 if index < wrong else number]
            (folder / label).mkdir(parents=True, exist_ok=True)
            name = f"{label}/{kind}-{index:03d}.png"
            picture(kind, 50_000 + 1000 * number + index).save(folder / name)
            if index < wrong:
                planted.add(name)
    return planted


def write_listing(folder, name, header, root, patient=None):
    """NAME.csv beside a folder NAME of class folders, with paths relative to `root`."""
    rows = [header]
    for number, file in enumerate(sorted((folder / name).rglob("*.png"))):
        row = f"{file.relative_to(root).as_posix()},{file.parent.name}"
        rows.append(row if patient is None else f"{row},{patient(number)}")
    (folder / f"{name}.csv").write_text("\n".join(rows) + "\n")
    return folder / f"{name}.csv"


def judge(source, train_on, out, **more):
    return labelscrub.detect(source, train_on=train_on, out=out, **{"workers": 0, **QUICK, **more})


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Two sources with planted errors in both, and a finished run."""
    folder = tmp_path_factory.mktemp("judge")
    write_folder(folder / "a")
    planted = write_judged(folder / "b")
    return folder, planted, judge(folder / "b", folder / "a", folder / "run")


@pytest.fixture
def sources(done, tmp_path):
    """A copy of the two that a test may change."""
    for name in ("a", "b"):
        shutil.copytree(done[0] / name, tmp_path / name)
    return tmp_path


def outputs(run):
    return {name: (run / name).read_bytes() for name in STABLE}


def test_planted_errors_of_the_judged_are_the_suspects(done):
    _, planted, report = done
    assert {row["path"] for row in report.suspects()} == planted
    assert all(row["suggested_label"] == row["path"].split("/")[1].split("-")[0] for row in report.suspects())
    assert (report.findings.fold == -1).all() and np.isnan(report.findings.aum).all()
    shown, confidence = report.findings.score, report.findings.self_confidence
    np.testing.assert_allclose(shown, 1 - confidence, atol=1e-6)  # what `auto` takes without AUM
    s = report.summary
    assert (s.listed, s.used, s.suspects, s.not_assessed) == (48, 48, 6, ())
    assert s.accuracy == pytest.approx(42 / 48)
    assert s.notes[0] == "judged by one network, which was trained on 72 images of another source"


def test_run_json_says_what_was_trained_on(done):
    folder, _, _ = done
    run = json.loads((folder / "run" / "run.json").read_bytes())
    assert run["source"] == str(folder / "b")
    assert run["provenance"]["train_source"] == str((folder / "a").resolve())
    assert run["provenance"]["training"]["images"] == 72
    assert run["provenance"]["train_data"] != run["provenance"]["data"]
    assert str(folder).encode() not in (folder / "run" / "report.html").read_bytes()


def test_the_same_again_trains_nothing_and_gives_the_same_bytes(done):
    folder, _, _ = done
    before, news = outputs(folder / "run"), []
    judge(folder / "b", folder / "a", folder / "run", progress=news.append)
    assert outputs(folder / "run") == before
    assert any("trained before" in event.message for event in news)
    assert not any(event.epoch for event in news)


class StopError(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize(("stage", "trains_again"), [("train", True), ("detect", False), ("report", False)])
def test_a_killed_run_goes_on_and_gives_an_undisturbed_runs_bytes(done, tmp_path, stage, trains_again):
    folder, _, _ = done

    def kill(event):
        if event.stage == stage and (event.done or stage != "train"):
            raise StopError

    with pytest.raises(StopError):
        judge(folder / "b", folder / "a", tmp_path / "run", progress=kill)
    assert not (tmp_path / "run" / "run.json").exists()
    news = []
    judge(folder / "b", folder / "a", tmp_path / "run", progress=news.append)
    assert any(event.epoch for event in news) == trains_again
    assert outputs(tmp_path / "run") == outputs(folder / "run")


def test_a_run_of_the_other_kind_is_refused_before_anything_is_read(done):
    folder, _, _ = done
    stages = []
    with pytest.raises(UsageError, match=r"settings\.train_on: another source -> \(none\)"):
        labelscrub.detect(folder / "b", out=folder / "run", workers=0, progress=stages.append, **QUICK)
    assert not stages


def test_a_changed_source_to_train_on_is_refused(done, sources):
    folder, _, _ = done
    shutil.copytree(folder / "run", sources / "run")
    picture("left", 9).save(sources / "a" / "dark" / "dark-010.png")
    with pytest.raises(UsageError, match=r"train_data: \w{8}\.\. -> \w{8}\.\.") as caught:
        judge(sources / "b", sources / "a", sources / "run")
    assert "  data:" not in str(caught.value)


def test_images_that_are_judged_too_are_not_trained_on(sources):
    shutil.copy(sources / "b" / "dark" / "dark-005.png", sources / "a" / "dark" / "copy.png")
    shutil.copy(sources / "b" / "left" / "left-005.png", sources / "a" / "right" / "copy.png")
    report = judge(sources / "b", sources / "a", sources / "run")
    assert report.provenance["training"]["images"] == 72
    note = "2 images to train on are judged too (the same bytes) and were left out"
    assert f"{note}; 1 of them are labelled differently in the two sources" in report.summary.notes


def test_with_nothing_left_to_train_on_there_is_no_run(sources):
    with pytest.raises(DataError, match="no image is left to train on"):
        judge(sources / "b", sources / "b", sources / "run")


def test_classes_that_were_not_learnt_are_not_assessed(sources):
    (sources / "b" / "new").mkdir()
    for index in range(4):
        picture("dark", 70_000 + index).save(sources / "b" / "new" / f"{index}.png")
    (sources / "a" / "old").mkdir()
    picture("dark", 70_100).save(sources / "a" / "old" / "one.png")
    report = judge(sources / "b", sources / "a", sources / "run")
    assert report.summary.not_assessed == ("new",)
    assert "not assessed, with fewer than 2 images to learn them from: 'new'" in report.summary.notes
    assert not any(row["given_label"] == "new" for row in report.suspects())
    assert [c.label for c in report.summary.classes] == ["dark", "left", "new", "right", "old"]
    # the run's own probabilities serve another detection, though `sources / b` alone has a class less
    again = labelscrub.detect(
        sources / "b", pred_probs=sources / "run", out=sources / "again", filter="by-class", workers=0
    )
    assert again.summary.not_assessed == ("new",)
    assert {r["path"] for r in report.suspects()} <= {r["path"] for r in again.suspects()}


def test_a_class_that_no_judged_label_names_is_suggested(sources):
    shutil.rmtree(sources / "b" / "right")
    report = judge(sources / "b", sources / "a", sources / "run")
    found = {row["path"]: row["suggested_label"] for row in report.suspects()}
    assert found == {
        "dark/right-000.png": "right",
        "dark/right-001.png": "right",
        "left/dark-000.png": "dark",
        "left/dark-001.png": "dark",
    }


@pytest.mark.parametrize(
    ("names", "common"), [(("Dark", "Left", "Right"), 0), (("dark", "Left", "Right"), 1)]
)
def test_fewer_than_two_classes_in_common_are_a_data_error(done, tmp_path, names, common):
    write_judged(tmp_path / "b", names)
    with pytest.raises(DataError, match=f"^{common} classes have at least 2 images both.*'Left'"):
        judge(tmp_path / "b", done[0] / "a", tmp_path / "run")
    assert not (tmp_path / "run" / "predictions.npz").exists()  # noticed before the training


def test_class_names_that_nearly_agree_are_pointed_out(done, tmp_path):
    write_judged(tmp_path / "b", ("dark", "left", "Right"))
    report = judge(tmp_path / "b", done[0] / "a", tmp_path / "run")
    assert report.summary.not_assessed == ("Right",)
    assert any("nearly the same" in note and "'Right'" in note for note in report.summary.notes)


def test_labels_at_random_end_in_a_model_error(done, tmp_path):
    generator = np.random.default_rng(0)
    for index in range(60):
        label = CLASSES[generator.integers(3)]
        (tmp_path / "b" / label).mkdir(parents=True, exist_ok=True)
        picture(CLASSES[index % 3], 90_000 + index).save(tmp_path / "b" / label / f"{index}.png")
    with pytest.raises(ModelError, match="no better than chance") as caught:
        judge(tmp_path / "b", done[0] / "a", tmp_path / "run")
    assert "train longer" in str(caught.value)
    assert not (tmp_path / "run" / "run.json").exists()


@pytest.mark.parametrize("grey", ["a", "b"])
def test_the_images_trained_on_decide_size_and_colour(sources, grey):
    other = {"a": "b", "b": "a"}[grey]
    for file in (sources / other).rglob("*.png"):
        with Image.open(file) as image:
            image.convert("RGB").resize((20, 20)).save(file)
    report = judge(sources / "b", sources / "a", sources / "run")
    training = report.provenance["training"]
    assert (training["channels"], training["side"]) == ((1, 10) if grey == "a" else (3, 20))
    assert ("48 colour images read as grey" in report.summary.notes) == (grey == "a")
    assert 5 <= report.summary.suspects <= 7  # 6 are wrong


def test_two_splits_of_one_folder(done, tmp_path):
    folder, planted, report = done
    for name, split in (("a", "train"), ("b", "test")):
        shutil.copytree(folder / name, tmp_path / "images" / split)
    images = tmp_path / "images"
    with pytest.raises(UsageError, match=r"^--train-on: .* has splits: test, train") as caught:
        judge(images, images, tmp_path / "run", split="test")
    assert "--train-split NAME" in caught.value.fix
    found = judge(images, images, tmp_path / "run", split="test", train_split="train")
    assert {row["path"] for row in found.suspects()} == {f"test/{path}" for path in planted}
    np.testing.assert_array_equal(found.findings.score, report.findings.score)  # as from two folders
    assert len(list((tmp_path / "run" / "cache").rglob("*.npy"))) == 2  # neither drives the other out


def test_what_the_source_to_train_on_lacks_is_told(sources):
    (sources / "a" / "dark" / "dark-003.png").write_bytes(b"no image")
    report = judge(sources / "b", sources / "a", sources / "run")
    assert any(note.startswith("trained on a: 1 of 72 listed are not used") for note in report.summary.notes)
    assert report.summary.listed == report.summary.used == 48


def test_column_options_are_the_manifests_where_the_other_is_a_folder(sources):
    listing = write_listing(sources, "b", "path,noisy", sources / "b")
    options = {"label_column": "noisy", "image_root": str(sources / "b")}
    report = judge(listing, sources / "a", sources / "run", **options)
    assert report.summary.suspects == 6
    pruned = prune(sources / "run")
    assert (pruned.kept, pruned.suspects) == (42, 6)
    # and the other way round: prune reads the folder again, without the manifest's columns
    listing = write_listing(sources, "a", "path,noisy", sources / "a")
    options["image_root"] = str(sources / "a")
    judge(sources / "b", listing, sources / "run2", **options)
    assert prune(sources / "run2").suspects == 6
    with pytest.raises(UsageError, match="--group-column needs groups in both"):
        judge(sources / "b", listing, sources / "run3", group_column="patient", **options)


def test_a_group_that_is_judged_is_not_trained_on(sources):
    patients = {"a": lambda i: i if i % 4 == 0 else "", "b": lambda i: i + 4 if i % 4 == 0 else ""}
    for name, patient in patients.items():
        write_listing(sources, name, "path,label,patient", sources, patient)
    report = judge(sources / "b.csv", sources / "a.csv", sources / "run", group_column="patient")
    # patients 0, 4, .. 68 to train on; 4, 8, .. 48 to judge; those without a group are no group
    assert "12 images to train on are of a group that is judged: left out" in report.summary.notes
    assert report.provenance["training"]["images"] == 60


def test_prune_and_check_are_about_the_judged(done, tmp_path):
    folder, planted, _ = done
    pruned = prune(folder / "run", to=tmp_path / "clean.csv")
    assert (pruned.listed, pruned.kept, pruned.suspects) == (48, 42, 6)
    kept = {line.split(",")[0] for line in (tmp_path / "clean.csv").read_text().splitlines()[1:]}
    everything = {p.relative_to(folder / "b").as_posix() for p in (folder / "b").rglob("*.png")}
    assert kept == everything - planted
    assert check(folder / "run", max_suspects=6).passed
    verdict = check(
        folder / "b", max_suspects=5, train_on=folder / "a", out=tmp_path / "run", workers=0, **QUICK
    )
    assert (verdict.passed, verdict.source) == (False, str(folder / "b"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"train_on": "nowhere"}, "--train-on: there is no source nowhere"),
        ({"train_on": ""}, "--train-on: the source's name is empty"),
        ({"train_on": None, "train_split": "train"}, "--train-split has no effect without --train-on"),
        ({"source": None}, "no source given"),
        ({"method": "aum"}, "--method aum judges the images that it trains on"),
        ({"loss": "auto"}, "--loss auto needs images that are trained on"),
        ({"method": "calibrated"}, "--method calibrated needs images that were trained on"),
        ({"score": "aum"}, "--score aum needs images that were trained on"),
        ({"pred_probs": "a"}, "--pred-probs trains nothing"),
        ({"out": "a/run"}, "inside the source"),
        ({"train_on": "run/clean.csv"}, "is in the run directory"),
        ({"train_split": "train"}, "--train-on: .*a has no split folders, so --train-split has no effect"),
        ({"label_column": "y"}, "--label-column has no effect on an image folder"),
    ],
)
def test_arguments_that_contradict_each_other_are_refused(sources, monkeypatch, arguments, message):
    monkeypatch.chdir(sources)
    (sources / "run").mkdir()
    (sources / "run" / "clean.csv").touch()
    (sources / "run" / "state.json").write_text('{"program": "labelscrub", "format": 1, "fingerprint": null}')
    with pytest.raises(UsageError, match=message):
        labelscrub.detect(
            **{"source": "b", "train_on": "a", "out": "run", "workers": 0, **QUICK, **arguments}
        )


def test_sources_decoded_at_different_sizes_are_refused(tmp_path):
    """The seam that `labelscrub bench` uses."""
    from labelscrub.pipeline.judging import train_on

    def made(side):
        return Images(np.zeros((4, side, side, 1), np.uint8), np.arange(4), np.zeros((4, 32), np.uint8))

    labels = np.array([0, 0, 1, 1])
    settings = labelscrub.Settings()
    with pytest.raises(DataError, match="to train on are 8 x 8 grey, those to judge 10 x 10 grey"):
        train_on(None, labels, made(8), labels, made(10), ("a", "b"), settings, {}, lambda event: None)
