"""`labelscrub corrupt` as a user meets it: what it prints, and that the command it names works."""

from __future__ import annotations

import json
import shlex

import pytest
from pictures import QUICK, write_csv, write_folder

from labelscrub.cli.app import main
from labelscrub.config import flag

OPTIONS = [part for name, value in QUICK.items() for part in (flag(name), str(value))]


def test_it_says_what_changed_and_the_next_command_works(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "my images", wrong=0)
    (tmp_path / "else").mkdir()
    assert main(["corrupt", "my images", "--rate", "0.1", "--out", "else/noisy.csv"]) == 0
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    assert lines[0] == "7 of 72 labels changed (9.7%)"
    assert "Reading the source" in shown.err
    table = [line.split() for line in lines[3:6]]
    assert [row[1] for row in table] == ["dark", "left", "right"]
    assert [row[2 + k] for k, row in enumerate(table)] == [".", ".", "."]
    assert sum(int(cell) for row in table for cell in row[2:] if cell != ".") == 7
    assert lines[-3].startswith("else/noisy.csv ")
    detect, score = (shlex.split(line.removeprefix("next: ")) for line in lines[-2:])
    assert detect[:2] == ["labelscrub", "detect"]
    assert main([*detect[1:], *OPTIONS, "--workers", "0", "-q"]) == 0
    assert score[:2] == ["labelscrub", "score"]
    capsys.readouterr()
    assert main([*score[1:], "--format", "json", "-q"]) == 0
    assert json.loads(capsys.readouterr().out)["planted"] == 7
    assert json.loads((tmp_path / "else" / "noisy-run" / "run.json").read_text())["summary"]["used"] == 72


def test_json_alone_on_stdout(tmp_path, capsys):
    write_csv(tmp_path, each=5)
    arguments = ["corrupt", str(tmp_path / "labels.csv"), "--kind", "pair", "--rate", "1", "--format", "json"]
    assert main(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["manifest"] == str(tmp_path / "labels-noisy.csv")
    assert (found["kind"], found["rate"], found["seed"], found["planted"]) == ("pair", 1, 0, 15)
    assert [found["changed"][k][(k + 1) % 3] for k in range(3)] == [5, 5, 5]
    assert found["detect"][0] == found["manifest"]


def test_quiet_is_the_file(tmp_path, capsys):
    write_folder(tmp_path / "images", each=3, wrong=0)
    assert main(["corrupt", str(tmp_path / "images"), "-q"]) == 0
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == (f"{tmp_path / 'images-noisy.csv'}\n", "")


@pytest.mark.parametrize("form", [[], ["-q"], ["--format", "json"]])
def test_no_label_changed_is_said_beside_the_result(tmp_path, capsys, form):
    write_folder(tmp_path / "images", each=3, wrong=0)
    assert main(["corrupt", str(tmp_path / "images"), "--rate", "0.001", *form]) == 0
    shown = capsys.readouterr()
    assert "note: no label is changed: 0.001 of 9 labels is less than one" in shown.err
    assert "note:" not in shown.out


def test_many_classes_make_no_table(tmp_path, capsys):
    from pictures import picture

    for number in range(13):
        (tmp_path / "images" / f"class{number}").mkdir(parents=True)
        picture("dark", number).save(tmp_path / "images" / f"class{number}" / "1.png")
        picture("left", number).save(tmp_path / "images" / f"class{number}" / "2.png")
    assert main(["corrupt", str(tmp_path / "images")]) == 0
    assert "class12" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["images", "--kind", "sideways"], 2, "--kind 'sideways' is not one of"),
        (["images", "--rate", "2"], 2, "--rate"),
        (["images", "--kind", "matrix:bad.csv"], 3, "row of class 'left' (row 1) sums to 0.5, not 1"),
        (["images", "--kind", "confusable", "--from", "images"], 2, "there is no run in images"),
        (["images", "--loss", "ce"], 2, "--loss"),
        (["images", "--out", "nowhere/noisy.csv"], 4, "there is no folder nowhere\n  create it"),
        (["images", "--out", "noisy.parquet"], 2, "this source is CSV\n  let --out end in .csv"),
        (["none"], 2, "no such file"),
        ([], 2, "source"),
    ],
)
def test_errors_have_their_code_and_say_why(tmp_path, monkeypatch, capsys, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "images", each=2, wrong=0)
    (tmp_path / "bad.csv").write_text("1,0,0\n0,0.5,0\n0,0,1\n")
    assert main(["corrupt", *arguments]) == code
    shown = capsys.readouterr()
    assert message in shown.err and shown.out == ""
    assert "Traceback" not in shown.err


def test_a_hostile_class_name_is_shown_not_obeyed(tmp_path, capsys):
    for name in ("[red]cat", "dog\x1b[2J"):
        (tmp_path / "images" / name).mkdir(parents=True)
        (tmp_path / "images" / name / "1.png").write_bytes(b"x")
    assert main(["corrupt", str(tmp_path / "images"), "--rate", "1"]) == 0
    shown = capsys.readouterr().out
    assert "[red]cat" in shown and "dog\\x1b[2J" in shown and "\x1b" not in shown
