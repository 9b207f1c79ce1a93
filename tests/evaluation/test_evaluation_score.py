"""A run against the truth: every figure again from the report and scikit-learn."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pyarrow.parquet as pq
import pytest
from pictures import QUICK
from scored_runs import write_source
from sklearn import metrics as sk

import labelscrub
from labelscrub.errors import DataError, EnvironmentProblem, UsageError
from labelscrub.evaluation import plots
from labelscrub.evaluation.metrics import Detected
from labelscrub.evaluation.score import check_plot, plot_score, score_run


@pytest.fixture(scope="module")
def brought(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scored")
    manifest = write_source(folder)
    labelscrub.detect(manifest, out=folder / "run", workers=0, pred_probs=folder / "probs.npy")
    return folder


def rows_of(folder):
    with (folder / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    return rows, pq.read_table(folder / "run" / "report.parquet").to_pylist()


def test_every_figure_is_scikit_learns(brought):
    rows, report = rows_of(brought)
    wrong = np.array([row["label"] != row["true_label"] for row in rows])
    suspect = np.array([row["is_suspect"] for row in report])
    score = score_run(brought / "run", "true_label")
    assert score.detected == Detected(9, int(suspect.sum()), int((suspect & wrong).sum()), 39)
    assert score.detected.f1 == pytest.approx(sk.f1_score(wrong, suspect))
    assert score.detected.balanced_accuracy == pytest.approx(sk.balanced_accuracy_score(wrong, suspect))
    assert [(m.method, m.filter, m.used) for m in score.methods] == [
        ("cl", "both", True),
        ("cl", "by-class", False),
        ("cl", "by-noise-rate", False),
    ]
    assert score.methods[0].detected == score.detected
    keys = {
        "self-confidence": [-row["self_confidence"] for row in report],
        "normalized-margin": [-row["normalized_margin"] for row in report],
    }
    assert [ranking.score for ranking in score.rankings] == list(keys)
    for ranking in score.rankings:
        key = np.array(keys[ranking.score])
        assert ranking.average_precision == pytest.approx(sk.average_precision_score(wrong, key))
        assert ranking.best.f1 == pytest.approx(max(sk.f1_score(wrong, key >= cut) for cut in key))
        precision, recall = score.curves[ranking.score]
        # nothing is thinned out of a curve this short but points that repeat
        whole = set(zip(*sk.precision_recall_curve(wrong, key)[:2], strict=True))
        assert set(zip(precision, recall, strict=True)) == whole
    for line in score.classes:
        mine = np.array([row["label"] == line.label for row in rows])
        assert line.detected == Detected(
            int(wrong[mine].sum()),
            int(suspect[mine].sum()),
            int((suspect & wrong)[mine].sum()),
            int(mine.sum()),
        )
    assert [line.label for line in score.classes] == ["dark", "left", "right"]
    assert (score.truth, score.unknown) == ("column 'true_label' of labels.csv", 0)


def test_images_of_unknown_truth_count_nowhere(brought, tmp_path):
    rows, report = rows_of(brought)
    known = [index for index in range(39) if index % 3]
    suspects = sum(report[index]["is_suspect"] for index in known)
    lines = [f"{rows[index]['path']},{rows[index]['true_label']}\n" for index in known]
    (tmp_path / "t.csv").write_text("path,true_label\n" + "".join(lines))
    score = score_run(brought / "run", str(tmp_path / "t.csv"))
    assert (score.unknown, score.detected.images, score.detected.suspects) == (13, 26, suspects)
    assert sum(line.detected.images for line in score.classes) == 26
    left_out = sum(row["is_suspect"] for row in report) - suspects
    assert left_out > 0
    assert any(f"{left_out:,} suspects have no known true label" in note for note in score.notes)
    assert any("rows not in" in note and "13 of 39" in note for note in score.notes)


def test_a_class_that_the_run_does_not_know_is_wrong(brought, tmp_path):
    rows, _ = rows_of(brought)
    true = [row["true_label"] for row in rows]
    true[5] = "blur"  # a right label until now
    (tmp_path / "t.txt").write_text("\n".join(true) + "\n")
    assert score_run(brought / "run", str(tmp_path / "t.txt")).detected.planted == 10


def test_nothing_wrong_is_said_and_left_undefined(brought, tmp_path):
    rows, _ = rows_of(brought)
    (tmp_path / "t.txt").write_text("".join(f"{row['label']}\n" for row in rows))
    score = score_run(brought / "run", str(tmp_path / "t.txt"))
    assert score.detected.planted == 0 and math.isnan(score.detected.recall)
    assert all(math.isnan(ranking.average_precision) for ranking in score.rankings)
    assert "no label is wrong by this truth: there is nothing to find" in score.notes
    values = json.loads(json.dumps(score.to_json(), allow_nan=False))
    assert values["recall"] is None and values["precision"] == 0
    with pytest.raises(UsageError, match="no curve to draw"):
        plot_score(score, tmp_path / "p.png")


def test_a_truth_that_contradicts_most_labels_is_doubted(brought, tmp_path):
    rows, _ = rows_of(brought)
    turned = {"dark": "left", "left": "right", "right": "dark"}
    (tmp_path / "t.txt").write_text("".join(f"{turned[row['label']]}\n" for row in rows))
    score = score_run(brought / "run", str(tmp_path / "t.txt"))
    assert score.detected.planted == 39
    assert "this truth contradicts 100% of the labels: is it of this source?" in score.notes


def test_no_judged_image_with_a_known_truth_is_refused(tmp_path):
    manifest = write_source(tmp_path)
    with manifest.open("a") as file:
        file.write("images/gone.png,dark,dark\n")
    np.save(tmp_path / "probs.npy", np.concatenate([np.load(tmp_path / "probs.npy"), [[1, 0, 0]]]))
    labelscrub.detect(manifest, out=tmp_path / "run", workers=0, pred_probs=tmp_path / "probs.npy")
    (tmp_path / "t.csv").write_text("path,label\nimages/gone.png,dark\n")
    with pytest.raises(DataError, match="no image that the run judged has a true label"):
        score_run(tmp_path / "run", str(tmp_path / "t.csv"))
    assert score_run(tmp_path / "run", "true_label").detected.images == 39


def test_labels_without_images_are_scored_too(brought, tmp_path):
    labelscrub.detect(
        None, out=tmp_path / "run", pred_probs=brought / "probs.npy", labels=brought / "labels.csv"
    )
    score = score_run(tmp_path / "run", "true_label")
    assert (score.detected.planted, score.detected.images) == (9, 39)


def test_json_has_the_names_of_the_metrics(brought):
    values = score_run(brought / "run", "true_label").to_json()
    figures = {"images", "planted", "suspects", "found", "precision", "recall", "f1", "balanced_accuracy"}
    assert figures < set(values)
    assert figures < set(values["methods"][0]) and figures < set(values["classes"][0])
    assert set(values["rankings"][0]) == {
        "score",
        "average_precision",
        "best_f1",
        "best_precision",
        "best_recall",
        "best_suspects",
    }


def test_the_plot_marks_the_runs_cut_and_the_best_ones(brought, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(plots, "precision_recall_plot", lambda *arguments: drawn.append(arguments))
    score = score_run(brought / "run", "true_label")
    plot_score(score, tmp_path / "p.png")
    curves, points, title, target, reliability = drawn[0]
    assert list(curves) == ["self-confidence", "normalized-margin"]
    assert points["the run's suspects"] == (score.detected.precision, score.detected.recall)
    best = score.rankings[1].best
    assert points["best cut, normalized-margin"] == (best.precision, best.recall)
    assert (title, target) == ("labels.csv: 9 of 39 labels wrong", tmp_path / "p.png")
    assert reliability == []  # of a calibrated run only


@pytest.mark.parametrize(("name", "message"), [("p.txt", "no plot's file name"), ("mine.png", "exists")])
def test_a_plot_that_could_not_be_written_is_refused_beforehand(tmp_path, name, message):
    (tmp_path / "mine.png").write_bytes(b"mine")
    with pytest.raises(UsageError, match=message):
        check_plot(tmp_path / name)
    check_plot(tmp_path / "new.svg")
    with pytest.raises(EnvironmentProblem, match=f"there is no folder {tmp_path / 'none'}\n") as caught:
        check_plot(tmp_path / "none" / "new.svg")
    assert caught.value.fix == "create it, or name another one"


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory):
    """A calibrated run of pictures with a true label each, and what it reported."""
    folder = tmp_path_factory.mktemp("calibrated")
    manifest = write_source(folder, copies=False)
    options = {**QUICK, "epochs": 8, "method": "calibrated", "aim": "recall=0.9"}
    return folder, labelscrub.detect(manifest, out=folder / "run", workers=0, **options)


def test_a_calibrated_run_is_held_against_what_it_expected(calibrated, tmp_path):
    folder, report = calibrated
    score = score_run(folder / "run", "true_label")
    assert [(m.method, m.filter, m.aim, m.used) for m in score.methods] == [
        ("calibrated", "", "recall=0.9", True),
        ("cl", "both", "", False),
        ("cl", "by-class", "", False),
        ("cl", "by-noise-rate", "", False),
    ]
    rows, _ = rows_of(folder)
    wrong = np.array([row["label"] != row["true_label"] for row in rows])
    f = report.findings
    for method, mask in zip(
        score.methods, (f.is_suspect, f.by_class & f.by_noise_rate, f.by_class, f.by_noise_rate), strict=True
    ):
        assert method.detected.found == (mask & wrong).sum() and method.detected.suspects == mask.sum()
    ranking = {r.score: r for r in score.rankings}["error-probability"]
    assert ranking.average_precision == pytest.approx(sk.average_precision_score(wrong, f.error_probability))
    pairs, said = score.expectation.pairs(), report.summary.calibration
    assert pairs["noise_rate"] == (said.noise_rate, pytest.approx(6 / 36))
    assert pairs["recall"][0] == said.expected_recall >= 0.9
    assert pairs["recall"][1] == pytest.approx(sk.recall_score(wrong, f.is_suspect))
    values = json.loads(json.dumps(score.to_json(), allow_nan=False))["calibration"]
    assert (values["aim"], values["images"]) == ("recall=0.9", 36)
    assert values["noise_rate"]["low"] <= values["noise_rate"]["expected"] <= values["noise_rate"]["high"]
    assert sum(b["images"] for b in values["reliability"]) == 36
    assert 0 <= values["expected_calibration_error"] <= 1
    pytest.importorskip("matplotlib")
    plot_score(score, tmp_path / "p.png")  # with a second panel
    assert (tmp_path / "p.png").stat().st_size


def test_other_runs_expect_nothing(brought):
    score = score_run(brought / "run", "true_label")
    assert score.expectation is None and score.to_json()["calibration"] is None
    assert "error-probability" not in [ranking.score for ranking in score.rankings]


def test_a_long_curve_is_thinned_to_what_can_be_seen():
    from labelscrub.evaluation.metrics import precision_recall
    from labelscrub.evaluation.score import _drawn

    generator = np.random.default_rng(0)
    wrong = generator.random(200_000) < 0.1
    whole = precision_recall(generator.random(200_000) + wrong, wrong)
    precision, recall = _drawn(*whole)
    assert len(precision) < 15_000 < 100_000 < len(whole[0])
    # the area under both is the same to the width of a line
    area, thinned = (-np.sum(np.diff(r) * (p[1:] + p[:-1]) / 2) for p, r in (whole, (precision, recall)))
    assert thinned == pytest.approx(area, abs=1e-3)
