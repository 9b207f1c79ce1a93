"""Settings and limits from files and variables: precedence, where each came from, and mistakes named."""

from __future__ import annotations

import math
from dataclasses import fields

import pytest

from labelscrub.config import Settings, all_settings, check_value
from labelscrub.config_files import origins, read_limits, read_settings
from labelscrub.config_limits import Limits, all_limits
from labelscrub.errors import UsageError


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "labelscrub.toml").write_text(
        'loss = "bl"\nmax-rate = 0.03\nfail-on-unreadable = true\nseed = 1\n'
    )
    return tmp_path


VARIABLES = {"LABELSCRUB_SEED": "2", "LABELSCRUB_MAX_SUSPECTS": "7", "LABELSCRUB_MAX_RATE": "0.5"}


def test_command_line_before_variable_before_file_before_default(folder):
    settings = read_settings({"seed": None}, environ=VARIABLES, folder=folder)
    assert (settings.training.loss, settings.training.seed, settings.training.folds) == ("bl", 2, 5)
    assert read_settings({"seed": 3}, environ=VARIABLES, folder=folder).training.seed == 3
    limits = read_limits({"max_rate": None, "fail_on_unreadable": False}, environ=VARIABLES, folder=folder)
    assert limits == Limits(max_rate=0.5, max_suspects=7, fail_on_unreadable=False)
    assert read_limits({}, environ={}, folder=folder) == Limits(max_rate=0.03, fail_on_unreadable=True)


def test_where_each_value_came_from(folder):
    found = origins({"epochs": 9, "seed": None}, environ=VARIABLES, folder=folder)
    assert found.keys() == all_settings().keys() | all_limits().keys()
    assert {name: item for name, item in found.items() if item[1] != "default"} == {
        "epochs": (9, "command line"),
        "seed": (2, "LABELSCRUB_SEED"),
        "max_suspects": (7, "LABELSCRUB_MAX_SUSPECTS"),
        "max_rate": (0.5, "LABELSCRUB_MAX_RATE"),
        "loss": ("bl", "labelscrub.toml"),
        "fail_on_unreadable": (True, "labelscrub.toml"),
    }
    assert found["folds"] == (5, "default") and found["baseline"] == (None, "default")


def test_the_values_are_those_that_count(folder):
    named = folder / "other.toml"
    named.write_text('method = "calibrated"\nlr = 1\n')
    found = origins({}, environ={}, folder=folder, config=named)
    settings = read_settings({}, environ={}, folder=folder, config=named)
    assert {name: value for name, (value, _) in found.items() if name in all_settings()} == settings.flat()
    assert found["lr"] == (1.0, str(named)) and found["loss"] == ("ce", "default")


def test_a_pyproject_has_a_table(tmp_path):
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "x"\n[tool.labelscrub]\nmax_per_class = 0.2\n'
    )
    found = origins({}, environ={}, folder=tmp_path)
    assert found["max_per_class"] == (0.2, "pyproject.toml")
    (tmp_path / "labelscrub.toml").write_text("max_per_class = 0.1\n")
    assert origins({}, environ={}, folder=tmp_path)["max_per_class"] == (0.1, "labelscrub.toml")


@pytest.mark.parametrize("text", ["", "tool = 3", "[tool]\n", "this is not toml", "[tool.other]\nx = 1"])
def test_a_pyproject_that_says_nothing_of_labelscrub_is_nothing(tmp_path, text):
    (tmp_path / "pyproject.toml").write_text(text)
    assert read_settings({}, environ={}, folder=tmp_path) == Settings()
    assert read_limits({}, environ={}, folder=tmp_path) == Limits()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("max-rat = 0.1", r"labelscrub\.toml: unknown setting 'max_rat'\ndid you mean 'max_rate'"),
        ("los = 'bl'", "did you mean 'loss'"),
        ("max_rate = 0.1\n[limits]\nmax_suspects = 1", "unknown setting 'limits'"),
        ("max_rate = 'x'", "--max-rate must be a float"),
        ("max_rate = 3", "--max-rate must be at least 0 and at most 1, not 3\nit is a share: 3 % is 0.03"),
        ("max_rate = nan", "--max-rate must be a finite number"),
        ("max_suspects = 1.5", "--max-suspects must be a int"),
        ("max_suspects = -1", "--max-suspects must be at least 0"),
        ("fail_on_unreadable = 1", "--fail-on-unreadable must be a bool"),
        ("baseline = ''", "--baseline has no file name"),
    ],
)
def test_a_mistake_is_named(tmp_path, text, said):
    (tmp_path / "labelscrub.toml").write_text(text)
    with pytest.raises(UsageError, match=said):
        read_limits({}, environ={}, folder=tmp_path)
    with pytest.raises(UsageError, match=said):
        origins({}, environ={}, folder=tmp_path)


def test_detect_does_not_mind_limits_and_check_does_not_mind_settings(tmp_path):
    (tmp_path / "labelscrub.toml").write_text("max_rate = 0.1\nfolds = 3\nbaseline = 'known.json'\n")
    assert read_settings({}, environ={}, folder=tmp_path) == Settings.of(folds=3)
    assert read_limits({}, environ={}, folder=tmp_path) == Limits(max_rate=0.1, baseline="known.json")


