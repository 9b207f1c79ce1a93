"""`bench speed`: both sides find planted errors on the same folds; what is stored is not run again."""

from __future__ import annotations

import csv
import dataclasses
import importlib.util
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pictures
import pytest

from labelscrub.config import Settings
from labelscrub.errors import DataError, EnvironmentProblem, UsageError
from labelscrub.evaluation import measuring, speed_runs
from labelscrub.evaluation import speed as speed_module
from labelscrub.evaluation.loading import DataOptions
from labelscrub.evaluation.measured import Measured, number
from labelscrub.evaluation.measuring import Usage
from labelscrub.evaluation.noise import uniform_flips
from labelscrub.evaluation.speed import speed
from labelscrub.evaluation.speed_results import SpeedRun, Who, as_csv, as_json, lines_of
from labelscrub.evaluation.speed_tables import show
from labelscrub.records import Event

SETTINGS = Settings.of({"epochs": 3, "folds": 2, "batch_size": 4, "lr": 0.003, "device": "cpu"})


def measured(source: Path, out: Path, **more: Any) -> tuple[Measured, list[str]]:
    news: list[Event] = []
    data = DataOptions(names=(str(source),), workers=0, limit=more.pop("limit", None))
    arguments = {"trials": 1, "settings": SETTINGS, **more}
    found = speed(out=out, data=data, progress=news.append, **arguments)
    return found, [event.message for event in news if event.message]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "shapes"
    pictures.write_folder(folder, each=20, wrong=0)
    return folder


@pytest.fixture(scope="module")
def first(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Measured, list[str]]:
    """One trial of all three runs, each in its own process."""
    out = tmp_path_factory.mktemp("bench") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speed_module, "warm_up", lambda folder: None)  # seconds that no test looks at
        return out, *measured(source, out)


def test_both_sides_find_the_planted_errors(first: tuple[Path, Measured, list[str]]) -> None:
    out, found, news = first
    assert not any("folds of this run" in message for message in news)
    assert not found.failures
    runs = [SpeedRun.from_json(run) for run in json.loads((out / "speed.json").read_text())["runs"]]
    assert [run.who for run in runs] == ["baseline", "same", "default"]
    for run in runs:
        assert (run.images, run.classes, run.folds, run.planted) == (60, 3, 2, 12)
        assert run.f1 > 0.5  # guessing would find a fifth of them: F1 0.2
        assert run.peak_memory > 50_000_000  # torch alone is more
        assert run.wall > math.fsum(run.seconds.values()) > 0
    assert [(run.network, run.epochs) for run in runs[:2]] == [("mnist-cnn", 3)] * 2
    assert runs[2].network == "fast" and "--epochs" not in runs[2].command
    assert "--loss ce" in runs[1].command
    assert "decode" in runs[1].seconds and "decode" not in runs[0].seconds
    assert {path.name for path in out.iterdir()} == {  # and nothing of what was made for it
        "trials",
        *(f"speed.{suffix}" for suffix in ("json", "csv", "md")),
        *(f"speed-shapes-0.2.{suffix}" for suffix in ("png", "svg")),
    }
    assert all(file.is_file() for file in found.files)


