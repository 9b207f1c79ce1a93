"""`labelscrub bench` as typed."""

from __future__ import annotations

import json
from pathlib import Path

import pictures
import pytest

from labelscrub.cli.app import main

QUICK = ["--epochs", "3", "--folds", "2", "--batch-size", "16", "--lr", "0.01", "--workers", "0"]
SMALL = ["--rates", "0.2", "--losses", "ce", "--trials", "1", *QUICK]


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    pictures.write_folder(tmp_path / "shapes", each=20, wrong=0)
    return "shapes"


def test_ours_beside_the_published(source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "table1", "--data", source, "--out", "b", *SMALL]) == 0
    out = capsys.readouterr().out
    assert "F1 of finding wrong labels" in out
    assert "uniform 0.2" in out
    assert "b/table1.md" in out
    again = ["bench", "table1", "--data", source, "--out", "b", *SMALL]
    assert main([*again, "--format", "json", "-q"]) == 0
    stored = capsys.readouterr().out
    assert stored.encode() == (tmp_path / "b/table1.json").read_bytes()
    assert json.loads(stored)["trials"][0]["loss"] == "ce"
    assert main([*again, "--format", "markdown", "-q"]) == 0
    assert capsys.readouterr().out == (tmp_path / "b/table1.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tabel1"], "did you mean 'table1'"),
        (["table1", "--losses", "cee"], "unknown loss 'cee'"),
        (["table1", "--rates", "2"], "--rates: 2 is not above 0 and below 1"),
        (["table1", "--data", "nowhere"], "nowhere"),
        (["table4", "--data", "shapes"], "--truth"),
        (["table3", "--data", "shapes"], "--train-on"),
        (["table1", "--data", "cifar10", "--data-root", "shapes"], "cifar"),
        (["table1", "--data", "shapes", "--image-size", "9", "--network", "fastt"], "--network 'fastt'"),
        (["table1", "--loss", "ce"], "--loss"),
        (["figure3", "--format", "markdown"], "figure3 has no table: it is a picture"),
        (["table1", "--delays", "0,1"], "--delays has no effect on table1"),
        (["figure11", "--delay", "1"], "--delay has no effect on figure11"),
        (["sped"], "did you mean 'speed'"),
        (["table1", "--parts", "scan"], "--parts has no effect on table1"),
        (["speed", "--losses", "ce"], "--losses has no effect on speed"),
        (["speed", "--parts", "scan"], "--parts has no effect on speed"),
        (["speed", "--cache-dir", "c"], "--cache-dir has no effect on speed"),
        (["speed", "--weights", "default"], "--weights has no effect on speed"),
        (["speed", "--network", "fast"], "no baseline with --network fast"),
        (["speed", "--data", "nowhere"], "nowhere"),
        (["scale", "--data", "shapes"], "--data has no effect on scale"),
        (["SCALE", "--rates", "0.1"], "--rates has no effect on scale"),
        (["scale", "--epochs", "1"], "--epochs has no effect on scale"),
        (["scale", "--parts", "scam"], "--parts: there is no part 'scam'"),
    ],
)
def test_mistakes_end_with_a_sentence(
    arguments: list[str], message: str, source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_nothing_but_failures_ends_with_their_reason(
    source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hopeless = ["--rates", "0.2", "--losses", "ce", "--trials", "1", "--folds", "2", "--epochs", "1"]
    arguments = [
        "bench",
        "table1",
        "--data",
        source,
        "--out",
        "b",
        *hopeless,
        "--lr",
        "1e-9",
        "--workers",
        "0",
    ]
    assert main(arguments) == 5
    shown = capsys.readouterr()
    assert "1 of 1 failed" in shown.out
    assert "failed: " in shown.out
    assert "no trial gave a verdict" in shown.err
    assert "no verdict: " in shown.err  # said when it happened, too
    assert (tmp_path / "b/table1.json").exists()


def test_delays_are_told_apart_and_names_are_not_markup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    pictures.write_folder(tmp_path / "z[bold]q", each=20, wrong=0)
    options = ["--rates", "0.2", "--losses", "pz:cutoff=0.01", "--delays", "0,2", *QUICK]
    assert main(["bench", "FIGURE11", "--data", "z[bold]q", "--out", "b", *options]) == 0
    out = capsys.readouterr().out
    assert "z[bold]q" in out
    assert "delay=0" in out and "delay=2" in out
    assert "| delay |" in (tmp_path / "b/figure11.md").read_text()
    assert (
        main(
            [
                "bench",
                "figure3",
                "--data",
                "z[bold]q",
                "--out",
                "b",
                *options[:2],
                "--losses",
                "ce",
                *QUICK,
                "-q",
            ]
        )
        == 0
    )
    assert "figure3-z[bold]q.png" in capsys.readouterr().out


def test_calibrated_is_a_table_of_80_columns(
    source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["bench", "calibrated", "--data", source, "--out", "b", "--noise", "none", "--trials", "1"]
    assert main([*arguments, *QUICK]) == 2  # two folds
    assert "choose --folds 3 or more" in capsys.readouterr().err
    arguments += [*QUICK, "--folds", "3"]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    head = next(line for line in out.splitlines() if line.startswith("shapes "))
    assert head.split()[1:] == ["estimated", "listed", "F1", "both", "best", "precision", "recall", "ECE"]
    assert len(head) <= 80 and "published" not in out
    assert next(line for line in out.splitlines() if line.startswith("none ")).split()[1][:2] == "0."
    assert "b/calibrated.md" in out
    assert main([*arguments, "--format", "markdown", "-q"]) == 0
    assert capsys.readouterr().out == (tmp_path / "b/calibrated.md").read_text()
    assert main([*arguments, "--aim", "recall=0.9"]) == 2  # F1 is what is compared
    assert "--aim" in capsys.readouterr().err


def test_stages_at_size_are_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["bench", "scale", "--parts", "scan", "--limit", "50", "--trials", "1", "--out", "b"]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "scan: reading a folder of N files" in out and "N = 50" in out
    line = next(line for line in out.splitlines() if line.startswith("peak resident memory, MB"))
    assert line.split()[-3:] == ["≤", "1,000", "–"]  # noqa: RUF001  (50 files are not a million)
    assert "b/scale.md" in out
    assert main([*arguments, "--format", "markdown", "-q"]) == 0
    assert capsys.readouterr().out == (tmp_path / "b/scale.md").read_text()
