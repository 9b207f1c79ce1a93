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
        (["table1", "--rates", "2"], "--rates: 2 is not between 0 and 1"),
        (["table1", "--data", "nowhere"], "nowhere"),
        (["table4", "--data", "shapes"], "--truth"),
        (["table3", "--data", "shapes"], "--train-on"),
        (["table1", "--data", "cifar10", "--data-root", "shapes"], "cifar"),
        (["table1", "--data", "shapes", "--image-size", "9", "--network", "fastt"], "--network 'fastt'"),
        (["table1", "--loss", "ce"], "--loss"),
    ],
)
def test_mistakes_end_with_a_sentence(
    arguments: list[str], message: str, source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