def test_what_is_stored_is_not_run_again(
    first: tuple[Path, Measured, list[str]], source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, before, _ = first

    def untouched(*args: object, **kwargs: object) -> Usage:
        raise AssertionError("a stored run was run again")

    monkeypatch.setattr(measuring, "measure", untouched)
    after, news = measured(source, out)
    assert after.tables == before.tables
    assert [message.endswith("done before") for message in news] == [True] * 3
    for more in ({"resume": False}, {"rates": (0.1,)}, {"limit": 59}):
        with pytest.raises(AssertionError, match="run again"):
            measured(source, out, **more)
    (damaged,) = (out / "trials").glob("speed-shapes*/baseline.json")
    content = damaged.read_bytes()
    damaged.write_text("{}")
    with pytest.raises(AssertionError, match="run again"):
        measured(source, out)
    damaged.write_text('{"who": "baseline"}')
    with pytest.raises(DataError, match="not a run of bench speed"):
        measured(source, out)
    damaged.write_bytes(content)


def test_every_second_trial_goes_the_other_way_with_its_own_seed(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, str, int]] = []

    def fake(job: speed_runs.Job, who: Who, *args: object) -> SpeedRun:
        seen.append((job.trial, who, job.settings.training.seed))
        return a_run(who, job.trial, wall=1.0)

    monkeypatch.setattr(speed_module, "run", fake)
    monkeypatch.setattr(speed_module, "warm_up", lambda folder: None)
    measured(source, tmp_path, trials=2)
    assert [who for _, who, _ in seen] == ["baseline", "same", "default", "default", "same", "baseline"]
    assert [seed for _, _, seed in seen] == [0, 0, 0, 1, 1, 1]


def test_the_labels_of_a_trial_and_its_folds(source: Path, tmp_path: Path) -> None:
    data = DataOptions(names=(str(source),), workers=0)
    dataset = speed_module._load(str(source), data, SETTINGS, tmp_path, [], lambda event: None)
    files = speed_runs.write_files(dataset, tmp_path / "files", lambda event: None)
    assert not (tmp_path / "files").exists()  # a source has files of its own
    job = speed_runs.Job(dataset, 0.2, 0, SETTINGS, 1.0, None)
    content, wrong, fold = speed_runs._manifest(job, files)
    rows = list(csv.DictReader(content.decode().splitlines()))
    true = dataset.manifest.labels
    given = uniform_flips(true, 3, 0.2, 0)
    assert [row["label"] for row in rows] == [dataset.manifest.classes[k] for k in given]
    assert [Path(row["path"]).parent.name for row in rows] == [dataset.manifest.classes[k] for k in true]
    np.testing.assert_array_equal(wrong, given != true)
    assert [int(row["fold"]) for row in rows] == fold.tolist()
    assert np.bincount(fold).tolist() == [30, 30]
    baseline = " ".join(speed_runs._baseline(job, files))
    assert "--mode L" in baseline and "--resize" in baseline and "--device cpu" in baseline


def test_mistakes_are_said_before_any_work(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with pytest.raises(UsageError, match="no baseline with --network fast"):
        measured(source, out, settings=Settings.of({"network": "fast"}))
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "cleanlab" else find(name))
    with pytest.raises(EnvironmentProblem, match=r"labelscrub\[bench\]"):
        measured(source, out)
    assert not out.exists()
    monkeypatch.undo()
    grey = Settings.of({"network": "cifar-resnet34", "folds": 2})
    with pytest.raises(UsageError, match="is grey"):
        measured(source, out, settings=grey)


