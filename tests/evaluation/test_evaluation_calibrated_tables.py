"""A line a noise, a column a figure; undefined is a dash and failed is said."""

from __future__ import annotations

import math
from typing import Any

from labelscrub.evaluation.calibrated_tables import COLUMNS, METRICS, as_markdown, lines_of
from labelscrub.evaluation.results import TrialResult, cells
from labelscrub.evaluation.tables import Row, table_rows

FIGURES = {
    "noise_rate_estimate": 0.21,
    "noise_rate_low": 0.19,
    "noise_rate_high": 0.23,
    "noise_rate_true": 0.2,
    "noise_rate_covered": 1.0,
    "suspects": 1234.0,
    "f1": 0.9,
    "f1_both": 0.8,
    "error_probability_best_f1": 0.95,
    "expected_precision": 0.91,
    "precision": 0.93,
    "expected_recall": 0.89,
    "recall": 0.88,
    "expected_f1": 0.9,
    "ece": 0.012,
}


def trial(number: int = 0, **changes: Any) -> TrialResult:
    metrics = FIGURES | changes.pop("metrics", {})
    values: dict[str, Any] = {
        "dataset": "mnist",
        "noise": "uniform",
        "noise_rate": 0.2,
        "method": "calibrated",
        "loss": "ce",
        "parameters": {},
        "delay": 0,
        "trial": number,
        "images": 100,
        "classes": 10,
        "metrics": {} if changes.get("failure") else metrics,
        "seconds": 1.0,
    }
    return TrialResult(**{**values, **changes})


def rows(*trials: TrialResult) -> list[Row]:
    return table_rows(cells(trials), "calibrated", METRICS)


def table(*trials: TrialResult) -> list[dict[str, str]]:
    """Its lines, by the titles of the columns."""
    lines = [line for line in as_markdown(rows(*trials)).splitlines() if line.startswith("|")]
    header, _, *body = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(header, line, strict=True)) for line in body]


def test_every_figure_has_its_place() -> None:
    (line,) = table(trial())
    assert line == {
        "data": "mnist",
        "noise": "uniform 20 %",
        "loss": "ce",
        "estimated noise rate": "0.210",
        "95 % interval": "0.190 to 0.230",
        "true": "0.200",
        "covered": "1.00",
        "listed": "1,234",
        "F1": "0.900",
        "F1, both": "0.800",
        "F1, best cut": "0.950",
        "precision, expected / true": "0.91 / 0.93",
        "recall, expected / true": "0.89 / 0.88",
        "ECE": "0.012",
    }
    text = as_markdown(rows(trial()))
    assert "one trial each" in text
    assert all(f"{column.title}: {column.meaning}." in text for column in COLUMNS)


def test_spread_is_over_the_trials() -> None:
    (line,) = table(trial(), trial(1, metrics={"noise_rate_estimate": 0.23, "noise_rate_covered": 0.0}))
    assert line["estimated noise rate"] == "0.220 ± 0.014"  # 0.02 / sqrt(2)
    assert line["covered"] == "0.50"
    assert line["F1"] == "0.900 ± 0.000"


def test_undefined_is_a_dash_and_failed_is_said() -> None:
    nan = dict.fromkeys(("f1", "f1_both", "error_probability_best_f1", "recall"), math.nan)
    none = trial(noise="none", noise_rate=0.0, metrics=nan)
    line, failed = table(none, trial(), trial(1, failure="chance | level"))
    dash = "–"  # noqa: RUF001
    assert (line["noise"], line["F1"], line["F1, both"]) == ("none", dash, dash)
    assert (line["recall, expected / true"], line["listed"]) == (f"0.89 / {dash}", "1,234")
    assert failed["noise"] == "uniform 20 % 1 of 2 failed"
    assert "Failed: chance \\| level." in as_markdown(rows(trial(failure="chance | level")))


def test_lines_are_told_apart_by_data_noise_and_loss() -> None:
    pz = trial(loss="pz", parameters={"cutoff": 0.02})
    found = lines_of(rows(trial(), pz, trial(noise="pair"), trial(dataset="cifar10"), trial(1)))
    assert [(line.dataset, line.noise, line.loss) for line in found] == [
        ("mnist", "uniform 20 %", "ce"),
        ("mnist", "uniform 20 %", "pz cutoff=0.02"),
        ("mnist", "pair 20 %", "ce"),
        ("cifar10", "uniform 20 %", "ce"),
    ]
