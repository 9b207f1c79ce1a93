"""Predictions as named arrays and back, so that detection can be run again without training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelscrub.records import EpochRecord, Evidence, Plants, Predictions

_EVIDENCE = ("train_probs", "late_margin", "mean_logits")
_PLANTS = ("index", "label", "fold", "late_margin")


def predictions_to_arrays(predictions: Predictions) -> dict[str, NDArray[Any]]:
    """pred_probs (N, K), fold (N,), aum (N,), history (E, 4); where there are such, aum_threshold (N,) and
    those of `evidence_to_arrays`.
    """
    arrays: dict[str, NDArray[Any]] = {
        "pred_probs": predictions.pred_probs,
        "fold": predictions.fold,
        "aum": predictions.aum,
        "history": history_to_array(predictions.history),
    }
    if predictions.aum_threshold is not None:
        arrays["aum_threshold"] = predictions.aum_threshold
    return {**arrays, **evidence_to_arrays(predictions.evidence)}


def predictions_from_arrays(arrays: Mapping[str, NDArray[Any]]) -> Predictions:
    """The inverse of `predictions_to_arrays`."""
    return Predictions(
        pred_probs=arrays["pred_probs"],
        fold=arrays["fold"],
        aum=arrays["aum"],
        aum_threshold=arrays.get("aum_threshold"),
        history=history_from_array(arrays["history"]),
        evidence=evidence_from_arrays(arrays),
    )


def evidence_to_arrays(evidence: Evidence | None) -> dict[str, NDArray[Any]]:
    """train_probs (N, K), late_margin (N,), mean_logits (N, K), plants_index (P,) and so on; {} for None."""
    if evidence is None:
        return {}
    plants = {f"plants_{name}": getattr(evidence.plants, name) for name in _PLANTS}
    return {**{name: getattr(evidence, name) for name in _EVIDENCE}, **plants}


def evidence_from_arrays(arrays: Mapping[str, NDArray[Any]]) -> Evidence | None:
    """The inverse of `evidence_to_arrays`; None where none was stored."""
    if "late_margin" not in arrays:
        return None
    plants = Plants(**{name: arrays[f"plants_{name}"] for name in _PLANTS})
    return Evidence(**{name: arrays[name] for name in _EVIDENCE}, plants=plants)


def history_to_array(history: tuple[EpochRecord, ...]) -> NDArray[Any]:  # (E, 4) float64
    rows = [(record.fold, record.epoch, record.loss, record.accuracy) for record in history]
    return np.array(rows, np.float64).reshape(-1, 4)


def history_from_array(array: NDArray[Any]) -> tuple[EpochRecord, ...]:
    return tuple(
        EpochRecord(int(fold), int(epoch), loss, accuracy) for fold, epoch, loss, accuracy in array.tolist()
    )
