"""Confident learning (Northcutt, Jiang and Chuang 2021, "Estimating Uncertainty in Dataset Labels").

cleanlab does the work. Only classes that can be judged go in: one with fewer images than folds, or all in
one fold, has a threshold near 0, and every uncertain image would be counted as truly belonging to it.

Symbols: N images, K classes; M images of the J classes that are assessed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def propose(
    pred_probs: NDArray[np.float32],  # (N, K) out-of-fold
    labels: NDArray[np.integer],  # (N,)
    assessed: NDArray[np.bool_],  # (K,) classes that can be judged
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.float64]]:
    """Who is proposed by prune-by-class (N,), by prune-by-noise-rate (N,), and the estimated joint (K, K).

    Joint (section 3.1): entry (j, k) estimates P(given label j, true label k); it is 0 for classes that are
    not assessed. The method "both" is the intersection of the two masks.
    """
    from cleanlab import filter as pruning  # here: it brings pandas and scikit-learn, about 2 s
    from cleanlab.count import compute_confident_joint

    inside = assessed[labels]  # (N,)
    columns = np.flatnonzero(assessed)  # (J,)
    whole = bool(inside.all()) and len(columns) == len(assessed)
    probabilities = (
        pred_probs if whole else pred_probs[np.ix_(inside, columns)]
    )  # (M, J); no copy of the usual case
    given = np.searchsorted(columns, labels[inside])  # (M,)

    counts = compute_confident_joint(given, probabilities)  # (J, J) whole numbers, sum M
    masks = []
    for rule in ("prune_by_class", "prune_by_noise_rate"):
        proposed = np.zeros(len(labels), dtype=bool)
        # n_jobs: more would fork and gain 8 %. Neither min_examples_per_class nor frac_noise: both truncate.
        proposed[inside] = pruning.find_label_issues(
            given, probabilities, filter_by=rule, confident_joint=counts, n_jobs=1
        )
        masks.append(proposed)
        pruning.pred_probs_by_class = {}  # a global that keeps a second copy of the matrix alive

    joint = np.zeros((len(assessed), len(assessed)))
    joint[np.ix_(columns, columns)] = counts / counts.sum()
    return masks[0], masks[1], joint


def noise_rates(
    joint: NDArray[np.float64],  # (K, K) P(given, true)
) -> tuple[float, NDArray[np.float64]]:
    """Share of labels estimated wrong: over all, and for each given class (K,), NaN where not assessed."""
    given = joint.sum(axis=1)
    elsewhere = joint - np.diag(joint.diagonal())
    known = given > 0
    rates = np.full(len(joint), np.nan)
    rates[known] = elsewhere.sum(axis=1)[known] / given[known]
    return float(elsewhere.sum()), rates
