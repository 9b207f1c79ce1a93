"""`labelscrub score` as a user meets it."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
from pictures import QUICK

import labelscrub
from labelscrub.cli.app import main

sys.path.insert(0, str(Path(__file__).parent.parent / "evaluation"))
from scored_runs import write_source


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("score")
    manifest = write_source(folder)
    labelscrub.detect(manifest, out=folder / "run", workers=0, pred_probs=folder / "probs.npy")
    return folder / "run"


def score(capsys, *arguments):
    code = main(["score", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_finding_the_tables_and_what_they_mean(run, capsys):
    code, out, err = score(capsys, run, "--truth", "true_label")
    assert code == 0, err
    assert out.splitlines()[0] == (
        "By column 'true_label' of labels.csv, 9 of 39 labels are wrong, 6 of them among the run's 8 suspects"
    )
    assert re.search(r"cl both \(this run\) +8 +6 +75\.0% +66\.7% +0\.706 +0\.800\n", out)
    assert "cl by-class " in out and "cl by-noise-rate " in out
    assert re.search(r"^self-confidence +0\.\d{3} +0\.\d{3} +\d+$", out, re.MULTILINE)
    for name in ("precision", "recall", "F1", "balanced accuracy", "average precision", "best F1"):
        assert re.search(rf"^{name} {{2,}}\w", out, re.MULTILINE), name  # its line in the legend
    assert "note: AUM was not recorded" in out
    assert "given label" not in out and "calibration error" not in out
    assert "\x1b" not in out


def test_by_class_adds_a_line_a_label(run, capsys):
    _, out, _ = score(capsys, run, "--truth", "true_label", "--by-class")
    assert re.search(r"^left +13 +3 +\d", out, re.MULTILINE)


def test_json_alone_on_stdout(run, capsys):
    code, out, _ = score(capsys, run, "--truth", "true_label", "--format", "json")
    values = json.loads(out)
    assert (code, values["planted"], values["suspects"], values["found"]) == (0, 9, 8, 6)


def test_quiet_has_no_progress(run, capsys):
    _, out, err = score(capsys, run, "--truth", "true_label", "-q")
    assert err == "" and "cl both (this run)" in out


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_a_plot_is_written_and_named(run, capsys, tmp_path, suffix):
    pytest.importorskip("matplotlib")
    target = tmp_path / f"score{suffix}"
    code, out, err = score(capsys, run, "--truth", "true_label", "--plot", target)
    assert code == 0, err
    assert target.read_bytes()[:4] in (b"\x89PNG", b"<?xm", b"%PDF")
    assert str(target) in out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "--truth"),
        (["--truth", "nothing"], 2, "no column 'nothing'"),
        (["--truth", "label"], 2, "the labels that the run judged"),
        (["--truth", "true_label", "--plot", "score.txt"], 2, "--plot score.txt is no plot's file name"),
        (["--truth", "true_label", "--source", "nowhere.csv"], 2, "nowhere.csv"),
    ],
)
def test_what_cannot_be_scored_is_two_lines_and_a_code(run, capsys, arguments, code, message):
    got, out, err = score(capsys, run, *arguments)
    assert (got, out) == (code, "")
    last = [line for line in err.splitlines() if line.startswith("labelscrub: ")]
    assert len(last) == 1 and message in last[0]


def test_no_run_is_said(tmp_path, capsys):
    code, _, err = score(capsys, tmp_path / "nothing", "--truth", "true_label")
    assert code == 2 and "there is no run" in err


def test_what_is_no_run_directory_is_refused_with_advice_that_score_can_take(run, capsys, monkeypatch):
    monkeypatch.chdir(run.parent)
    for place in (".", "labels.csv"):
        code, _, err = score(capsys, place, "--truth", "true_label")
        assert code == 2 and f"there is no run in {place}\n" in err
        assert "name the run directory" in err and "--out" not in err


def test_a_run_without_a_verdict_is_told_so(run, capsys, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "run.json").unlink()
    code, _, err = score(capsys, tmp_path / "run", "--truth", "true_label")
    assert code == 2 and "is not finished, or it ended without a verdict (exit code 5)" in err
    assert "detect command again tells which" in err


def test_a_narrow_terminal_keeps_words_whole(run, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    _, out, _ = score(capsys, run, "--truth", "true_label", "--by-class")
    tables = out[out.index("\n\n") : out.index("\nprecision ")]
    assert max(map(len, tables.splitlines())) <= 60
    for word in ("self-confidence", "normalized-margin", "by-noise-rate", "right", " 0.706 ", "100.0%"):
        assert word in tables
    assert "\N{HORIZONTAL ELLIPSIS}" not in tables


def test_hostile_labels_are_printed_harmless(tmp_path, capsys):
    manifest = write_source(tmp_path)
    text = (
        manifest.read_text()
        .replace("dark,", "\x1b[31mbad [/red],")
        .replace(",dark\n", ",\x1b[31mbad [/red]\n")
    )
    manifest.write_text(text)
    labelscrub.detect(manifest, out=tmp_path / "run", workers=0, pred_probs=tmp_path / "probs.npy")
    code, out, err = score(capsys, tmp_path / "run", "--truth", "true_label", "--by-class")
    assert code == 0, err
    assert "\x1b" not in out and "bad [/red]" in out


def test_a_calibrated_run_shows_what_it_expected(tmp_path, capsys):
    write_source(tmp_path, copies=False)
    options = {**QUICK, "epochs": 8, "method": "calibrated"}
    labelscrub.detect(tmp_path / "labels.csv", out=tmp_path / "run", workers=0, **options)
    code, out, err = score(capsys, tmp_path / "run", "--truth", "true_label")
    assert code == 0, err
    assert re.search(r"^calibrated,.* \d+", out, re.MULTILINE)  # the rest of the name may wrap
    assert re.search(r"^cl both +\d+", out, re.MULTILINE)
    assert re.search(r"^error-probability +0\.\d{3}|^error-probability +1\.000", out, re.MULTILINE)
    shares = r"\d+\.\d% +\d+\.\d% to \d+\.\d% +16\.7%$"  # 6 of 36
    assert re.search(rf"^noise rate +{shares}", out, re.MULTILINE)
    assert re.search(r"^calibration error +[01]\.\d{3}$", out, re.MULTILINE)
    assert re.search(r"^calibration error {2,}mean distance", out, re.MULTILINE)  # its line in the legend
