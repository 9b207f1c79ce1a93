"""What a stored run still tells: the same as the run did, and as other filters would have."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
from pictures import CLASSES, QUICK, picture
from scored_runs import write_source

import labelscrub
from labelscrub.config import FILTERS
from labelscrub.errors import DataError, UsageError
from labelscrub.evaluation.stored import ranking_keys, read_stored, suspects_by_method


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A source and a run of it whose filter is not "both"."""
    folder = tmp_path_factory.mktemp("trained")
    write_source(folder)
    options = {**QUICK, "epochs": 8}
    labelscrub.detect(folder / "labels.csv", out=folder / "run", workers=0, filter="by-class", **options)
    return folder


@pytest.fixture(scope="module")
def brought(tmp_path_factory):
    """A source and a run of it for each filter, on the same probabilities; filter -> its suspects."""
    folder = tmp_path_factory.mktemp("brought")
    manifest, suspects = write_source(folder), {}
    for name in FILTERS:
        report = labelscrub.detect(
            manifest, out=folder / name, workers=0, filter=name, pred_probs=folder / "probs.npy"
        )
        assert (report.findings.conflict > 0).sum() == 6
        suspects["cl", name] = report.findings.is_suspect
    assert len({mask.tobytes() for mask in suspects.values()}) == 3  # else little below could fail
    return folder, suspects


def test_a_run_with_both_tells_the_suspects_of_every_filter(brought):
    folder, suspects = brought
    found, notes = suspects_by_method(read_stored(folder / "both"))
    np.testing.assert_equal(found, suspects)
    assert notes == []


def test_copies_need_the_probabilities_where_the_filter_was_another(brought):
    folder, suspects = brought
    found, notes = suspects_by_method(read_stored(folder / "by-class"))
    np.testing.assert_equal(found, {("cl", "by-class"): suspects["cl", "by-class"]})
    assert len(notes) == 1 and "other filters are left out" in notes[0]


def test_a_trained_run_has_the_probabilities(trained, tmp_path):
    found, notes = suspects_by_method(read_stored(trained / "run"))
    assert (list(found), notes) == ([("cl", "by-class"), ("cl", "both"), ("cl", "by-noise-rate")], [])
    for name in FILTERS:
        report = labelscrub.detect(
            trained / "labels.csv", out=tmp_path / name, workers=0, filter=name, pred_probs=trained / "run"
        )
        np.testing.assert_array_equal(found["cl", name], report.findings.is_suspect)


def test_keys_sort_as_the_report_does(trained, brought):
    stored = read_stored(trained / "run")
    keys, notes = ranking_keys(stored)
    assert (list(keys), notes) == (["self-confidence", "normalized-margin", "aum"], [])
    shown = stored.table.score[stored.table.used]  # auto: aum, which was recorded
    np.testing.assert_allclose(1 / (1 + np.exp(-keys["aum"])), shown, rtol=1e-6)

    stored = read_stored(brought[0] / "both")
    keys, notes = ranking_keys(stored)
    assert list(keys) == ["self-confidence", "normalized-margin"]
    assert notes == ["AUM was not recorded: the probabilities were brought"]
    np.testing.assert_allclose(keys["self-confidence"], stored.table.score, atol=1e-7)
    probs = np.load(brought[0] / "probs.npy")
    given = probs[np.arange(len(probs)), stored.given]
    others = np.where(np.arange(3) == stored.given[:, None], -1, probs).max(axis=1)
    np.testing.assert_allclose(keys["normalized-margin"], (1 + others - given) / 2, atol=1e-6)


def test_aum_of_two_runs_is_told_from_each_runs_threshold(tmp_path):
    write_source(tmp_path)
    report = labelscrub.detect(
        tmp_path / "labels.csv", out=tmp_path / "run", workers=0, method="aum", **{**QUICK, "epochs": 12}
    )
    stored = read_stored(tmp_path / "run")
    found, _ = suspects_by_method(stored)
    assert list(found) == [("aum", "")]
    np.testing.assert_array_equal(found["aum", ""], report.findings.is_suspect)
    keys, notes = ranking_keys(stored)
    np.testing.assert_array_equal(keys["aum"] > 0, stored.predictions.aum < stored.predictions.aum_threshold)
    assert "no out-of-fold probabilities" in notes[0]


def copied(brought, tmp_path):
    shutil.copytree(brought[0], tmp_path / "copy")
    return tmp_path / "copy"


def test_a_source_that_moved_or_lost_its_images_is_still_the_source(brought, tmp_path):
    folder = copied(brought, tmp_path)
    picture("dark", 99).save(folder / "images" / "dark-3.png")
    (folder / "images" / "dark-4.png").unlink()
    stored = read_stored(folder / "both", folder / "labels.csv")
    assert stored.manifest.source == folder / "labels.csv"
    assert len(stored.rows) == 39


@pytest.mark.parametrize(
    ("old", "new", "shown"),
    [
        ("dark-3.png,dark,", "dark-3.png,left,", r"images/dark-3\.png \(changed\)"),
        ("images/dark-3.png,dark,dark\n", "", r"images/dark-3\.png \(gone\)"),
        ("images/left-3", "images/left-99", r"images/left-3\.png \(gone\), images/left-99\.png \(new\)"),
    ],
)
def test_rows_that_changed_are_refused_by_name(brought, tmp_path, old, new, shown):
    folder = copied(brought, tmp_path)
    text = (folder / "labels.csv").read_text()
    assert old in text
    (folder / "labels.csv").write_text(text.replace(old, new))
    with pytest.raises(DataError, match=shown):
        read_stored(folder / "both", folder / "labels.csv")


