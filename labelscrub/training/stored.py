"""Predictions as named arrays and back, so that detection can be run again without training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelscrub.records import EpochRecord, Predictions


def predictions_to_arrays(predictions: Predictions) -> dict[str, NDArray[Any]]:
    """pred_probs (N, K), fold (N,), aum (N,), aum_threshold (N,) where there is one, history (E, 4)."""
    arrays: dict[str, NDArray[Any]] = {
        "pred_probs": predictions.pred_probs,
        "fold": predictions.fold,
        "aum": predictions.aum,
        "history": history_to_array(predictions.history),
    }
    if predictions.aum_threshold is not None:
        arrays["aum_threshold"] = predictions.aum_threshold
    return arrays


def predictions_from_arrays(arrays: Mapping[str, NDArray[Any]]) -> Predictions:
    """The inverse of `predictions_to_arrays`."""
    return Predictions(
        pred_probs=arrays["pred_probs"],
        fold=arrays["fold"],
        aum=arrays["aum"],
        aum_threshold=arrays.get("aum_threshold"),
        history=history_from_array(arrays["history"]),
    )


def history_to_array(history: tuple[EpochRecord, ...]) -> NDArray[Any]:  # (E, 4) float64
    rows = [(record.fold, record.epoch, record.loss, record.accuracy) for record in history]
    return np.array(rows, np.float64).reshape(-1, 4)


def history_from_array(array: NDArray[Any]) -> tuple[EpochRecord, ...]:
    return tuple(
        EpochRecord(int(fold), int(epoch), loss, accuracy) for fold, epoch, loss, accuracy in array.tolist()
    )
