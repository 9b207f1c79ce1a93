"""The whole pipeline on small pictures: what goes in comes out, found or accounted for."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from pictures import QUICK, picture, write_csv, write_folder

import labelscrub
from labelscrub.errors import DataError, ModelError, UsageError

STABLE = ("suspects.csv", "report.parquet", "report.html", "clean.csv", "predictions.npz")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A folder with planted errors, and a finished run on it."""
    folder = tmp_path_factory.mktemp("done")
    planted = write_folder(folder / "images")
    report = labelscrub.detect(folder / "images", out=folder / "run", workers=0, **QUICK)
    return folder, planted, report


def test_planted_errors_are_the_suspects(done):
    _, planted, report = done
    assert {row["path"] for row in report.suspects()} == planted
    assert all(row["suggested_label"] == row["path"].split("/")[1].split("-")[0] for row in report.suspects())


def test_every_listed_image_is_in_the_report(done):
    folder, planted, report = done
    s = report.summary
    assert (s.listed, s.used, s.unreadable, s.missing, s.skipped) == (72, 72, 0, 0, 0)
    table = pq.read_table(folder / "run" / "report.parquet").to_pydict()
    assert len(table["path"]) == 72
    assert {p for p, suspect in zip(table["path"], table["is_suspect"], strict=True) if suspect} == planted


def test_the_cleaned_manifest_is_the_source_without_the_suspects(done):
    folder, planted, _ = done
    lines = (folder / "run" / "clean.csv").read_text().splitlines()
    everything = {p.relative_to(folder / "images").as_posix() for p in (folder / "images").rglob("*.png")}
    assert {line.split(",")[0] for line in lines[1:]} == everything - planted


def test_run_json_names_what_decided_the_result(done):
    folder, _, report = done
    run = json.loads((folder / "run" / "run.json").read_bytes())
    assert run["summary"]["suspects"] == report.summary.suspects == 6
    assert run["settings"]["loss"] == "pz"
    assert run["provenance"]["training"]["network"] == "fast"
    assert set(run["files"]) == {"suspects.csv", "report.parquet", "report.html", "clean.csv"}


def test_the_same_again_trains_nothing_and_gives_the_same_bytes(done):
    folder, _, _ = done
    before = {name: (folder / "run" / name).read_bytes() for name in STABLE}
    messages = []
    labelscrub.detect(
        folder / "images",
        out=folder / "run",
        workers=0,
        progress=lambda event: messages.append(event.message),
        **QUICK,
    )
    assert before == {name: (folder / "run" / name).read_bytes() for name in STABLE}
    assert any("trained before" in message for message in messages)


def test_other_settings_are_refused_with_what_differs_and_taken_with_restart(tmp_path):
    write_folder(tmp_path / "images")
    labelscrub.detect(tmp_path / "images", out=tmp_path / "run", workers=0, **QUICK)
    stages = []
    with pytest.raises(UsageError, match=r"seed: 0 -> 1"):
        labelscrub.detect(
            tmp_path / "images", out=tmp_path / "run", workers=0, seed=1, progress=stages.append, **QUICK
        )
    assert not stages  # noticed before anything is read
    labelscrub.detect(tmp_path / "images", out=tmp_path / "run", workers=0, seed=1, restart=True, **QUICK)


def test_other_data_is_refused(tmp_path):
    write_folder(tmp_path / "images")
    labelscrub.detect(tmp_path / "images", out=tmp_path / "run", workers=0, **QUICK)
    picture("dark", 99).save(tmp_path / "images" / "dark" / "new.png")
    with pytest.raises(UsageError, match=r"data: "):
        labelscrub.detect(tmp_path / "images", out=tmp_path / "run", workers=0, **QUICK)


class StopError(Exception):
    """Stands for a kill in the midst of training."""


def stop_in_fold(fold):
    """A progress callback that kills the run there."""

    def progress(event):
        if event.stage == "train" and event.fold == fold and event.done:
            raise StopError

    return progress


def test_an_interrupted_run_goes_on_and_gives_an_undisturbed_runs_bytes(done, tmp_path):
    folder, _, _ = done

    with pytest.raises(StopError):
        labelscrub.detect(
            folder / "images", out=tmp_path / "run", workers=0, progress=stop_in_fold(2), **QUICK
        )
    assert (tmp_path / "run" / "fold-0.npz").exists()
    trained = set()
    labelscrub.detect(
        folder / "images",
        out=tmp_path / "run",
        workers=0,
        progress=lambda event: trained.add(event.fold),
        **QUICK,
    )
    assert 1 not in trained and {2, 3} <= trained
    for name in STABLE:
        assert (tmp_path / "run" / name).read_bytes() == (folder / "run" / name).read_bytes(), name
    assert not (tmp_path / "run" / "fold-0.npz").exists()


