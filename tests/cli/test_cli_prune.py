"""`labelscrub prune` and `labelscrub undo` as typed: results on stdout, news on stderr, exit codes."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from pictures import picture

import labelscrub
from labelscrub.cli.app import main
from labelscrub.config import SourceSettings
from labelscrub.data import read_source
from labelscrub.errors import EXIT_ENVIRONMENT

HOSTILE = os.fsdecode(b"dark-\xff\x1b[31m\n.png")


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stored")
    for kind in ("dark", "left"):
        (folder / "data" / kind).mkdir(parents=True)
        for index in range(12):
            picture(kind, index + 50 * (kind == "dark"), side=8).save(
                folder / "data" / kind / f"{kind}-{index}.png"
            )
    shutil.move(folder / "data" / "dark" / "dark-0.png", folder / "data" / "left" / HOSTILE)
    manifest = read_source(folder / "data", SourceSettings())
    right = [0 if Path(path).name.startswith("dark") else 1 for path in manifest.paths]
    np.save(folder / "probs.npy", np.eye(2, dtype=np.float32)[right] * 0.9 + 0.05)
    labelscrub.detect(folder / "data", pred_probs=folder / "probs.npy", out=folder / "run", workers=0)
    return folder


@pytest.fixture
def here(stored, tmp_path, monkeypatch):
    """A copy to work in: `run`, and `data` with one wrong label under a hostile name."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    shutil.copytree(stored, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


def run(capsys, *arguments):
    code = main([*arguments])
    done = capsys.readouterr()
    return code, done.out, done.err


def pruned(capsys, *arguments):
    return run(capsys, "prune", "run", "--source", "data", *arguments)


def test_the_command_that_detects_on_the_cleaned_manifest_works_as_printed(here, capsys):
    (here / "else where").mkdir()
    code, out, _ = pruned(capsys, "--to", "else where/clean.csv", "-q")
    assert code == 0
    command = shlex.split(out.splitlines()[-1].partition(": ")[2])
    assert command[:3] == ["labelscrub", "detect", "else where/clean.csv"]
    assert len(read_source(Path(command[2]), SourceSettings(image_root=command[4]))) == 23
    code, out, _ = pruned(capsys, "--to", "data/clean.csv", "-q")
    assert code == 0 and out.splitlines()[-1] == "Its paths are relative to data"  # as detect takes them


def test_a_dry_run_prints_a_line_a_row_and_the_totals(here, capsys):
    code, out, _ = pruned(capsys, "--action", "relabel", "--dry-run", "-q")
    line, total = out.splitlines()
    shown = r"left/dark-\xff\x1b[31m\n.png"
    assert line == f"relabel {shown}: left -> dark; its file to {here.resolve()}/data/dark/{Path(shown).name}"
    assert total == (
        "1 file would be moved to the folders of their new labels. `labelscrub undo run` could take it back."
    )
    assert code == 0 and (here / "data" / "left" / HOSTILE).exists()
    assert not (here / "run" / "moves").exists()


