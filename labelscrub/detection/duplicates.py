"""Images with the same bytes: which belong together, which contradict each other, and who is likely right."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def duplicate_groups(
    sha256: NDArray[np.uint8],  # (N, 32)
) -> NDArray[np.int64]:
    """(N,) group number, the same for the same bytes, counted from 0 by first appearance.

    A digest of 32 zero bytes means unknown: such an image is nobody's duplicate.
    """
    digests = np.ascontiguousarray(sha256).view(">u8")  # (N, 4)
    order = np.lexsort((*digests.T,))  # stable: equal digests stay in image order
    ordered = digests[order]
    starts = np.ones(len(order), dtype=bool)
    starts[1:] = (ordered[1:] != ordered[:-1]).any(axis=1) | ~ordered[1:].any(axis=1)
    first = order[starts][np.cumsum(starts) - 1]  # first image of each ordered image's group
    leader = np.empty(len(order), dtype=np.int64)
    leader[order] = first
    return np.unique(leader, return_inverse=True)[1].astype(np.int64).reshape(-1)


def conflicts(
    sha256: NDArray[np.uint8],  # (N, 32)
    labels: NDArray[np.integer],  # (N,)
) -> NDArray[np.int64]:
    """(N,) number of the group of same-bytes images that carry different labels, from 1; 0 for all others."""
    groups = duplicate_groups(sha256)
    if len(groups) == 0:
        return groups
    lowest = np.full(groups.max() + 1, np.iinfo(np.int64).max)
    highest = np.full(groups.max() + 1, -1)
    np.minimum.at(lowest, groups, labels)
    np.maximum.at(highest, groups, labels)
    contradicts = lowest != highest
    number = np.where(contradicts, np.cumsum(contradicts), 0)
    return number[groups]


def best_supported(
    pred_probs: NDArray[np.float32],  # (N, K) out-of-fold
    labels: NDArray[np.integer],  # (N,)
    conflict: NDArray[np.int64],  # (N,) as `conflicts` gives it
    assessed: NDArray[np.bool_],  # (K,) classes that can be judged
) -> NDArray[np.int32]:
    """(N,) the label in each conflicting group with the highest mean probability over it; -1 elsewhere.

    Labels of classes that can't be judged don't compete; -1 where a group has no others. A tie goes to the
    label that more members carry, then to class order.
    """
    best = np.full(len(labels), -1, dtype=np.int32)
    for members in members_of(conflict):
        carried, count = np.unique(labels[members], return_counts=True)
        judged = assessed[carried]
        if judged.any():
            support = pred_probs[np.ix_(members, carried[judged])].mean(axis=0, dtype=np.float64)
            # lexsort: last key first, falling support, then falling count; stable, so class order at last
            best[members] = carried[judged][np.lexsort((-count[judged], -support))[0]]
    return best


def members_of(
    conflict: NDArray[np.int64],  # (N,)
) -> list[NDArray[np.int64]]:
    """Image indices of each conflicting group, ascending, in order of group number."""
    order = np.argsort(conflict, kind="stable")
    order = order[conflict[order] > 0]
    return np.split(order, np.flatnonzero(np.diff(conflict[order])) + 1) if len(order) else []
