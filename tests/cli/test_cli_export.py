"""`labelscrub export` as a user meets it: what it prints, exit codes, help."""

from __future__ import annotations

import json
import re
import shutil

import pytest
from judged import judge
from pictures import write_folder

from labelscrub.cli.app import main


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    judge(folder / "pets", folder / "run", write_folder(folder / "pets", each=8))
    return folder


@pytest.fixture
def here(finished, tmp_path, monkeypatch):
    shutil.copytree(finished / "run", tmp_path / "labelscrub-out")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def words(text):
    return " ".join(re.sub("[│╭╮╰╯─]", " ", text).split())


def test_help_has_an_example_a_format(capsys):
    assert main(["export", "--help"]) == 0
    shown = words(capsys.readouterr().out)
    for name in ("label-studio", "fiftyone", "huggingface"):
        assert re.search(f"Example: labelscrub export .*?--format {name} --to", shown)
    assert "/data/local-files/?d=" in shown and '"decision": "keep"' in shown and '"remove"' in shown


def test_label_studio_is_told_with_how_to_serve_the_images(here, finished, capsys):
    assert main(["export", "--format", "label-studio", "--to", "tasks.json"]) == 0
    shown = capsys.readouterr()
    assert "tasks.json: a task each for 6 images" in shown.out and "tasks.xml: the labelling" in shown.out
    assert "/data/local-files/?d=pets/" in shown.out
    assert f"LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={finished}," in shown.out
    assert f"local files storage of {finished / 'pets'}" in shown.out
    assert "Reading the source" in shown.err
    assert len(json.loads((here / "tasks.json").read_bytes())) == 6
    command = ["export", "--format", "label-studio", "--to", "b.json", "--image-prefix", "s3://bucket", "-q"]
    assert main(command) == 0
    shown = capsys.readouterr()
    assert "s3://bucket" in shown.out and "LOCAL_FILES" not in shown.out and not shown.err


def test_folders_are_told_with_what_is_in_them(here, capsys):
    assert main(["export", "--format", "fiftyone", "--to", "fo", "--link"]) == 0
    assert capsys.readouterr().out == "fo: 6 images, all of them hard links\n"
    assert main(["export", "labelscrub-out", "--format", "huggingface", "--to", "hf", "--all"]) == 0
    assert capsys.readouterr().out == "hf: 24 images\n"


def test_exit_codes(here, finished, capsys):
    (here / "mine").write_text("mine")
    assert main(["export", "--format", "fiftyone", "--to", "mine"]) == 2
    assert "mine exists already; it is never overwritten" in capsys.readouterr().err
    assert main(["export", "--format", "voc", "--to", "x"]) == 2
    assert main(["export", "--to", "x"]) == 2
    assert main(["export", "nothing", "--format", "fiftyone", "--to", "x"]) == 2
    assert main(["export", "--format", "fiftyone", "--to", "no/folder"]) in (2, 4)
    shutil.copytree(finished / "pets", here / "pets")
    path = next((here / "pets").rglob("*dark-000.png"))
    path.write_bytes(b"other")
    capsys.readouterr()
    command = ["export", "--format", "fiftyone", "--to", "x", "--source", "pets"]
    assert main(command) == 3
    cause, fix = capsys.readouterr().err.splitlines()[-2:]
    assert f"{path.parent.name}/dark-000.png (changed)" in cause and "run detect again" in fix
    assert not (here / "x").exists()


def test_hostile_names_are_printed_in_one_line(here, finished, capsys):
    shutil.copytree(finished / "pets", here / "pe\x1b[31m\nts")
    assert (
        main(["export", "--format", "label-studio", "--to", "t.json", "--source", "pe\x1b[31m\nts", "-q"])
        == 0
    )
    shown = capsys.readouterr().out
    assert "\x1b" not in shown and "d=pe%1B%5B31m%0Ats/" in shown
