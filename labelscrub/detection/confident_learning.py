"""Confident learning (Northcutt, Jiang and Chuang 2021, "Estimating Uncertainty in Dataset Labels").

cleanlab does the work. Only classes that can be judged go in: one with fewer images than folds, or all in
one fold, has a threshold near 0, and every uncertain image would be counted as truly belonging to it. A class
that no label names goes in where the model knows it, from another source or from elsewhere: images labelled
otherwise may truly belong to it.

Symbols: N images, K classes; M images of the classes that are assessed; J classes that go in.
"""

from __future__ import annotations

import warnings

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
    from cleanlab.count import compute_confident_joint, get_confident_thresholds

    inside = assessed[labels]  # (N,)
    unlabelled = (np.bincount(labels, minlength=len(assessed)) == 0) & pred_probs.any(axis=0)  # (K,)
    columns = np.flatnonzero(assessed | unlabelled)  # (J,)
    whole = bool(inside.all()) and len(columns) == len(assessed)
    probabilities = (
        pred_probs if whole else pred_probs[np.ix_(inside, columns)]
    )  # (M, J); no copy of the usual case
    given = np.searchsorted(columns, labels[inside])  # (M,)

    thresholds = get_confident_thresholds(given, probabilities)  # (J,)
    # cleanlab's is out of reach where no label says what to expect; the mean of the others is not.
    thresholds[unlabelled[columns]] = thresholds[~unlabelled[columns]].mean()
    counts = compute_confident_joint(given, probabilities, thresholds=thresholds)  # (J, J) whole, sum M
    masks = []
    for rule in ("prune_by_class", "prune_by_noise_rate"):
        proposed = np.zeros(len(labels), dtype=bool)
        with warnings.catch_warnings():  # cleanlab warns of each class without labels
            warnings.filterwarnings("ignore", message="May not flag all label issues in class")
            # n_jobs: more would fork, for 8 %. Neither min_examples_per_class nor frac_noise: both truncate.
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
