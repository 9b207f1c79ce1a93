"""Predictions come back from an .npz as they were."""

from __future__ import annotations

import io

import numpy as np
import pytest

from labelscrub.records import EpochRecord, Predictions
from labelscrub.training import predictions_from_arrays, predictions_to_arrays

HISTORY = (EpochRecord(1, 1, 0.1, 0.9), EpochRecord(2, 1, 0.2, 0.8))


@pytest.mark.parametrize("limit", [None, np.array([1.5, 1.5], np.float32)])
@pytest.mark.parametrize("history", [(), HISTORY])
def test_predictions_survive_storage(limit: np.ndarray | None, history: tuple[EpochRecord, ...]) -> None:
    made = Predictions(
        pred_probs=np.array([[0.25, 0.75], [1, 0]], np.float32),
        fold=np.array([0, 1], np.int16),
        aum=np.array([np.nan, -2], np.float32),
        aum_threshold=limit,
        history=history,
    )
    file = io.BytesIO()
    np.savez(file, **predictions_to_arrays(made))
    file.seek(0)
    with np.load(file, allow_pickle=False) as stored:
        back = predictions_from_arrays(stored)
    for name in ("pred_probs", "fold", "aum", "aum_threshold"):
        found, expected = getattr(back, name), getattr(made, name)
        np.testing.assert_array_equal(found, expected)
        assert getattr(found, "dtype", None) == getattr(expected, "dtype", None)
    assert back.history == made.history