def test_a_damaged_fold_is_trained_again(done, tmp_path):
    folder, _, _ = done

    with pytest.raises(StopError):
        labelscrub.detect(
            folder / "images", out=tmp_path / "run", workers=0, progress=stop_in_fold(3), **QUICK
        )
    damaged = tmp_path / "run" / "fold-1.npz"
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    messages = []
    labelscrub.detect(
        folder / "images",
        out=tmp_path / "run",
        workers=0,
        progress=lambda event: messages.append(event.message),
        **QUICK,
    )
    assert any("fold-1.npz is damaged" in message for message in messages)
    assert (tmp_path / "run" / "suspects.csv").read_bytes() == (folder / "run" / "suspects.csv").read_bytes()


@pytest.mark.parametrize("method", ["cl", "aum"])
def test_a_csv_keeps_its_bytes_in_either_method(tmp_path, method):
    planted = write_csv(tmp_path)
    report = labelscrub.detect(
        tmp_path / "labels.csv", out=tmp_path / "run", method=method, workers=0, **QUICK
    )
    found = {row["path"] for row in report.suspects()}
    if method == "cl":
        assert found == planted
    source = (tmp_path / "labels.csv").read_bytes().splitlines(keepends=True)
    cleaned = (tmp_path / "run" / "clean.csv").read_bytes()
    kept = [line for line in source[1:] if line.split(b",")[1].decode() not in found]
    assert cleaned == source[0] + b"".join(kept)


def test_conflicting_copies_come_first_and_share_a_fold(tmp_path):
    write_folder(tmp_path / "images")
    original = (tmp_path / "images" / "dark" / "dark-010.png").read_bytes()
    (tmp_path / "images" / "left" / "copy.png").write_bytes(original)
    report = labelscrub.detect(tmp_path / "images", out=tmp_path / "run", workers=0, **QUICK)
    first, second = report.suspects()[:2]
    assert {first["path"], second["path"]} == {"dark/dark-010.png", "left/copy.png"}
    assert first["conflict"] == second["conflict"] == 1
    assert first["fold"] == second["fold"]
    assert {row["path"]: row["is_suspect"] for row in (first, second)}["left/copy.png"]


def test_images_of_one_group_share_a_fold(tmp_path):
    write_folder(tmp_path / "images", each=12, wrong=0)
    paths = sorted(p.relative_to(tmp_path).as_posix() for p in (tmp_path / "images").rglob("*.png"))
    rows = [f"{path},{path.split('/')[1]},patient{i % 9}" for i, path in enumerate(paths)]
    (tmp_path / "m.csv").write_text("path,label,patient\n" + "\n".join(rows) + "\n")
    report = labelscrub.detect(
        tmp_path / "m.csv", out=tmp_path / "run", group_column="patient", workers=0, **QUICK
    )
    folds = {}
    for index in range(len(report.rows)):
        folds.setdefault(int(report.rows[index]) % 9, set()).add(int(report.findings.fold[index]))
    assert all(len(found) == 1 for found in folds.values())


def test_a_class_smaller_than_the_folds_is_reported_as_not_assessed(tmp_path):
    write_folder(tmp_path / "images", wrong=0)
    (tmp_path / "images" / "rare").mkdir()
    picture("dark", 5005).save(tmp_path / "images" / "rare" / "one.png")
    report = labelscrub.detect(tmp_path / "images", out=tmp_path / "run", workers=0, **QUICK)
    assert report.summary.not_assessed == ("rare",)
    assert not {row["path"] for row in report.suspects()} & {"rare/one.png"}


def test_labels_at_random_end_in_a_model_error(tmp_path):
    generator = np.random.default_rng(0)
    for index in range(90):
        label = ("cat", "dog")[generator.integers(2)]
        (tmp_path / "images" / label).mkdir(parents=True, exist_ok=True)
        picture("dark", index).save(tmp_path / "images" / label / f"{index}.png")
    with pytest.raises(ModelError, match="chance"):
        labelscrub.detect(tmp_path / "images", out=tmp_path / "run", workers=0, **QUICK)
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_diverged_training_ends_in_a_model_error(tmp_path):
    write_folder(tmp_path / "images")
    with pytest.raises(ModelError):
        labelscrub.detect(tmp_path / "images", out=tmp_path / "run", workers=0, **{**QUICK, "lr": 1e9})


