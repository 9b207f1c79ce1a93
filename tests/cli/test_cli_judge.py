"""`labelscrub detect --train-on A --judge B`: two spellings, one run; and what is refused."""

from __future__ import annotations

import json

import pytest
from pictures import QUICK, write_folder

from labelscrub.cli.app import main

OPTIONS = [word for name, value in QUICK.items() for word in (f"--{name.replace('_', '-')}", str(value))]
STABLE = ("suspects.csv", "report.parquet", "clean.csv", "predictions.npz")


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli-judge")
    write_folder(folder / "train", each=30, wrong=0)
    write_folder(folder / "test", each=24)
    for file in (folder / "test").rglob("*.png"):  # other bytes, the same pictures
        file.write_bytes(file.read_bytes() + b" ")
    return folder


def test_both_spellings_are_the_same_run(sources, monkeypatch, capsys):
    monkeypatch.chdir(sources)
    for words in (
        ["--train-on", "train", "--judge", "test", "--out", "one"],
        ["test", "--train-on", "train", "--out", "two"],
        ["test", "--train-on", "train", "--judge", "test", "--out", "one"],  # said twice, and done before
    ):
        assert main(["detect", *words, "--workers", "0", "--format", "json", "-q", *OPTIONS]) == 0
        run = json.loads(capsys.readouterr().out)
        assert (run["source"], run["summary"]["suspects"]) == ("test", 6)
    for name in STABLE:
        assert (sources / "one" / name).read_bytes() == (sources / "two" / name).read_bytes()


def test_the_summary_says_who_judged(sources, monkeypatch, capsys):
    monkeypatch.chdir(sources)
    arguments = ["detect", "test", "--train-on", "train", "--out", "three", "--workers", "0", *OPTIONS]
    assert main(arguments) == 0
    shown = capsys.readouterr()
    assert "6 of 72 labels look wrong" in shown.out
    assert "note: judged by one network, which was trained on 90 images of another source" in shown.out
    assert "fold" not in shown.out + shown.err
    assert main(["check", "three", "--max-suspects", "5"]) == 1
    assert main(["prune", "three", "--to", "clean.csv"]) == 0
    assert "66 of 72 rows kept" in capsys.readouterr().out


def test_check_takes_a_source_to_train_on(sources, monkeypatch):
    monkeypatch.chdir(sources)
    words = ["check", "test", "--train-on", "train", "--out", "four", "--max-suspects", "6", "--workers", "0"]
    assert main([*words, *OPTIONS]) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--judge", "test"], "--judge goes with --train-on"),
        (["train", "--train-on", "train", "--judge", "test"], "two sources to judge: train and --judge test"),
        (["--train-on", "train"], "no source given"),
        (["test", "--train-on", "nowhere"], "--train-on: there is no source nowhere"),
        (["test", "--train-on", "train", "--method", "aum"], "--method aum judges"),
        (["test", "--train-split", "train"], "--train-split has no effect without --train-on"),
    ],
)
def test_what_makes_no_sense_is_exit_code_2_in_two_lines(sources, monkeypatch, capsys, words, message):
    monkeypatch.chdir(sources)
    assert main(["detect", *words]) == 2
    err = capsys.readouterr().err
    assert message in err and len(err.splitlines()) <= 2