def test_a_side_that_fails_is_an_error_and_no_verdict_is_a_result(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = 1
    monkeypatch.setattr(speed_module, "warm_up", lambda folder: None)

    def ended(command: list[str], *, folder: Path) -> Usage:
        (folder / speed_runs.RESULTS).mkdir()
        return Usage(code, 2.0, 1.0, 0.0, ((0.0, 10),), "", "labelscrub: no better than chance\n  fix\n")

    monkeypatch.setattr(measuring, "measure", ended)
    with pytest.raises(EnvironmentProblem, match="the run of baseline ended with code 1"):
        measured(source, tmp_path)
    code = 5  # of the baseline it means nothing
    with pytest.raises(EnvironmentProblem, match="the run of baseline ended with code 5"):
        measured(source, tmp_path)
    good = a_run("baseline", 0, wall=4.0)
    real = speed_module.run

    def baseline_works(job: speed_runs.Job, who: Who, *rest: Any) -> SpeedRun:
        if who == "baseline":
            return dataclasses.replace(good, dataset=job.dataset.name)
        return real(job, who, *rest)

    monkeypatch.setattr(speed_module, "run", baseline_works)
    found, news = measured(source, tmp_path)
    assert "no verdict: no better than chance" in news
    assert found.failures == ("no better than chance",)
    line = {line.who: line for line in lines_of(stored_runs(tmp_path))}
    assert math.isnan(line["same"].figures["f1"].mean)
    assert line["same"].figures["ratio"].mean == 2.0


def stored_runs(out: Path) -> list[SpeedRun]:
    return [
        SpeedRun.from_json({**json.loads(file.read_bytes()), "dataset": "d"})
        for file in (out / "trials").glob("speed-*/*.json")
    ]


def a_run(who: Who, trial: int, *, wall: float, found: int = 8, **more: Any) -> SpeedRun:
    values: dict[str, Any] = {
        "dataset": "d",
        "noise_rate": 0.2,
        "images": 50,
        "classes": 3,
        "folds": 5,
        "network": "mnist-cnn",
        "epochs": 10,
        "precision": "float32",
        "device": "cpu",
        "seconds": {"read": 0.25, "decode": 0.25, "train": 0.5},
        "cpu": wall,
        "others": 0.0,
        "peak_memory": 2_000_000,
        "planted": 10,
        "suspects": 10,
        "found": found,
        "command": "labelscrub",
        "versions": measuring.versions(),
        "machine": measuring.hardware(),
    }
    return SpeedRun(who=who, trial=trial, wall=wall, **{**values, **more})


def test_ratios_are_within_a_trial() -> None:
    runs = [
        *(a_run("baseline", 0, wall=10.0), a_run("baseline", 1, wall=40.0)),
        *(a_run("default", 1, wall=4.0, found=10), a_run("default", 0, wall=2.0)),
    ]
    baseline, ours = lines_of(runs)
    assert (baseline.who, ours.who) == ("baseline", "default")
    assert ours.figures["ratio"].mean == pytest.approx((10 / 2 + 40 / 4) / 2)
    assert ours.figures["ratio"].std == pytest.approx(np.std([5, 10], ddof=1))
    assert ours.figures["f1_difference"].mean == pytest.approx(0.1)  # 0 and 1 - 0.8
    assert baseline.figures["ratio"].mean == 1
    assert ours.figures["images_per_second"].mean == pytest.approx(50 * 4 * 10 / 0.5)
    assert ours.figures["decoded_per_second"].mean == pytest.approx(50 / 0.25)
    assert ours.figures["start_s"].mean == pytest.approx((1 + 3) / 2)
    assert ours.figures["outside_share"].mean == pytest.approx((1.25 / 2 + 3.25 / 4) / 2)
    assert ours.figures["peak_memory_mb"].mean == 2
    assert math.isnan(ours.figures["detect_s"].mean)


def test_one_run_has_no_spread_and_no_verdict_no_f1(tmp_path: Path) -> None:
    runs = [a_run("baseline", 0, wall=3.0), a_run("same", 0, wall=1.0, failure="chance", seconds={})]
    _, ours = lines_of(runs)
    assert math.isnan(ours.figures["wall_s"].std) and math.isnan(ours.figures["f1"].mean)
    assert math.isnan(ours.figures["images_per_second"].mean)
    rows = json.loads(as_json(runs))["rows"]
    assert rows[1]["f1_mean"] is None and rows[1]["ratio_mean"] == 3
    lines = list(csv.DictReader(as_csv(runs).decode().splitlines()))
    assert lines[1]["f1_mean"] == "" and lines[1]["ratio_mean"] == "3"
    shown = show([dataclasses.replace(run, dataset="a|b") for run in runs], tmp_path, [])
    assert shown.failures == ("chance",)
    assert r"a\|b" in (tmp_path / "speed.md").read_text()


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.01234, "0.0123"), (1.234, "1.23"), (123.4, "123"), (12345.6, "12,346"), (math.nan, "–")],  # noqa: RUF001
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert number(value) == text
