"""`check(max_noise_rate=...)`: which sources it runs detect on, and that an interval is asked for first."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from labelscrub.config import Settings
from labelscrub.errors import UsageError
from labelscrub.pipeline import check
from labelscrub.reporting import run_json

sys.path.insert(0, str(Path(__file__).parent.parent / "reporting"))
from reports import calibration, make_report


@pytest.fixture
def detected(tmp_path, monkeypatch):
    """The arguments that detect was called with, in place of an hour of training."""
    seen = []

    def detect(source, **arguments):
        seen.append(arguments)
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "run.json").write_bytes(run_json(make_report(calibrated=calibration()), {}))
        return SimpleNamespace(out=tmp_path / "run")

    monkeypatch.setattr("labelscrub.pipeline.finding.detect", detect)
    return seen


@pytest.mark.parametrize(
    "arguments", [{"method": "calibrated"}, {"settings": Settings.of(method="calibrated")}]
)
def test_a_source_is_judged_by_the_run_it_gets(tmp_path, detected, arguments):
    assert not check(tmp_path, max_noise_rate=0.1, **arguments).passed
    assert detected == [arguments]


@pytest.mark.parametrize(
    "arguments", [{}, {"method": "cl"}, {"method": "aum"}, {"settings": Settings()}, {"settings": None}]
)
def test_another_method_is_refused_before_anything_is_trained(tmp_path, detected, arguments):
    with pytest.raises(UsageError, match="--max-noise-rate needs"):
        check(tmp_path, max_noise_rate=0.1, **arguments)
    assert detected == []


def test_other_gates_take_any_method(tmp_path, detected):
    assert check(tmp_path, max_rate=0.5).passed
    assert detected == [{}]


def test_a_limit_that_makes_no_sense_is_refused_before_anything_is_trained(tmp_path, detected):
    for limits in ({}, {"max_noise_rate": 2.0}, {"max_noise_rate": -1.0}):
        with pytest.raises(UsageError):
            check(tmp_path, method="calibrated", **limits)
    assert detected == []
