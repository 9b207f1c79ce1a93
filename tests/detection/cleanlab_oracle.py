"""cleanlab, whose sorts depend on the processor where values are equal, with stable ones in their place."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from cleanlab import filter as pruning
from cleanlab.count import compute_confident_joint, get_confident_thresholds
from cleanlab.internal import util
from numpy.typing import NDArray


class _StableNumPy:
    """NumPy as cleanlab sees it."""

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    def argsort(self, values: NDArray[Any]) -> NDArray[np.int64]:
        return np.argsort(values, kind="stable")


@contextmanager
def stable_sorts() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pruning, "np", _StableNumPy())
        patch.setattr(util, "np", _StableNumPy())
        yield


def propose(
    pred_probs: NDArray[Any], labels: NDArray[np.integer], assessed: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.float64]]:
    """`confident_learning.propose` by cleanlab, on a copy of the rows and columns that go in."""
    inside = assessed[labels]
    unlabelled = (np.bincount(labels, minlength=len(assessed)) == 0) & pred_probs.any(axis=0)
    columns = np.flatnonzero(assessed | unlabelled)
    probabilities = pred_probs[np.ix_(inside, columns)]
    given = np.searchsorted(columns, labels[inside])
    thresholds = np.array(get_confident_thresholds(given, probabilities))
    others = unlabelled[columns]
    thresholds[others] = thresholds[~others].astype(pred_probs.dtype).mean()
    counts = compute_confident_joint(given, probabilities, thresholds=thresholds.astype(pred_probs.dtype))
    masks = []
    for rule in ("prune_by_class", "prune_by_noise_rate"):
        proposed = np.zeros(len(labels), dtype=bool)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="May not flag all label issues in class")
            proposed[inside] = pruning.find_label_issues(
                given, probabilities, filter_by=rule, confident_joint=counts, n_jobs=1
            )
        masks.append(proposed)
    joint = np.zeros((len(assessed), len(assessed)))
    joint[np.ix_(columns, columns)] = counts / counts.sum()
    return masks[0], masks[1], joint
