"""Experiments end to end on small pictures: results, pictures, resuming."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pictures
import pytest

from labelscrub.config import Settings
from labelscrub.errors import DataError, EnvironmentProblem, UsageError
from labelscrub.evaluation import trials as trials_module
from labelscrub.evaluation.bench import Benched, Changes, DataOptions, bench
from labelscrub.evaluation.experiments import find_experiment
from labelscrub.evaluation.metrics import detected
from labelscrub.records import Event
from labelscrub.store import read_arrays

FEW = Changes(rates=(0.2,), trials=1, losses=("ce",))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "shapes"
    pictures.write_folder(folder, each=24, wrong=0)
    return folder


def run(name: str, source: Path, out: Path, changes: Changes = FEW, **more: Any) -> Benched:
    data = DataOptions(names=(str(source),), workers=0, **more.pop("data", {}))
    settings = Settings.of({**pictures.QUICK, **more.pop("settings", {})})
    return bench(name, out=out, data=data, changes=changes, settings=settings, **more)


def test_table1_finds_planted_errors_and_writes_every_form(source: Path, tmp_path: Path) -> None:
    changes = Changes(rates=(0.1, 0.2), trials=2, losses=("ce", "pz:cutoff=0.01"))
    benched = run("table1", source, tmp_path / "out", changes)
    assert len(benched.results) == 2 * 2 * 2
    assert len(benched.rows) == 4
    assert all(row.mean > 0.8 for row in benched.rows)  # halves of a picture are easy to tell apart
    assert {file.name for file in benched.files} == {
        *(f"table1.{suffix}" for suffix in ("json", "csv", "md")),
        *(f"table1-shapes.{suffix}" for suffix in ("png", "svg")),
    }
    assert all(file.stat().st_size for file in benched.files)
    lines = list(csv.DictReader((tmp_path / "out/table1.csv").read_text().splitlines()))
    assert [(line["noise_rate"], line["loss"]) for line in lines] == [
        ("0.1", "ce"),
        ("0.1", "pz"),
        ("0.2", "ce"),
        ("0.2", "pz"),
    ]
    stored = json.loads((tmp_path / "out/table1.json").read_text())
    assert len(stored["trials"]) == 8


def test_metrics_are_those_of_the_stored_predictions(source: Path, tmp_path: Path) -> None:
    benched = run("table1", source, tmp_path)
    (folder,) = (tmp_path / "trials").iterdir()
    (job,) = trials_of(benched, source, tmp_path)
    given, truth = job.labels()
    wrong = given != truth
    assert wrong.sum() == round(0.2 * 72)
    p = read_arrays(folder / "predictions.npz")["pred_probs"]
    metrics = benched.results[0].metrics
    assert metrics["planted"] == wrong.sum()
    assert metrics["accuracy"] == pytest.approx((p.argmax(1) == truth).mean())
    # F1 of the best possible cut is at least that of any one: here all whose label is not the predicted one
    assert metrics["best_f1"] >= detected(p[np.arange(72), given] < 0.5, wrong).f1 - 1e-12
    assert 0 <= metrics["estimated_noise_rate"] <= 1
    assert benched.results[0].provenance["seed"] == 0


def trials_of(benched: Benched, source: Path, out: Path) -> list[trials_module.Trial]:
    from labelscrub.evaluation.datasets import load_dataset
    from labelscrub.evaluation.experiments import trials_of as jobs

    settings = Settings.of(pictures.QUICK)
    loaded = load_dataset(
        str(source), data_root=None, limit=None, settings=settings, cache_dir=out / "cache", workers=0
    )
    return list(jobs(benched.experiment, loaded, settings))


def test_stored_trials_are_taken_and_a_stopped_one_goes_on(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class StopError(Exception):
        pass

    seen: list[Event] = []

    def stop_in_the_second_trial(event: Event) -> None:
        seen.append(event)
        if sum(e.message.startswith("trial ") for e in seen) == 2 and event.fold == 3:
            raise StopError

    changes = dataclasses.replace(FEW, losses=("ce", "gce"))
    with pytest.raises(StopError):
        run("table1", source, tmp_path / "a", changes, progress=stop_in_the_second_trial)
    assert len(list((tmp_path / "a/trials").glob("*/trial.json"))) == 1

    again: list[Event] = []
    benched = run("table1", source, tmp_path / "a", changes, progress=again.append)
    assert {e.fold for e in again if e.loss == e.loss} == {3}  # two folds of the second trial were stored
    undisturbed = run("table1", source, tmp_path / "b", changes)
    assert [r.metrics for r in benched.results] == [r.metrics for r in undisturbed.results]

    def untouched(*args: object, **kwargs: object) -> None:
        raise AssertionError("a stored trial was run again")

    monkeypatch.setattr(trials_module, "compare_suspects", untouched)
    assert run("table1", source, tmp_path / "a", changes).results == benched.results
    with pytest.raises(AssertionError, match="run again"):
        run("table1", source, tmp_path / "a", changes, resume=False)


@pytest.mark.parametrize("content", ["", "{", "{}"])
def test_a_damaged_result_is_computed_again(content: str, source: Path, tmp_path: Path) -> None:
    before = run("table1", source, tmp_path)
    (stored,) = (tmp_path / "trials").glob("*/trial.json")
    stored.write_text(content)
    news: list[Event] = []
    after = run("table1", source, tmp_path, progress=news.append)
    assert any("trial.json is damaged: computed again" in event.message for event in news)
    assert [result.metrics for result in after.results] == [result.metrics for result in before.results]
    assert stored.read_text() != content


def test_a_trial_that_can_not_be_trusted_is_a_result(source: Path, tmp_path: Path) -> None:
    # One epoch at next to no learning rate leaves chance level.
    benched = run("table1", source, tmp_path, settings={"lr": 1e-9, "epochs": 1})
    (result,) = benched.results
    assert "chance" in result.failure
    assert "f1" not in result.metrics
    assert np.isfinite(result.metrics["cohens_d"])  # tells how far margins differ, whatever the verdict
    assert (benched.rows[0].failed, benched.rows[0].failure) == (1, result.failure)
    page = (tmp_path / "table1.md").read_text()
    assert "1 of 1 failed" in page
    assert "Failed: " in page


@pytest.mark.parametrize(
    ("name", "changes", "expected"),
    [
        ("figure3", FEW, {"figure3.json"}),
        ("figure4", dataclasses.replace(FEW, losses=("bl:gamma=0.5",)), {"figure4.json"}),
        ("figure6", FEW, {"figure6.json", "figure6.csv", "figure6.md"}),
        (
            "figure7",
            dataclasses.replace(FEW, rates=(0.1, 0.2)),
            {"figure7.json", "figure7.csv", "figure7.md"},
        ),
        (
            "figure8",
            dataclasses.replace(FEW, losses=("ce", "pz")),
            {"figure8.json", "figure8.csv", "figure8.md"},
        ),
        (
            "figure11",
            dataclasses.replace(FEW, losses=("ce", "pz"), delays=(0, 2)),
            {"figure11.json", "figure11.csv", "figure11.md"},
        ),
    ],
)
def test_every_figure_is_drawn(
    name: str, changes: Changes, expected: set[str], source: Path, tmp_path: Path
) -> None:
    benched = run(name, source, tmp_path, changes)
    pictures_of = {f"{name}-shapes.png", f"{name}-shapes.svg"}
    assert {file.name for file in benched.files} == expected | pictures_of
    assert (tmp_path / f"{name}-shapes.png").read_bytes().startswith(b"\x89PNG")


def test_traces_are_stored(source: Path, tmp_path: Path) -> None:
    run("figure3", source, tmp_path)
    news: list[Event] = []
    run("figure3", source, tmp_path, progress=news.append)
    assert not [event for event in news if event.loss == event.loss]
    run("figure3", source, tmp_path, progress=news.append, resume=False)
    assert [event for event in news if event.loss == event.loss]


def test_labels_that_came_wrong_are_judged_where_the_truth_is_known(tmp_path: Path) -> None:
    pictures.write_csv(tmp_path / "data", each=24, wrong=3)
    table = tmp_path / "data/labels.csv"
    lines = table.read_text().splitlines()
    kinds = [line.split(",")[1].split("/")[2].split("-")[0] for line in lines[1:]]
    kinds[0] = ""  # unknown
    rows = [f"{line},{kind}" for line, kind in zip(lines[1:], kinds, strict=True)]
    table.write_text("\n".join([lines[0] + ",truth", *rows]))
    changes = Changes(trials=1, losses=("ce",))
    benched = run("table4", table, tmp_path / "out", changes, data={"truth": "truth"})
    (result,) = benched.results
    assert result.noise == "given"
    assert result.images == 72
    labels = [line.split(",")[2].strip('"') for line in lines[1:]]
    wrong = sum(label != kind for label, kind in zip(labels, kinds, strict=True) if kind)
    assert result.metrics["planted"] == wrong
    assert result.noise_rate == pytest.approx(wrong / 71)
    assert result.metrics["f1"] > 0.8


def test_table3_trains_on_one_source_and_judges_the_other(source: Path, tmp_path: Path) -> None:
    pictures.write_folder(tmp_path / "other", each=48, wrong=0)  # 24 of each are judged, and so not learnt
    benched = run("table3", source, tmp_path / "out", data={"train_on": str(tmp_path / "other")})
    (result,) = benched.results
    assert (result.images, result.provenance["images"]) == (72, 72)
    assert result.metrics["planted"] == 14
    assert result.metrics["f1"] > 0.8
    assert "cohens_d" not in result.metrics  # no image judged was trained on


def test_what_is_not_there_is_said(source: Path, tmp_path: Path) -> None:
    settings = Settings.of(pictures.QUICK)
    with pytest.raises(UsageError, match="table4 has no data set of its own"):
        bench("table4", out=tmp_path, data=DataOptions(), changes=Changes(), settings=settings)
    with pytest.raises(UsageError, match="none are named"):
        run("table4", source, tmp_path)
    with pytest.raises((UsageError, EnvironmentProblem)) as caught:
        bench("table1", out=tmp_path, data=DataOptions(root=tmp_path), changes=FEW, settings=settings)
    assert str(tmp_path) in caught.value.cause + caught.value.fix
    assert not list((tmp_path / "trials").iterdir())
    with pytest.raises(UsageError, match="is inside the source"):
        run("table1", source, source / "out")
    assert not (source / "out").exists()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="is not a folder"):
        run("table1", source, tmp_path / "file")
    with pytest.raises(UsageError, match="table5 has no noise rates of its own"):
        run("table5", source, tmp_path, Changes(noise="uniform"))
    pictures.write_folder(tmp_path / "letters", each=6, wrong=0)
    for number, folder in enumerate(sorted((tmp_path / "letters").iterdir())):
        folder.rename(folder.with_name("abc"[number]))
    with pytest.raises(DataError, match="no class in common"):
        run("table3", source, tmp_path, data={"train_on": str(tmp_path / "letters")})


def test_a_training_that_diverges_is_a_result_too(source: Path, tmp_path: Path) -> None:
    benched = run("table1", source, tmp_path, settings={"lr": 1e9, "network": "mnist-cnn"})
    (result,) = benched.results
    assert "diverged" in result.failure  # without batch norm nothing keeps it finite
    assert (result.loss, result.parameters, result.metrics) == ("ce", {}, {})
    assert (benched.rows[0].failed, benched.rows[0].trials) == (1, 1)


def test_without_matplotlib_there_are_tables_and_a_note(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    benched = run("figure7", source, tmp_path, dataclasses.replace(FEW, rates=(0.1, 0.2)))
    assert {file.suffix for file in benched.files} == {".json", ".csv", ".md"}
    assert any("labelscrub[plots]" in note for note in benched.notes)
    with pytest.raises(EnvironmentProblem, match="plots need matplotlib"):
        run("figure3", source, tmp_path)


def test_a_stored_trial_that_had_no_weights_says_so(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from labelscrub.training import weights

    monkeypatch.setattr(weights, "find_weights", lambda *_: (None, ()))
    monkeypatch.setattr(
        "labelscrub.training.plan.find_weights", lambda *_: (None, ("NO PRETRAINED WEIGHTS",))
    )
    asked = {"weights": "default", "network": "resnet18", "epochs": 1, "image_size": 8}
    news: list[Event] = []
    for _ in range(2):
        news.clear()
        run("table1", source, tmp_path, settings=asked, progress=news.append)
    assert any("trained from scratch, for want of weights" in event.message for event in news)


def test_a_source_spelled_otherwise_is_the_same_data(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(source.parent)
    run("figure6", Path(source.name), tmp_path)
    benched = run("figure6", source, tmp_path, dataclasses.replace(FEW, trials=2))
    assert [(row.dataset, row.trials) for row in benched.rows] == [(str(source), 2)] * 3
    assert len(list((tmp_path / "trials").iterdir())) == 2


def test_what_decides_a_trial_gives_it_a_folder_of_its_own(tmp_path: Path) -> None:
    pictures.write_csv(tmp_path / "data", each=24, wrong=0)
    table = tmp_path / "data/labels.csv"
    head, *lines = table.read_text().splitlines()
    grouped = [f"{line},p{number % 6}" for number, line in enumerate(lines)]
    table.write_text("\n".join([f"{head},patient", *grouped]))
    (tmp_path / "names.txt").write_text("\n".join([*pictures.CLASSES, "never seen"]))
    plain = run("table1", table, tmp_path / "out")
    run("table1", table, tmp_path / "out", settings={"group_column": "patient"})
    run("table1", table, tmp_path / "out", settings={"classes": str(tmp_path / "names.txt")})
    assert len(list((tmp_path / "out/trials").iterdir())) == 3
    unmoved = run("table1", table, tmp_path / "out", settings={"score": "self-confidence"})
    assert unmoved.results == plain.results
    assert len(list((tmp_path / "out/trials").iterdir())) == 3


def test_the_same_loss_or_rate_twice_is_one_trial(source: Path, tmp_path: Path) -> None:
    changes = dataclasses.replace(FEW, rates=(0.2, 0.2), losses=("pz", "pz:cutoff=0.02"))  # the guide's
    benched = run("table1", source, tmp_path, changes)
    assert [(row.loss, row.parameter, row.trials) for row in benched.rows] == [("pz", "cutoff=0.02", 1)]


@pytest.mark.parametrize(("name", "drawn"), [("figure4", "boxes"), ("figure6", "histograms")])
def test_every_rate_has_a_panel_of_its_own(
    name: str, drawn: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from labelscrub.evaluation import box_plots, plots

    module: Any = box_plots if drawn == "boxes" else plots
    calls: list[Any] = []
    monkeypatch.setattr(module, drawn, lambda *arguments, **_: calls.append(arguments))
    run(name, source, tmp_path, dataclasses.replace(FEW, rates=(0.1, 0.4)))
    panels, title = calls[0][0], calls[0][-2]
    assert list(panels) == ["ce, 10% noise", "ce, 40% noise"]
    assert "%" not in title
    if name == "figure6":  # AUM of the correct and of the wrong labels
        assert [len(wrong) for _, wrong in panels.values()] == [round(0.1 * 72), round(0.4 * 72)]


def test_each_parameter_has_a_line_of_its_own(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from labelscrub.evaluation import plots

    calls: list[Any] = []
    monkeypatch.setattr(plots, "lines", lambda *arguments: calls.append(arguments))
    losses = ("ce", "pz:cutoff=0.01", "pz:cutoff=0.05")
    run("table1", source, tmp_path, dataclasses.replace(FEW, rates=(0.1, 0.2), losses=losses))
    lines = calls[0][0]["F1"]
    assert list(lines) == ["ce", "pz cutoff=0.01", "pz cutoff=0.05"]
    assert all(line[0] == [0.1, 0.2] for line in lines.values())


def test_losses_with_values_are_what_is_swept() -> None:
    figure11 = find_experiment("figure11")
    changed = Changes(losses=("ce", "pz:cutoff=0.02", "pz:cutoff=0.05")).applied(figure11)
    assert (changed.losses, changed.sweep) == (("ce",), {"pz": "cutoff=0.02,0.05"})
    changed = Changes(losses=("pz", "pz:cutoff=0.07")).applied(figure11)
    assert changed.sweep == {"pz": figure11.sweep["pz"] + ",0.07"}
    assert Changes(losses=("ce",)).applied(figure11).sweep == {}


def test_what_has_no_effect_is_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--rates has no effect on table4"):
        run("table4", source, tmp_path, data={"truth": "truth"})
    with pytest.raises(UsageError, match="--train-on has no effect on table1"):
        run("table1", source, tmp_path, data={"train_on": str(source)})
    with pytest.raises(UsageError, match="no gradient in p"):
        run("figure3", source, tmp_path, dataclasses.replace(FEW, losses=("anl-ce",)))


@pytest.mark.parametrize("name", ["table1", "figure4"])
def test_half_a_trial_of_another_machine_is_not_mixed(name: str, source: Path, tmp_path: Path) -> None:
    run(name, source, tmp_path)
    (folder,) = (tmp_path / "trials").iterdir()
    (folder / "trial.json").unlink(missing_ok=True)  # as if killed before its end
    state = json.loads((folder / "state.json").read_text())
    state["fingerprint"]["training"]["threads"] = 99
    (folder / "state.json").write_text(json.dumps(state))
    with pytest.raises(UsageError, match="threads: 99") as caught:
        run(name, source, tmp_path)
    assert caught.value.fix == f"delete {folder}: then this trial begins anew"
    shutil.rmtree(folder)
    assert run(name, source, tmp_path).files


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("cifar-10", "cifar10"),  # also beside a folder of that name: ./cifar-10 means the folder
        ("./cifar-10", "./cifar-10"),
        ("FASHION_MNIST", "fashion-mnist"),
        ("mine", "mine"),
        ("mnist.csv", "mnist.csv"),
    ],
)
def test_data_sets_known_by_name(
    typed: str, meant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from labelscrub.evaluation import loading

    monkeypatch.chdir(tmp_path)
    (tmp_path / "cifar-10").mkdir()
    assert loading.known_name(typed) == meant


CALIBRATED = Changes(rates=(0.2,), trials=1)


def test_what_a_calibrated_run_expects_is_put_beside_the_truth(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One kind of noise a run, so that what each begins with is there to be seen."""
    confusable = dataclasses.replace(CALIBRATED, noise="confusable")
    news: list[Event] = []
    benched = run("calibrated", source, tmp_path, confusable, progress=news.append)
    begun = [e.message for e in news if e.message.startswith("trial ")]
    assert [message[:10] for message in begun] == ["trial 1 of", "trial 2 of"]
    assert "none ce" in begun[0] and "confusable 0.2 calibrated ce" in begun[1]
    (result,) = benched.results  # the reference is none
    m = result.metrics
    assert (result.method, result.noise, m["planted"]) == ("calibrated", "confusable", round(0.2 * 72))
    assert m["noise_rate_low"] <= m["noise_rate_estimate"] <= m["noise_rate_high"]
    assert m["noise_rate_estimate"] == m["estimated_noise_rate"]
    assert m["noise_rate_true"] == m["planted"] / 72
    covered = m["noise_rate_low"] <= m["noise_rate_true"] <= m["noise_rate_high"]
    assert m["noise_rate_covered"] == covered
    assert m["f1"] <= m["error_probability_best_f1"] + 1e-12
    for name in ("expected_precision", "expected_recall", "expected_f1", "ece", "f1_both"):
        assert 0 <= m[name] <= 1, name
    (reference,) = [f for f in (tmp_path / "trials").iterdir() if "shapes-none-ce" in f.name]
    before = (reference / "predictions.npz").stat().st_mtime_ns
    (row,) = [row for row in benched.rows if row.metric == "noise_rate_estimate"]
    assert (row.framework, row.mean, row.published_mean) == ("calibrated", m["noise_rate_estimate"], None)
    assert "| shapes" in (tmp_path / "calibrated.md").read_text().replace(str(source), "shapes")

    def untouched(*args: object, **kwargs: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(trials_module, "_train", untouched)
    assert run("calibrated", source, tmp_path, confusable).results == benched.results
    # another trial takes the reference that is there
    with pytest.raises(AssertionError, match="trained again"):
        run("calibrated", source, tmp_path, dataclasses.replace(confusable, rates=(0.1,)))
    assert (reference / "predictions.npz").stat().st_mtime_ns == before


def test_where_nothing_is_planted_f1_is_undefined(source: Path, tmp_path: Path) -> None:
    benched = run("calibrated", source, tmp_path, Changes(trials=1, noise="none"))
    (result,) = benched.results
    assert (result.noise_rate, result.metrics["planted"]) == (0, 0)
    undefined = ("f1", "f1_both", "recall", "error_probability_best_f1", "average_precision")
    assert all(np.isnan(result.metrics[name]) for name in undefined)
    assert 0 <= result.metrics["noise_rate_estimate"] < 0.2
    with pytest.raises(UsageError, match="--rates has no effect with --noise none"):
        run("calibrated", source, tmp_path, Changes(noise="none", rates=(0.1,)))
    with pytest.raises(UsageError, match="needs at least 3 folds"):
        run("calibrated", source, tmp_path, CALIBRATED, settings={"folds": 2})


def test_confusable_noise_needs_a_model_that_learnt(source: Path, tmp_path: Path) -> None:
    hopeless = {"lr": 1e-9, "epochs": 1}
    changes = dataclasses.replace(FEW, noise="confusable")
    news: list[Event] = []
    benched = run("table1", source, tmp_path, changes, settings=hopeless, progress=news.append)
    (result,) = benched.results
    assert "what is confusable is not known" in result.failure and "chance" in result.failure
    assert result.metrics == {}
    assert len({e.fold for e in news if e.fold}) == 3  # of the reference; the trial itself trained nothing


def test_noise_that_the_user_names_takes_the_place_of_all_kinds() -> None:
    calibrated = find_experiment("calibrated")
    assert Changes().applied(calibrated).noise_kinds == ("none", "uniform", "pair", "confusable")
    assert Changes(noise="pair").applied(calibrated).noise_kinds == ("pair",)
