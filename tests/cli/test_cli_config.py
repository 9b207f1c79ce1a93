"""`labelscrub config show`: each value's origin, precedence, and mistakes that are named."""

from __future__ import annotations

import json

import pytest

from labelscrub.cli.app import main
from labelscrub.config import Settings, all_settings
from labelscrub.config_limits import all_limits


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shown(capsys, *arguments):
    assert main(["config", "show", "--format", "json", *arguments]) == 0
    output = capsys.readouterr()
    document = json.loads(output.out)
    values = {name: (item["value"], item["origin"]) for name, item in document["settings"].items()}
    return values, document["unknown_variables"], output.err


def test_defaults_are_all_there(here, capsys):
    found, unknown, err = shown(capsys)
    assert list(found) == [*all_settings(), *all_limits()]
    assert {origin for _, origin in found.values()} == {"default"}
    assert {name: found[name][0] for name in all_settings()} == Settings().flat()
    assert (unknown, err) == ([], "")


def test_each_origin_and_what_wins(here, capsys, monkeypatch):
    (here / "pyproject.toml").write_text("[tool.labelscrub]\nfolds = 3\nseed = 3\n")
    found, _, _ = shown(capsys)
    assert (found["folds"], found["seed"]) == ((3, "pyproject.toml"), (3, "pyproject.toml"))
    (here / "labelscrub.toml").write_text("folds = 4\nmax-rate = 0.03\n")
    found, _, _ = shown(capsys)
    assert found["folds"] == (4, "labelscrub.toml") and found["seed"] == (0, "default")
    assert found["max_rate"] == (0.03, "labelscrub.toml")
    monkeypatch.setenv("LABELSCRUB_FOLDS", "6")
    monkeypatch.setenv("LABELSCRUB_BASELINE", "known.json")
    found, _, _ = shown(capsys)
    assert found["folds"] == (6, "LABELSCRUB_FOLDS")
    assert found["baseline"] == ("known.json", "LABELSCRUB_BASELINE")
    (here / "other.toml").write_text("folds = 7\nepochs = 2\n")
    found, _, _ = shown(capsys, "--config", "other.toml")
    assert found["folds"] == (6, "LABELSCRUB_FOLDS") and found["epochs"] == (2, "other.toml")
    assert found["max_rate"] == (None, "default")


def test_text_lists_the_same(here, capsys, monkeypatch):
    (here / "labelscrub.toml").write_text('path-column = "a\\u202eb"\n')
    monkeypatch.setenv("LABELSCRUB_ALLOW_OUTSIDE", "yes")
    found, _, _ = shown(capsys)
    assert main(["config", "show"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(found)
    cells = {line.split()[0]: line.split()[1:] for line in lines}
    assert cells["allow_outside"] == ["true", "LABELSCRUB_ALLOW_OUTSIDE"]
    assert cells["loss"] == ['"pz"', "default"] and cells["gamma"] == ["-", "default"]
    assert cells["path_column"] == ['"a\\u202eb"', "labelscrub.toml"]


def test_unknown_variables_are_warned_about_with_the_nearest(here, capsys, monkeypatch):
    monkeypatch.setenv("LABELSCRUB_LOS", "ce")
    monkeypatch.setenv("LABELSCRUB_MAX_RATES", "1")
    monkeypatch.setenv("labelscrub_seed", "1")
    monkeypatch.setenv("LABELSCRUB_QWERTZ", "1")
    found, unknown, err = shown(capsys)
    assert unknown == ["LABELSCRUB_LOS", "LABELSCRUB_MAX_RATES", "LABELSCRUB_QWERTZ", "labelscrub_seed"]
    assert err.splitlines() == [
        "warning: LABELSCRUB_LOS sets nothing: did you mean LABELSCRUB_LOSS?",
        "warning: LABELSCRUB_MAX_RATES sets nothing: did you mean LABELSCRUB_MAX_RATE?",
        "warning: LABELSCRUB_QWERTZ sets nothing: labelscrub config show lists all",
        "warning: labelscrub_seed sets nothing: did you mean LABELSCRUB_SEED?",
    ]
    assert found["loss"] == ("pz", "default")


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("labelscrub.toml", "epochz = 3", ("labelscrub.toml", "'epochz'", "did you mean 'epochs'?")),
        ("labelscrub.toml", 'epochs = "ten"', ("labelscrub.toml", "--epochs must be a")),
        (
            "labelscrub.toml",
            "max-rate = 3",
            ("labelscrub.toml", "--max-rate must be at least 0 and at"),
        ),
        ("labelscrub.toml", "= 3", ("labelscrub.toml", "can't be read")),
        ("pyproject.toml", "[tool.labelscrub]\nfold = 3", ("pyproject.toml", "'fold'", "'folds'")),
        ("pyproject.toml", "[tool.labelscrub]\nfolds = 1", ("pyproject.toml", "--folds must be at least 2")),
        ("labelscrub.toml", 'loss = "focal"\nq = 0.5', ("--q has no effect with --loss focal",)),
    ],
)
def test_mistakes_in_files_say_which_file_and_key(here, capsys, file, content, said):
    (here / file).write_text(content)
    assert main(["config", "show"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert all(words in shown.err for words in said), shown.err


def test_mistakes_in_variables_say_which(here, capsys, monkeypatch):
    monkeypatch.setenv("LABELSCRUB_FOLDS", "1")
    assert main(["config", "show"]) == 2
    assert "LABELSCRUB_FOLDS: --folds must be at least 2" in capsys.readouterr().err
    monkeypatch.setenv("LABELSCRUB_FOLDS", "many")
    assert main(["config", "show"]) == 2
    assert "LABELSCRUB_FOLDS='many' is not a" in capsys.readouterr().err


def test_a_settings_file_that_is_not_there(here, capsys):
    assert main(["config", "show", "--config", "none.toml"]) == 2
    assert "settings file none.toml does not exist" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["config"], []])
def test_no_command_is_an_error_with_words(capsys, command):
    assert main(command) == 2
    shown = capsys.readouterr()
    assert "Usage:" in shown.out + shown.err
    assert "labelscrub: no command given" in shown.err