def test_a_dry_finish_says_what_is_moved_where(here, capsys, monkeypatch):
    def refused(path, **_):
        raise PermissionError(13, "Permission denied", path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", refused)
        code, _, err = pruned(capsys, "--action", "relabel", "-q")
    assert code == EXIT_ENVIRONMENT and "--finish" in err
    _, out, _ = run(capsys, "prune", "run", "--finish", "--dry-run", "-q")
    shown = r"dark-\xff\x1b[31m\n.png"
    assert out.splitlines()[0] == f"move left/{shown} to {here.resolve()}/data/dark/{shown}"


def test_moved_and_put_back(here, capsys):
    code, out, _ = pruned(capsys, "--action", "quarantine", "-q")
    assert (code, out) == (
        0,
        f"1 file moved to {here.resolve()}/data-quarantine. `labelscrub undo run` takes it back.\n",
    )
    assert (here / "data-quarantine" / "left" / HOSTILE).exists()
    code, out, _ = run(capsys, "undo", "run", "--dry-run", "-q")
    assert code == 0 and out.startswith(r"put back ") and r"dark-\xff\x1b[31m\n.png -> " in out
    code, out, _ = run(capsys, "undo", "run", "-q")
    assert code == 0 and out.startswith("1 file put back that prune --action quarantine moved (20")
    assert (here / "data" / "left" / HOSTILE).exists()
    code, out, err = run(capsys, "undo", "run", "-q")
    assert (code, out) == (2, "") and "nothing to undo" in err


def test_what_cannot_be_put_back_is_exit_code_3(here, capsys):
    pruned(capsys, "--action", "quarantine", "-q")
    (here / "data-quarantine" / "left" / HOSTILE).write_bytes(b"mine")
    code, out, err = run(capsys, "undo", "run", "-q")
    assert code == 3
    assert "it was changed since" in err and r"dark-\xff" in err
    assert out.startswith("0 files put back") and "1 file left where they are" in out
    assert (here / "data-quarantine" / "left" / HOSTILE).read_bytes() == b"mine"


def test_what_cannot_be_moved_is_exit_code_3(here, capsys):
    (here / "far.png").write_bytes((here / "data" / "left" / HOSTILE).read_bytes())
    (here / "data" / "left" / HOSTILE).unlink()
    (here / "data" / "left" / HOSTILE).symlink_to(here / "far.png")
    code, out, err = pruned(capsys, "--action", "quarantine", "-q")
    assert code == 3 and out == "No file is to be moved.\n"
    assert err.startswith(r"not moved: left/dark-\xff") and "a link" in err
    assert pruned(capsys, "--action", "quarantine", "-q", "--dry-run")[0] == 0


def test_a_copy_and_its_manifest(here, capsys):
    code, out, _ = pruned(capsys, "--action", "copy", "--link", "--to", "clean", "-q")
    assert code == 0
    rows = "23 of 24 rows kept; 1 suspect and 0 unusable rows left out."
    assert out == f"{here.resolve()}/clean: 23 files linked; {rows}\n"
    code, _, err = pruned(capsys, "--action", "copy", "--to", "clean", "-q")
    assert code == 2 and "never overwritten" in err


def test_decisions_and_what_is_strange_about_them(here, capsys):
    row = [*read_source(here / "data", SourceSettings()).paths].index(f"left/{HOSTILE}")
    lines = [
        {"row": row, "given_label": "left", "choice": "relabel", "label": "dark"},
        {"row": 77, "given_label": "left", "path": "\x1b]0;x\x07.png", "choice": "remove"},
    ]
    (here / "mine.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    code, out, err = pruned(capsys, "--decisions", "mine.jsonl", "--to", "clean.csv", "-q")
    assert code == 0
    assert "24 of 24 rows kept; 0 removed rows and 0 unusable rows left out; 1 relabelled." in out
    assert err.startswith("note: 1 decision is about") and "\x1b" not in err
    assert b'\xff\x1b[31m\n.png",dark\n' in (here / "clean.csv").read_bytes()
    code, _, err = pruned(capsys, "--decisions", "mine.jsonl", "--top", "1")
    assert code == 2 and "--top" in err
    code, _, err = pruned(capsys, "--decisions", "nowhere.jsonl", "-q")
    assert code == 2 and "nowhere.jsonl" in err


@pytest.mark.parametrize("command", ["prune", "undo"])
def test_help_has_an_example(command, capsys):
    assert main([command, "--help"]) == 0
    assert f"labelscrub {command} " in capsys.readouterr().out


def test_a_locked_run_is_left_alone(here, capsys):
    from labelscrub.store import locked

    pruned(capsys, "--action", "quarantine", "-q")
    with locked(here / "run"):
        for arguments in (("undo", "run"), ("prune", "run", "--finish")):
            code, _, err = run(capsys, *arguments)
            assert code == 4 and "another labelscrub" in err
