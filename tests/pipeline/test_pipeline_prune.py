"""Prune and check on a finished run: byte-faithful, never over anything, never on data that changed."""

from __future__ import annotations

import json
import shutil

import pytest
from pictures import QUICK, picture, write_csv

import labelscrub
from labelscrub.errors import DataError, UsageError
from labelscrub.pipeline import check, prune


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    planted = write_csv(folder)
    labelscrub.detect(folder / "labels.csv", out=folder / "run", workers=0, **QUICK)
    return folder, planted


@pytest.fixture
def run(finished, tmp_path):
    """A copy of the data and its run that a test may change; prune is told where the source is."""
    folder, planted = finished
    shutil.copytree(folder, tmp_path / "copy")
    return tmp_path / "copy", planted


def test_the_pruned_manifest_lacks_exactly_the_suspects(run):
    folder, planted = run
    pruned = prune(folder / "run", source=folder / "labels.csv")
    source = (folder / "labels.csv").read_bytes().splitlines(keepends=True)
    kept = [line for line in source[1:] if line.split(b",")[1].decode() not in planted]
    assert (folder / "run" / "pruned.csv").read_bytes() == source[0] + b"".join(kept)
    assert (pruned.listed, pruned.kept, pruned.suspects, pruned.unusable) == (72, 66, 6, 0)


@pytest.mark.parametrize(
    ("narrowed", "left_out"), [({"top": 2}, 2), ({"max_per_class": 1}, 3), ({"min_score": 1.0}, 0)]
)
def test_narrowing(run, narrowed, left_out):
    folder, _ = run
    pruned = prune(folder / "run", source=folder / "labels.csv", to=folder / "out.csv", **narrowed)
    assert pruned.suspects == left_out
    assert pruned.kept == 72 - left_out


def test_nothing_is_overwritten(run):
    folder, _ = run
    (folder / "mine.csv").write_text("mine")
    with pytest.raises(UsageError, match="never overwritten"):
        prune(folder / "run", source=folder / "labels.csv", to=folder / "mine.csv")
    assert (folder / "mine.csv").read_text() == "mine"


def test_a_changed_image_is_refused_by_name(run):
    folder, _ = run
    picture("left", 1).save(folder / "images" / "dark" / "dark-010.png")
    with pytest.raises(DataError, match=r"images/dark/dark-010\.png \(changed\)"):
        prune(folder / "run", source=folder / "labels.csv")


def test_a_changed_label_or_row_is_refused(run):
    folder, _ = run
    text = (folder / "labels.csv").read_text()
    (folder / "labels.csv").write_text(text.replace("dark-010.png,dark", "dark-010.png,left"))
    with pytest.raises(DataError, match="changed"):
        prune(folder / "run", source=folder / "labels.csv")


def test_an_edited_report_is_refused(run):
    folder, _ = run
    with (folder / "run" / "suspects.csv").open("a") as file:
        file.write("\n")
    with pytest.raises((UsageError, DataError), match=r"suspects\.csv"):
        prune(folder / "run", source=folder / "labels.csv")


def test_there_is_nothing_to_prune_without_a_run(tmp_path):
    with pytest.raises(UsageError, match="no run"):
        prune(tmp_path / "nowhere")


def test_the_gate_follows_the_suspects(run):
    folder, _ = run
    assert check(folder / "run", max_suspects=6).passed
    assert not check(folder / "run", max_suspects=5).passed
    assert not check(folder / "run", max_rate=0.01).passed


def test_an_edited_verdict_is_refused(run):
    folder, _ = run
    path = folder / "run" / "run.json"
    edited = json.loads(path.read_bytes())
    edited["summary"]["suspects"] = 0
    path.write_text(json.dumps(edited))
    with pytest.raises(DataError, match="edited"):
        check(folder / "run", max_suspects=0)


def test_check_on_a_source_runs_detect_first(finished, tmp_path):
    folder, _ = finished
    verdict = check(folder / "labels.csv", max_suspects=0, out=tmp_path / "run", workers=0, **QUICK)
    assert (verdict.passed, verdict.suspects) == (False, 6)
    assert (tmp_path / "run" / "run.json").exists()


def test_an_unfinished_run_has_no_verdict(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "state.json").write_text('{"program": "labelscrub"}')
    with pytest.raises(UsageError, match="not finished"):
        check(tmp_path / "run", max_suspects=0)


def test_a_relative_image_root_is_found_from_anywhere(tmp_path, monkeypatch):
    write_csv(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    shutil.move(tmp_path / "labels.csv", tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    labelscrub.detect("elsewhere/labels.csv", out="run", image_root=".", workers=0, **QUICK)
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert prune(tmp_path / "run").suspects == 6


def test_nothing_there_is_nothing_to_judge(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="no run or source"):
        check("labelscrub-out", max_rate=0.1)
    assert not list(tmp_path.iterdir())
