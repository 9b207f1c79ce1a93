"""Settings: defaults, ranges, and mistakes that get a hint."""

from __future__ import annotations

import dataclasses
import math

import pytest

from labelscrub.config import (
    LOSSES,
    Settings,
    TrainingSettings,
    all_settings,
    check_value,
    loss_delay,
    loss_parameters,
)
from labelscrub.errors import UsageError


def test_the_defaults_are_the_papers_piecewise_zero_loss():
    training = Settings().training
    assert (training.loss, loss_parameters(training), loss_delay(training)) == ("pz", {"cutoff": 0.02}, 1)
    assert training.folds == 5


def test_flat_names_are_unique_and_round_trip():
    settings = Settings.of(loss="bl", gamma=0.4, folds=3, filter="by-class", label_column="y")
    assert Settings.of(settings.flat()) == settings


def test_every_default_passes_its_own_check_and_has_help():
    for field in all_settings().values():
        check_value(field, field.default)
        assert (
            field.metadata["help"].rstrip(")").endswith((".", "all", "pt"))
            and field.metadata["help"][0].isprintable()
        )


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_has_parameters_in_range(loss):
    parameters = loss_parameters(Settings.of(loss=loss).training)
    for name, value in parameters.items():
        check_value(all_settings()[name], value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("folds", 1),
        ("folds", -5),
        ("folds", True),
        ("folds", 2.5),
        ("epochs", 0),
        ("lr", math.nan),
        ("lr", math.inf),
        ("lr", 0.0),
        ("seed", 2**64),
        ("cutoff", 1.0),
        ("loss", "PZ"),
        ("q", 0),
        ("max_missing", 1.01),
        ("allow_outside", 1),
    ],
)
def test_a_value_out_of_range_is_a_usage_error_naming_the_flag(name, value):
    with pytest.raises(UsageError, match="--" + name.replace("_", "-")):
        Settings.of({name: value})


def test_an_unknown_setting_names_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'cutoff'"):
        Settings.of(cutof=0.1)


def test_a_parameter_of_another_loss_is_refused():
    with pytest.raises(UsageError, match="--gamma has no effect with --loss pz"):
        Settings.of(gamma=0.3)


def test_settings_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().training.folds = 3  # type: ignore[misc]


def test_an_int_for_a_float_is_the_same_run():
    assert repr(Settings.of(lr=1, cutoff=0).flat()) == repr(Settings.of(lr=1.0, cutoff=0.0).flat())


def test_a_foreign_parameter_is_refused_however_the_settings_are_made():
    with pytest.raises(UsageError, match="--gamma has no effect"):
        TrainingSettings(loss="pz", gamma=0.3)
