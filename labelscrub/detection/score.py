"""What ranks the images. Every score is in 0..1, and higher is more likely wrong.

| score               | value                                              | reads                          |
|---------------------|----------------------------------------------------|--------------------------------|
| `self-confidence`   | 1 - p(given)                                       | out-of-fold probability        |
| `normalized-margin` | (1 + max over k != given of p(k) - p(given)) / 2   | out-of-fold probability        |
| `aum`               | sigmoid(-AUM)                                      | margin while trained on (best) |
| `aum`, method aum   | sigmoid(threshold - AUM): above 0.5 is a suspect   | the same, per run              |
| `error-probability` | P(the given label is wrong)                        | all of it, see `calibrated`    |
| `auto`              | `error-probability` with method calibrated, `aum`  |                                |
|                     | where it was recorded, else `self-confidence`      |                                |

Symbols: N images, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labelscrub.detection.chunks import in_threads, row_chunks
from labelscrub.records import Predictions


@dataclass(frozen=True, eq=False)
class Margins:
    """What the probabilities say of each image."""

    predicted: NDArray[np.int64]
    """(N,) most probable class; the first in class order where several are."""
    other: NDArray[np.int64]
    """(N,) most probable class but the given one."""
    p_given: NDArray[np.float64]
    """(N,) self-confidence."""
    p_other: NDArray[np.float64]
    """(N,) probability of `other`."""


def margins(
    pred_probs: NDArray[np.float32],  # (N, K)
    labels: NDArray[np.integer],  # (N,)
) -> Margins:
    """The given, the best other and the most probable class of each image."""
    pred_probs = np.asarray(pred_probs)
    n, num_classes = pred_probs.shape
    predicted, other = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int64)
    p_given, p_other = np.empty(n), np.empty(n)

    def read(rows: slice) -> None:
        chunk, given = np.array(pred_probs[rows]), labels[rows]
        at = np.arange(len(chunk))
        p_given[rows] = chunk[at, given]
        chunk[at, given] = -1
        best = chunk.argmax(axis=1)
        other[rows] = best
        p_other[rows] = chunk[at, best]
        ahead = np.where(p_given[rows] == p_other[rows], given < best, p_given[rows] > p_other[rows])
        predicted[rows] = np.where(ahead, given, best)

    in_threads(read, row_chunks(n, num_classes))
    return Margins(predicted, other, p_given, p_other)


def ranking(
    score: str,  # self-confidence, normalized-margin, aum or error-probability
    found: Margins,
    predictions: Predictions,
    error_probability: NDArray[np.float64],  # (N,) NaN where not calibrated or not assessed
    *,
    method: str,  # cl, aum or calibrated
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(N,) what to sort by, falling, and (N,) the score shown.

    They differ for AUM only: its sigmoid is exactly 1 below about -37 logits, where the order must not end.
    """
    if score == "error-probability":
        wrong = np.nan_to_num(error_probability, nan=0.0)  # not assessed: last
        return wrong, wrong
    if score == "aum":
        key = -predictions.aum.astype(np.float64)
        if method == "aum" and predictions.aum_threshold is not None:
            key += predictions.aum_threshold
        return key, np.exp(-np.logaddexp(0, -key))  # sigmoid(key), without overflow
    wrong = (1 + found.p_other - found.p_given) / 2 if score == "normalized-margin" else 1 - found.p_given
    return wrong, np.clip(wrong, 0, 1)


def rank(
    key: NDArray[np.float64],  # (N,) falling
    suspect: NDArray[np.bool_],  # (N,)
    conflict: NDArray[np.int64],  # (N,) 0 is none
    rows: NDArray[np.int64],  # (N,)
) -> NDArray[np.int64]:
    """(N,) from 1: conflicting duplicates, then suspects, then the rest, each by falling key, ties by row."""
    section = np.where(conflict > 0, 0, np.where(suspect, 1, 2))
    ranks = np.empty(len(key), dtype=np.int64)
    ranks[np.lexsort((rows, -key, section))] = np.arange(1, len(key) + 1)
    return ranks