def test_a_runs_predictions_serve_another_detection(done, tmp_path):
    folder, planted, report = done
    again = labelscrub.detect(
        folder / "images", pred_probs=folder / "run", out=tmp_path / "run", filter="by-class", workers=0
    )
    assert planted <= {row["path"] for row in again.suspects()}
    np.testing.assert_array_equal(again.findings.aum, report.findings.aum)


def test_probabilities_and_labels_need_no_images(tmp_path):
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 90)
    probs = np.full((90, 3), 0.05)
    probs[np.arange(90), labels] = 0.9
    labels[7] = (labels[7] + 1) % 3
    np.save(tmp_path / "p.npy", probs.astype(np.float32))
    np.save(tmp_path / "y.npy", labels)
    report = labelscrub.detect(
        None, pred_probs=tmp_path / "p.npy", labels=tmp_path / "y.npy", out=tmp_path / "run"
    )
    assert [row["row"] for row in report.suspects()] == [7]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"source": None}, "no source given"),
        ({"source": ""}, "name is empty"),
        ({"source": "x", "labels": "y"}, "--labels goes with"),
        ({"source": "x", "pred_probs": "p", "method": "aum"}, "trains its own models"),
        ({"source": "x", "settings": labelscrub.Settings(), "folds": 3}, "either settings or single options"),
    ],
)
def test_arguments_that_contradict_each_other_are_refused(tmp_path, arguments, message):
    with pytest.raises(UsageError, match=message):
        labelscrub.detect(arguments.pop("source"), out=tmp_path / "run", **arguments)


def test_the_run_directory_may_not_lie_in_the_images(tmp_path):
    write_folder(tmp_path / "images")
    with pytest.raises(UsageError, match="inside"):
        labelscrub.detect(tmp_path / "images", out=tmp_path / "images" / "run", **QUICK)


def test_one_class_is_a_data_error(tmp_path):
    (tmp_path / "images" / "only").mkdir(parents=True)
    for index in range(9):
        picture("dark", index).save(tmp_path / "images" / "only" / f"{index}.png")
    with pytest.raises(DataError, match="2 classes"):
        labelscrub.detect(tmp_path / "images", out=tmp_path / "run", workers=0, **QUICK)


def test_an_output_somebody_worked_on_is_not_written_over(done, tmp_path):
    folder, _, _ = done
    labelscrub.detect(folder / "images", out=tmp_path / "run", workers=0, **QUICK)
    with (tmp_path / "run" / "suspects.csv").open("a") as file:
        file.write("checked by me\n")
    with pytest.raises(UsageError, match=r"suspects\.csv was edited"):
        labelscrub.detect(folder / "images", out=tmp_path / "run", workers=0, **QUICK)
    assert (tmp_path / "run" / "suspects.csv").read_text().endswith("checked by me\n")


def test_a_run_is_not_the_source_of_itself(done):
    folder, _, _ = done
    for arguments in (
        {"source": folder / "images", "pred_probs": folder / "run"},
        {"source": folder / "run" / "clean.csv", "image_root": str(folder / "images")},
    ):
        with pytest.raises(UsageError, match="in the run directory"):
            labelscrub.detect(arguments.pop("source"), out=folder / "run", restart=True, **arguments)
    assert (folder / "run" / "predictions.npz").exists()


def test_probabilities_of_method_aum_are_not_taken_as_out_of_fold(done, tmp_path):
    folder, _, _ = done
    labelscrub.detect(folder / "images", out=tmp_path / "aum", method="aum", workers=0, **QUICK)
    with pytest.raises(UsageError, match="not out of fold"):
        labelscrub.detect(folder / "images", pred_probs=tmp_path / "aum", out=tmp_path / "run", workers=0)


def test_fewer_groups_than_folds_are_refused(tmp_path):
    write_folder(tmp_path / "images", each=6, wrong=0)
    paths = sorted(p.relative_to(tmp_path).as_posix() for p in (tmp_path / "images").rglob("*.png"))
    rows = "".join(f"{path},{path.split('/')[1]},{i % 2}\n" for i, path in enumerate(paths))
    (tmp_path / "m.csv").write_text("path,label,patient\n" + rows)
    with pytest.raises(UsageError, match="only 2 groups"):
        labelscrub.detect(
            tmp_path / "m.csv", out=tmp_path / "run", group_column="patient", workers=0, **QUICK
        )