@pytest.mark.parametrize(
    ("variable", "value"),
    [("MAX_RATE", "x"), ("MAX_SUSPECTS", "1.5"), ("FAIL_ON_UNREADABLE", "maybe"), ("MAX_PER_CLASS", "nan")],
)
def test_a_variable_that_is_no_value_is_refused(tmp_path, variable, value):
    with pytest.raises(UsageError, match=f"LABELSCRUB_{variable}|--max-per-class"):
        read_limits({}, environ={f"LABELSCRUB_{variable}": value}, folder=tmp_path)


def test_a_pyproject_with_something_else_there(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool]\nlabelscrub = 3\n")
    with pytest.raises(UsageError, match=r"tool\.labelscrub is not a table"):
        read_settings({}, environ={}, folder=tmp_path)


def test_limits_and_settings_share_no_name_and_each_has_help():
    assert not all_limits().keys() & all_settings().keys()
    for field in fields(Limits):
        check_value(field, field.default)
        assert field.metadata["help"].endswith(".")


def test_what_limits_anything():
    assert Limits().given() == {} and Limits(max_rate=0, baseline="x").given() == {
        "max_rate": 0,
        "baseline": "x",
    }
    assert Limits(baseline="x", fail_on_unreadable=True, max_noise_rate=0.1).baseline_decides
    assert not Limits(baseline="x", max_per_class=0).baseline_decides and not Limits().baseline_decides
    with pytest.raises(UsageError):
        Limits(max_rate=math.inf)


@pytest.mark.parametrize("read", [read_settings, origins])
@pytest.mark.parametrize(
    ("text", "environ", "said"),
    [
        ("epochs = 'ten'", {}, r"^labelscrub\.toml: --epochs must be a"),
        ("folds = 1", {}, r"^labelscrub\.toml: --folds must be at least 2"),
        ("method = 'c'", {}, r"^labelscrub\.toml: --method 'c' is not one of"),
        ("", {"LABELSCRUB_FOLDS": "1"}, "^LABELSCRUB_FOLDS: --folds must be at least 2"),
        ("", {"LABELSCRUB_LOSS": "x"}, "^LABELSCRUB_LOSS: --loss 'x' is not one of"),
        (
            "loss = 'focal'\nq = 0.5",
            {},
            r"--q has no .* \(--loss is from labelscrub.toml, --q is from labels",
        ),
        ("q = 0.5", {"LABELSCRUB_LOSS": "focal"}, r"--q is from .*\.toml, --loss is from LABELSCRUB_LOSS\)"),
        ("folds = 2\nmethod = 'calibrated'", {}, r"--method is from labelscrub\.toml\)"),
        ("aim = 'x'", {}, r"--aim 'x' is not understood \(--aim is from labelscrub\.toml\)"),
    ],
)
def test_a_value_that_cannot_be_is_told_with_where_it_stands(tmp_path, read, text, environ, said):
    (tmp_path / "labelscrub.toml").write_text(text)
    with pytest.raises(UsageError, match=said):
        read({}, environ=environ, folder=tmp_path)


def test_limits_too_are_told_with_where_they_stand(tmp_path):
    (tmp_path / "labelscrub.toml").write_text("max_rate = 3")
    with pytest.raises(
        UsageError, match=r"^labelscrub\.toml: --max-rate must be .*\nit is a share: 3 % is 0.03"
    ):
        read_limits({}, environ={}, folder=tmp_path)
    with pytest.raises(UsageError, match=r"^LABELSCRUB_BASELINE: --baseline has no file name"):
        read_limits({}, environ={"LABELSCRUB_BASELINE": ""}, folder=tmp_path.parent)
    named = tmp_path / "my.toml"
    named.write_text("max_suspects = -1")
    with pytest.raises(UsageError, match=r"my\.toml: --max-suspects must be at least 0"):
        read_limits({}, environ={}, folder=tmp_path, config=named)


def test_what_was_typed_needs_no_place(tmp_path):
    (tmp_path / "labelscrub.toml").write_text("q = 0.5\n")
    with pytest.raises(UsageError, match=r"^--folds must be at least 2") as caught:
        read_settings({"folds": 1, "loss": "gce"}, environ={}, folder=tmp_path)
    assert "is from" not in caught.value.cause
    with pytest.raises(
        UsageError, match=r"--q has no effect with --loss focal \(--q is from labelscrub\.toml\)"
    ):
        read_settings({"loss": "focal"}, environ={}, folder=tmp_path)


@pytest.mark.parametrize(
    "data", [b"[tool.labelscrub]\nmax_rate = 0.1\n[x\n", b"[tool.labelscrub]\nx = '\xff'\n"]
)
def test_limits_in_a_broken_pyproject_do_not_go_unnoticed(tmp_path, data):
    (tmp_path / "pyproject.toml").write_bytes(data)
    with pytest.raises(UsageError, match=r"pyproject\.toml can't be read"):
        read_limits({"fail_on_unreadable": True}, environ={}, folder=tmp_path)


def test_a_byte_order_mark_is_no_mistake(tmp_path):
    (tmp_path / "labelscrub.toml").write_text("max_rate = 0.1\n", encoding="utf-8-sig")
    assert read_limits({}, environ={}, folder=tmp_path) == Limits(max_rate=0.1)
