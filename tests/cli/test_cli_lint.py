"""`labelscrub lint`: exit codes, one line a problem, forms for programs, and names that mean harm."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest
from pictures import picture

from labelscrub.cli.app import main

sys.path.insert(0, str(Path(__file__).parent.parent / "reporting"))
from reports import HOSTILE

LAST = (
    "4 listed = 2 fine + 1 missing + 1 unreadable + 0 conflicting + 0 without label + 0 listed twice + "
    "0 skipped"
)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Two good images, one that is gone and one that is cut off."""
    monkeypatch.chdir(tmp_path)
    picture("left", 0).save("a.png")
    picture("right", 1).save("b.png")
    Path("cut.png").write_bytes(Path("a.png").read_bytes()[:60])
    Path("labels.csv").write_text("path,label\na.png,x\nb.png,y\ngone.png,x\ncut.png,y\n")
    Path("good.csv").write_text("path,label\na.png,x\nb.png,y\n")
    return tmp_path


def run(capsys, *arguments):
    code = main(["lint", "--workers", "0", *map(str, arguments)])
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def test_a_line_a_problem_and_totals(here, capsys):
    code, out, err = run(capsys, "labels.csv")
    assert code == 1
    assert out.splitlines() == [
        "labels.csv, row 2: gone.png: no such file",
        "labels.csv, row 3: cut.png: truncated",
        LAST,
        "FAILED: 1 missing, 1 unreadable",
    ]
    assert "Decoding" in err
    assert run(capsys, "labels.csv", "-q") == (1, out, "")


def test_a_clean_source_passes(here, capsys):
    code, out, _ = run(capsys, "good.csv")
    assert code == 0
    assert out.splitlines()[-1] == "passed: nothing missing or unreadable or conflicting"
    assert len(out.splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["labels.csv", "--fail-on", "conflict"], 0),
        (["labels.csv", "--fail-on", "conflict, missing"], 1),
        (["labels.csv", "--fail-on", "all"], 1),
        (["good.csv", "--fail-on", "all"], 0),
        (["labels.csv", "--fail-on", "broken"], 2),
        (["labels.csv", "--fail-on", ","], 2),
        (["labels.csv", "--label-column", "nope"], 2),
        (["labels.csv", "--max-missing", "0"], 2),
        (["nowhere.csv"], 2),
        ([""], 2),
        (["labels.csv", "--config", "none.toml"], 2),
        (["empty.csv"], 3),
        (["unlabelled.csv"], 3),
    ],
)
def test_exit_codes(here, capsys, arguments, code):
    (here / "empty.csv").write_text("path,label\n")
    (here / "unlabelled.csv").write_text("path,label\na.png,\n")
    got, out, err = run(capsys, "-q", *arguments)
    assert got == code
    assert bool(err) == (code > 1) and bool(out) == (code < 2)
    assert "Traceback" not in err


def test_settings_come_from_file_and_variables(here, capsys, monkeypatch):
    (here / "odd.csv").write_text("a,b,label\na.png,x,1\nb.png,y,2\n")
    (here / "labelscrub.toml").write_text(
        'path-column = "a"\nlabel-column = "b"\nmax-missing = 0.0\nepochs = 3\n'
    )
    assert run(capsys, "odd.csv")[0] == 0
    monkeypatch.setenv("LABELSCRUB_MAX_PIXELS", "10")
    code, out, _ = run(capsys, "odd.csv")
    assert code == 1 and "10x10 pixels exceeds --max-pixels" in out


def test_json_has_it_all(here, capsys):
    code, out, _ = run(capsys, "labels.csv", "--format", "json")
    found = json.loads(out)
    assert code == 1 and out.isascii()
    assert found["passed"] is False and found["fail_on"] == ["missing", "unreadable", "conflict"]
    assert (found["listed"], found["fine"], found["missing"], found["unreadable"]) == (4, 2, 1, 1)
    assert found["problems"] == [
        {
            "kind": kind,
            "row": row,
            "path": path,
            "reason": reason,
            "table": "labels.csv",
            "line": row + 2,
            "column": column,
        }
        for kind, row, path, reason, column in [
            ("missing", 2, "gone.png", "no such file", 10),
            ("unreadable", 3, "cut.png", "truncated", 9),
        ]
    ]


