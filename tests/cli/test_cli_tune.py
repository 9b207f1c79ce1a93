"""`labelscrub tune` and `detect --loss auto` on small pictures."""

from __future__ import annotations

import json
import shlex

import pytest
from pictures import QUICK, write_folder

import labelscrub
from labelscrub import data
from labelscrub.cli.app import main
from labelscrub.config import AUTO, LOSSES, Settings
from labelscrub.errors import UsageError
from labelscrub.pipeline.tuning import decide, tune
from labelscrub.store import RunDirectory
from labelscrub.training import tuning as rule

SHORT = {**QUICK, "epochs": 2}
ARGUMENTS = ["--epochs", "2", "--batch-size", "16", "--lr", "0.01", "--device", "cpu", "--workers", "0"]
STABLE = ("suspects.csv", "report.parquet", "report.html", "clean.csv", "predictions.npz")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tune") / "my images"
    write_folder(folder, each=140, wrong=8)
    return folder


@pytest.fixture(autouse=True, scope="module")
def few():
    """Three candidates, so that the tests are quick."""
    with pytest.MonkeyPatch.context() as patch:
        defaults = {**rule.tune_loss.__kwdefaults__, "candidates": rule.CANDIDATES[:3]}
        patch.setattr(rule.tune_loss, "__kwdefaults__", defaults)
        yield


class StopError(Exception):
    """Stands for a kill."""


@pytest.fixture(scope="module")
def auto(pictures, tmp_path_factory):
    """A finished run with --loss auto."""
    out = tmp_path_factory.mktemp("auto") / "run"
    return out, labelscrub.detect(pictures, out=out, workers=0, loss=AUTO, **SHORT)


def test_the_table_marks_one_and_the_last_line_can_be_run(pictures, capsys, monkeypatch):
    ran = []
    assert main(["tune", str(pictures), *ARGUMENTS]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("->") for line in lines) == 1
    assert sum(" ± " in line and line.lstrip("-> ").startswith(LOSSES) for line in lines) == 3
    command = shlex.split(lines[-1])
    assert command[:3] == ["labelscrub", "detect", str(pictures)]
    assert "--epochs" in command
    monkeypatch.setattr("labelscrub.pipeline.detect", lambda source, **given: ran.append(given["settings"]))
    monkeypatch.setattr("labelscrub.cli.summary.print_summary", lambda report, **_: None)
    assert main(command[1:]) == 0
    assert ran[0].training.epochs == 2
    assert ran[0].training.loss in LOSSES


