"""What a run expected beside what is true, by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from labelscrub.evaluation.expectation import compare_expectation
from labelscrub.records import Calibration

SAID = Calibration(
    images=5,
    noise_rate=0.4,
    low=0.3,
    high=0.6,
    aim="f1",
    cut=0.7,
    expected_precision=0.8,
    expected_recall=0.9,
    expected_f1=0.85,
    transition=(),
)


def test_images_that_were_not_assessed_take_no_part() -> None:
    probability = np.array([0.9, 0.7, 0.1, 0.1, 0.2, math.nan])
    suspect = np.array([True, True, False, False, False, False])
    wrong = np.array([True, False, True, False, False, True])
    found = compare_expectation(SAID, probability, suspect, wrong)
    assert (found.detected.images, found.detected.planted, found.detected.found) == (5, 2, 1)
    assert found.pairs() == {
        "noise_rate": (0.4, 0.4),
        "precision": (0.8, 0.5),
        "recall": (0.9, 0.5),
        "f1": (0.85, 0.5),
    }
    # five images in four bins: |0.9 - 1| + |0.7 - 0| + 2 |0.1 - 0.5| + |0.2 - 0|, over 5
    assert found.ece == pytest.approx((0.1 + 0.7 + 0.8 + 0.2) / 5)
    assert [b.images for b in found.reliability] == [2, 1, 1, 1]
    assert found.interval_holds
    assert not replace(found, calibration=replace(SAID, low=0.41)).interval_holds
    values = found.to_json()
    assert values["noise_rate"] == {"expected": 0.4, "true": 0.4, "low": 0.3, "high": 0.6}
    assert values["precision"] == {"expected": 0.8, "true": 0.5}


def test_of_nothing_assessed_nothing_is_true() -> None:
    nothing = np.zeros(2, bool)
    found = compare_expectation(SAID, np.full(2, math.nan), nothing, nothing)
    assert all(math.isnan(true) for _, true in found.pairs().values())
    assert math.isnan(found.ece) and found.reliability == () and not found.interval_holds