def test_another_order_of_classes_is_refused(tmp_path):
    write_source(tmp_path)
    (tmp_path / "classes.txt").write_text("left\ndark\nright\n")
    np.save(tmp_path / "probs.npy", np.load(tmp_path / "probs.npy")[:, [1, 0, 2]])
    labelscrub.detect(
        tmp_path / "labels.csv",
        out=tmp_path / "run",
        workers=0,
        pred_probs=tmp_path / "probs.npy",
        classes=str(tmp_path / "classes.txt"),
    )
    read_stored(tmp_path / "run")
    (tmp_path / "classes.txt").write_text("dark\nleft\nright\n")
    with pytest.raises(DataError, match="classes, groups or files"):
        read_stored(tmp_path / "run")


def test_predictions_of_another_run_are_refused(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "copy")
    run = tmp_path / "copy" / "run"
    labelscrub.detect(
        tmp_path / "copy" / "labels.csv",
        out=tmp_path / "other",
        workers=0,
        **{**QUICK, "epochs": 8, "seed": 1},
    )
    shutil.copy(tmp_path / "other" / "predictions.npz", run)
    with pytest.raises(DataError, match="not of the run that wrote the report"):
        ranking_keys(read_stored(run, tmp_path / "copy" / "labels.csv"))
    (run / "predictions.npz").write_bytes(b"damaged" * 99)
    with pytest.raises(DataError, match="damaged"):
        read_stored(run, tmp_path / "copy" / "labels.csv")


def test_an_edited_or_absent_run_is_refused(brought, tmp_path):
    folder = copied(brought, tmp_path)
    with (folder / "both" / "report.parquet").open("ab") as file:
        file.write(b"x")
    with pytest.raises(UsageError, match=r"report\.parquet is not as the run wrote it"):
        read_stored(folder / "both", folder / "labels.csv")
    with pytest.raises(UsageError, match="no run"):
        read_stored(tmp_path / "nothing")


@pytest.mark.filterwarnings("error")
def test_a_run_that_trained_on_others_has_no_aum(brought, tmp_path):
    for number, kind in enumerate(CLASSES):
        (tmp_path / "others" / kind).mkdir(parents=True)
        for index in range(20):
            picture(kind, 5000 + 100 * number + index).save(tmp_path / "others" / kind / f"{index}.png")
    source = copied(brought, tmp_path) / "labels.csv"
    labelscrub.detect(source, train_on=tmp_path / "others", out=tmp_path / "run", workers=0, **QUICK)
    keys, notes = ranking_keys(read_stored(tmp_path / "run"))
    assert list(keys) == ["self-confidence", "normalized-margin"]
    assert notes == ["AUM was not recorded: others were trained on"]


def test_a_calibrated_run_tells_what_confident_learning_would_have_found(tmp_path):
    write_source(tmp_path)
    options = {**QUICK, "epochs": 8}
    report = labelscrub.detect(
        tmp_path / "labels.csv", out=tmp_path / "run", workers=0, method="calibrated", **options
    )
    assert (report.findings.conflict > 0).sum() == 6
    stored = read_stored(tmp_path / "run")
    found, notes = suspects_by_method(stored)
    assert (list(found), notes) == ([("calibrated", ""), *(("cl", name) for name in FILTERS)], [])
    np.testing.assert_array_equal(found["calibrated", ""], report.findings.is_suspect)
    for name in FILTERS:  # copies that were outvoted among them
        cl = labelscrub.detect(
            tmp_path / "labels.csv", out=tmp_path / name, workers=0, filter=name, pred_probs=tmp_path / "run"
        )
        np.testing.assert_array_equal(found["cl", name], cl.findings.is_suspect)
    keys, _ = ranking_keys(stored)
    np.testing.assert_array_equal(keys["error-probability"], report.findings.error_probability)
    assert stored.calibration.noise_rate == report.summary.calibration.noise_rate

    labelscrub.detect(
        tmp_path / "labels.csv",
        out=tmp_path / "again",
        workers=0,
        method="calibrated",
        aim="precision=0.9",
        pred_probs=tmp_path / "run",
    )
    again = read_stored(tmp_path / "again")
    assert again.predictions is None
    np.testing.assert_array_equal(ranking_keys(again)[0]["error-probability"], keys["error-probability"])
    found, notes = suspects_by_method(again)
    assert list(found) == [("calibrated", "")] and "other filters are left out" in notes[0]


def test_what_was_not_assessed_ranks_last(trained):
    stored = read_stored(trained / "run")
    assert stored.calibration is None and np.isnan(stored.columns["error_probability"]).all()
    said = np.linspace(0.1, 0.9, 39)
    said[5] = np.nan
    settings = replace(stored.settings, detection=replace(stored.settings.detection, method="calibrated"))
    columns = {**stored.columns, "error_probability": said}
    keys, _ = ranking_keys(replace(stored, settings=settings, columns=columns))
    assert keys["error-probability"].argmin() == 5
    assert np.isfinite(keys["error-probability"]).all()