def test_annotations_point_at_the_manifests_line(here, capsys):
    code, out, _ = run(capsys, "labels.csv", "--format", "github")
    assert code == 1
    assert out.splitlines() == [
        "::error file=labels.csv,line=4,title=labelscrub%3A missing::gone.png: no such file",
        "::error file=labels.csv,line=5,title=labelscrub%3A unreadable::cut.png: truncated",
        f"::error title=labelscrub lint::FAILED: 1 missing, 1 unreadable. {LAST}",
    ]
    code, out, _ = run(capsys, here / "good.csv", "--format", "github")
    assert code == 0 and out.startswith("::notice title=labelscrub lint::passed: ")
    _, out, _ = run(capsys, here / "labels.csv", "--format", "github")
    assert out.startswith("::error file=labels.csv,line=4,")


def test_annotations_are_at_paths_of_the_repository(here, capsys, monkeypatch):
    """Also in a step with a working-directory of its own, and for a source that is named "./" or "../"."""
    (here / ".git").mkdir()
    (here / "sub").mkdir()
    monkeypatch.chdir(here / "sub")
    for source in ("../labels.csv", "./../labels.csv", here / "labels.csv"):
        _, out, _ = run(capsys, source, "--format", "github")
        assert out.startswith("::error file=labels.csv,line=4,"), out


def test_ten_annotations_and_no_more(here, capsys):
    (here / "many.csv").write_text("path,label\n" + "".join(f"{i}.png,{i % 2}\n" for i in range(500)))
    _, out, _ = run(capsys, "many.csv", "--format", "github")
    assert len(out.splitlines()) == 10
    assert "500 missing" in out.splitlines()[-1]
    _, out, _ = run(capsys, "many.csv")
    assert len(out.splitlines()) == 503  # and where the paths are looked for


NAMES = [name for name in HOSTILE if "\0" not in name and "/" not in name and "\ud800" not in name]
NAMES += ["::add-mask::x", "  ::error::x", "##[group]x", "a%0Ab", "x" * 200, "\u05d0\u202e"]


def test_names_that_mean_harm_stay_names(tmp_path, monkeypatch, capsys):
    for index, name in enumerate(NAMES):
        folder = tmp_path / "source" / os.fsdecode(os.fsencode(name))
        folder.mkdir(parents=True)
        (folder / f"{name[:100]}.png").write_bytes(b"no image %d" % index)
    for name in "ab":
        (tmp_path / "source" / name).mkdir()
        for seed in range(12):  # more images than classes, or these would look like ids
            picture("left", 100 * ord(name) + seed).save(tmp_path / "source" / name / f"{seed}.png")
    monkeypatch.chdir(tmp_path / "source")
    code, out, _ = run(capsys, ".")
    lines = out.split("\n")
    assert code == 1 and len(lines) == len(NAMES) + 3
    assert f"{len(NAMES)} unreadable" in out
    # a terminal gets characters alone, and a runner no command
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2028\u2029\udc80-\udcff]", out)
    assert not [line for line in lines if line.lstrip().startswith(("::", "##["))]

    code, out, _ = run(capsys, ".", "--format", "github")
    assert code == 1
    pattern = r"::error (file=[^:,]+,)?title=[^:]*::.*"
    assert all(re.fullmatch(pattern, line) for line in out.splitlines()), out

    code, out, _ = run(capsys, ".", "--format", "json")
    found = json.loads(out)
    assert code == 1 and len(found["problems"]) == len(NAMES)
    json.dumps(found, ensure_ascii=False).encode()  # no lone surrogate
