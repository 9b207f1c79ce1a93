"""Trials as JSON, and cells as means over them."""

from __future__ import annotations

import dataclasses
import json
import math
import statistics

import pytest

from labelscrub.errors import DataError
from labelscrub.evaluation.results import TrialResult, cells


def result(trial: int = 0, f1: float = 0.5, **changes: object) -> TrialResult:
    made = TrialResult(
        dataset="digits",
        noise="uniform",
        noise_rate=0.2,
        method="cl",
        loss="pz",
        parameters={"cutoff": 0.02},
        delay=1,
        trial=trial,
        images=100,
        classes=3,
        metrics={"f1": f1},
        seconds=1.5,
        provenance={"device": "cpu"},
    )
    return dataclasses.replace(made, **changes)


def test_json_and_back_also_with_what_is_undefined() -> None:
    for one in (result(), result(metrics={}, failure="it collapsed")):
        assert TrialResult.from_json(json.loads(json.dumps(one.to_json()))) == one
    undefined = json.loads(json.dumps(result(f1=math.nan).to_json()))
    assert undefined["metrics"] == {"f1": None}
    assert math.isnan(TrialResult.from_json(undefined).metrics["f1"])


@pytest.mark.parametrize("damage", [{"metrics": None}, {"surplus": 1}])
def test_other_json_is_refused(damage: dict[str, object]) -> None:
    with pytest.raises(DataError, match="not a trial's result"):
        TrialResult.from_json({**result().to_json(), **damage})


def test_mean_and_deviation_are_the_statistics_modules() -> None:
    values = [0.81, 0.84, 0.9]
    (cell,) = cells([result(trial=t, f1=v) for t, v in enumerate(values)])
    assert cell.mean("f1") == pytest.approx(statistics.mean(values))
    assert cell.std("f1") == pytest.approx(statistics.stdev(values))
    assert cell.setting == "cutoff=0.02"


def test_one_trial_has_no_deviation_and_a_failed_one_no_part_in_the_mean() -> None:
    (single,) = cells([result()])
    assert single.mean("f1") == 0.5
    assert math.isnan(single.std("f1"))
    broken = result(1, metrics={"cohens_d": 2.0}, failure="it collapsed")
    (half,) = cells([result(0), broken])
    assert (half.mean("f1"), half.failed("f1"), half.failed("cohens_d")) == (0.5, 1, 0)
    assert half.mean("cohens_d") == 2.0
    (failed,) = cells([broken])
    assert math.isnan(failed.mean("f1"))
    assert math.isnan(single.mean("no such metric"))
    (undefined,) = cells([result(0), result(1, f1=math.nan)])
    assert math.isnan(undefined.mean("f1"))


def test_cells_differ_in_anything_but_the_trial_and_keep_their_order() -> None:
    others = [
        {"noise_rate": 0.3},
        {"delay": 0},
        {"parameters": {"cutoff": 0.04}},
        {"loss": "ce", "parameters": {}},
        {"dataset": "letters"},
        {"method": "aum"},
        {"noise": "pair"},
    ]
    found = cells([result(1), *(result(**changes) for changes in others), result(0)])
    assert len(found) == 1 + len(others)
    assert [trial.trial for trial in found[0].trials] == [0, 1]
