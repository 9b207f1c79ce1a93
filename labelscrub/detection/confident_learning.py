"""Confident learning (Northcutt, Jiang and Chuang 2021, "Estimating Uncertainty in Dataset Labels").

Only classes that can be judged go in: one with fewer images than folds, or all in one fold, has a threshold
near 0, and every uncertain image would be counted as truly belonging to it. A class that no label names goes
in where the model knows it, from another source or from elsewhere: images labelled otherwise may truly belong
to it.

The arithmetic is cleanlab's, to the last bit: what it finds is what cleanlab 2.9 finds, were its sorts
stable. Its order among equal values hangs on the processor; here the lower row goes first. The matrix is read
in chunks and never copied.

Symbols: N images, K classes; J classes that go in.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from labelscrub.detection import pruning
from labelscrub.detection.chunks import in_threads, known_classes, row_chunks
from labelscrub.detection.pruning import TOLERANCE, Members

LOWEST_THRESHOLD = 2 * TOLERANCE  # above the tolerance, so that a probability of 0 never reaches it


def propose(
    pred_probs: NDArray[np.float32],  # (N, K) out-of-fold
    labels: NDArray[np.integer],  # (N,)
    assessed: NDArray[np.bool_],  # (K,) classes that can be judged
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.float64]]:
    """Who is proposed by prune-by-class (N,), by prune-by-noise-rate (N,), and the estimated joint (K, K).

    Joint (section 3.1): entry (j, k) estimates P(given label j, true label k); it is 0 for classes that are
    not assessed. The method "both" is the intersection of the two masks.
    """
    pred_probs = np.asarray(pred_probs)  # slices of a memory map are dearer than those of an array
    sizes = np.bincount(labels, minlength=len(assessed))
    unlabelled = (sizes == 0) & known_classes(pred_probs)
    goes_in = assessed | unlabelled  # (K,)
    members = Members.of(labels, assessed)
    self_confidence = pred_probs[np.arange(len(labels)), labels]  # (N,)

    thresholds = _thresholds(self_confidence, members, unlabelled)
    true = _confident_class(pred_probs, thresholds - TOLERANCE, goes_in)  # (N,) -1: of none
    pair = labels.astype(np.int64) * len(assessed) + true
    counts = np.bincount(pair[assessed[labels] & (true >= 0)], minlength=len(assessed) ** 2)
    inside = np.ix_(goes_in, goes_in)
    calibrated = np.zeros((len(assessed), len(assessed)), dtype=np.int64)
    calibrated[inside] = _calibrated(counts.reshape(calibrated.shape)[inside], members.sizes[goes_in])

    wrong = pruning.to_prune(calibrated)
    by_class = pruning.by_class(self_confidence, members, wrong)
    by_noise_rate = pruning.by_noise_rate(pred_probs, self_confidence, members, wrong)
    proposed = np.flatnonzero(by_class | by_noise_rate)
    agreeing = proposed[pruning.agree(pred_probs, labels, goes_in, proposed)]
    by_class[agreeing] = by_noise_rate[agreeing] = False
    return by_class, by_noise_rate, calibrated / calibrated.sum()


def _thresholds(
    self_confidence: NDArray[np.floating],  # (N,)
    members: Members,
    unlabelled: NDArray[np.bool_],  # (K,)
) -> NDArray[np.floating]:
    """(K,) section 3.1, equation 2: mean self-confidence of the images given the class; infinite where none.

    No label says what to expect of an unlabelled class: it gets the mean of the others.
    """
    labelled = members.classes()
    thresholds = np.full(len(unlabelled), np.inf, dtype=self_confidence.dtype)
    for k in labelled:
        thresholds[k] = max(self_confidence[members.of_class(k)].mean(), LOWEST_THRESHOLD)
    thresholds[unlabelled] = thresholds[labelled].mean()
    return thresholds


def _confident_class(
    pred_probs: NDArray[np.floating],  # (N, K)
    reached_at: NDArray[np.floating],  # (K,)
    goes_in: NDArray[np.bool_],  # (K,)
) -> NDArray[np.int64]:
    """(N,) section 3.1, equation 1: the one class whose threshold the image reaches; -1 where there is none.

    Where it reaches several, its most probable class of all, as cleanlab has it.
    """
    found = np.empty(len(pred_probs), dtype=np.int64)

    def read(rows: slice) -> None:
        chunk = pred_probs[rows]
        reached = chunk >= reached_at
        at = np.arange(len(chunk))
        first = reached.argmax(axis=1)
        true = np.where(reached[at, first], first, -1)
        reached[at, first] = False
        several = np.flatnonzero(reached.any(axis=1))
        true[several] = pruning.among(chunk[several], goes_in).argmax(axis=1)
        found[rows] = true

    in_threads(read, row_chunks(*pred_probs.shape))
    return found


def _calibrated(
    counts: NDArray[np.integer],  # (J, J) confident images, given by true
    sizes: NDArray[np.integer],  # (J,) images given the class
) -> NDArray[np.int64]:
    """(J, J) section 3.1, equation 3: rows scaled to the images given each class, in whole images.

    A row's rounding error goes to the cells that were rounded furthest the other way; among equals the later
    class gains an image, the earlier loses one.
    """
    # True by given, as it lies in memory in cleanlab: another order of summing would move the last bits of
    # cells that are equally far from whole, and with them whole images.
    by_true = np.array(counts.T, order="C")
    np.fill_diagonal(by_true, np.maximum(by_true.diagonal(), 1))  # at least one image of a class is right
    by_true = by_true / by_true.sum(axis=0) * sizes
    scaled = (by_true / by_true.sum() * sizes.sum()).T
    whole = np.rint(scaled)
    missing = (sizes - whole.sum(axis=1))[:, None]
    order = np.argsort(scaled - whole, axis=1, kind="stable")
    place = np.arange(len(sizes))
    change = np.where(place >= len(sizes) - missing, 1, np.where(place < -missing, -1, 0))
    counted: NDArray[np.int64] = whole.astype(np.int64)
    np.put_along_axis(counted, order, np.take_along_axis(counted, order, axis=1) + change, axis=1)
    return counted


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