def test_json_is_the_librarys_and_quiet_is_the_command_alone(pictures, capsys, tmp_path, monkeypatch):
    assert main(["tune", str(pictures), *ARGUMENTS, "--format", "json", "--cache-dir", str(tmp_path)]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["images"] == 336
    assert 27 <= printed["planted"] <= 34  # fewer where the scout agrees with too few labels
    assert [one["chosen"] for one in printed["tried"]].count(True) == 1
    assert printed["detect"][-2:] == ["--cache-dir", str(tmp_path)]
    settings = Settings.of({**SHORT, "precision": "auto"})
    first = tune(pictures, workers=0, settings=settings, cache_dir=tmp_path)
    again = first.to_json()
    for one in (*printed["tried"], *again["tried"]):
        del one["seconds"]
    assert again["tried"] == printed["tried"]
    monkeypatch.setattr("labelscrub.pipeline.tuning.tune", lambda *_, **__: first)
    assert main(["tune", str(pictures), *ARGUMENTS, "--quiet"]) == 0
    out = capsys.readouterr()
    assert out.out.startswith("labelscrub detect ")
    assert out.out.count("\n") == 1
    assert not out.err


@pytest.mark.parametrize(
    ("arguments", "code", "what"),
    [
        (["nowhere"], 2, "there is no source nowhere"),
        ([""], 2, "name is empty"),
        (["{small}", *ARGUMENTS], 5, "too few to tune on"),
        (["{small}", "--loss", "pz"], 2, "--loss"),
    ],
)
def test_mistakes_are_told(arguments, code, what, tmp_path, capsys):
    write_folder(tmp_path / "small", each=20)
    assert main(["tune", *(a.format(small=tmp_path / "small") for a in arguments)]) == code
    assert what in capsys.readouterr().err


def test_detect_says_what_it_chose_and_stores_it(auto):
    out, report = auto
    run = json.loads((out / "run.json").read_bytes())
    trained = run["provenance"]["training"]
    note = next(note for note in report.summary.notes if note.startswith("--loss auto"))
    assert run["settings"]["loss"] == AUTO
    assert trained["loss"] in LOSSES
    assert f"chose {trained['loss']}" in note
    assert "average precision" in note
    assert not list(out.glob("fold-*"))


def test_an_interrupted_choice_goes_on_and_gives_the_same_bytes(auto, pictures, tmp_path):
    done, _ = auto
    messages = []

    def stop(event):
        messages.append(event.message)
        if sum("average precision" in message for message in messages) == 2:
            raise StopError

    with pytest.raises(StopError):
        labelscrub.detect(pictures, out=tmp_path / "run", workers=0, loss=AUTO, progress=stop, **SHORT)
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "run").glob("fold-tuning-*")}
    assert set(kept) == {"fold-tuning-scout.npz", "fold-tuning-0.npz", "fold-tuning-1.npz"}
    written = []

    def watch(event):
        written.append({p.name: p.stat().st_mtime_ns for p in (tmp_path / "run").glob("fold-tuning-*")})

    labelscrub.detect(pictures, out=tmp_path / "run", workers=0, loss=AUTO, progress=watch, **SHORT)
    assert any(kept.items() <= seen.items() and len(seen) > 3 for seen in written)
    for name in STABLE:
        assert (tmp_path / "run" / name).read_bytes() == (done / name).read_bytes(), name


def test_a_finished_run_is_not_tuned_again(auto, pictures):
    out, report = auto
    before = {name: (out / name).read_bytes() for name in STABLE}
    events = []
    again = labelscrub.detect(pictures, out=out, workers=0, loss=AUTO, progress=events.append, **SHORT)
    assert not any(event.stage == "train" and event.done for event in events)
    assert {name: (out / name).read_bytes() for name in STABLE} == before
    assert again.summary.notes == report.summary.notes


@pytest.mark.parametrize(("method", "loss"), [("cl", "pz"), ("calibrated", "ce")])
def test_too_few_images_fall_back_loudly(method, loss, tmp_path):
    write_folder(tmp_path / "images")
    settings = Settings.of({**SHORT, "loss": AUTO, "method": method})
    manifest = data.read_source(tmp_path / "images", settings.source)
    shape = data.image_shape(manifest, settings.source, None)
    images = data.load_images(manifest, shape, settings.source, cache_dir=tmp_path / "cache", workers=0)
    with RunDirectory.open(tmp_path / "run") as run:
        chosen, note = decide(run, manifest, images, settings, {}, lambda _: None)
    assert chosen.loss == loss
    assert f"COULD NOT CHOOSE and took {loss}" in note
    assert "72 images" in note


def test_auto_with_a_parameter_or_a_source_that_is_not_trained_on_is_refused(pictures, tmp_path):
    for wrong in ({"gamma": 0.3}, {"cutoff": 0.1}, {"delay": 2}):
        with pytest.raises(UsageError, match=f"--{next(iter(wrong))} has no effect with --loss auto"):
            Settings.of({"loss": AUTO, **wrong})
    write_folder(tmp_path / "other", each=20)
    with pytest.raises(UsageError, match="--loss auto needs images that are trained on"):
        labelscrub.detect(
            tmp_path / "other", train_on=pictures, out=tmp_path / "run", workers=0, loss=AUTO, **SHORT
        )


def test_bench_does_not_offer_auto(capsys):
    assert main(["bench", "table1", "--losses", "auto"]) == 2
    assert "unknown loss 'auto'" in capsys.readouterr().err
