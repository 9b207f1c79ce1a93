"""Which fold holds which image out: stratified by class, groups kept together, the same for the same seed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def assign_folds(
    labels: NDArray[np.integer],  # (N,) class index
    groups: NDArray[np.int64] | None,  # (N,) equal numbers (duplicates, a patient) share a fold
    folds: int,
    seed: int,
) -> NDArray[np.int16]:  # (N,) fold in 0..folds-1
    """Every class as level over the folds as its groups allow, and the folds of about one size.

    A class smaller than `folds` is spread over as many folds as it has images; no size is an error. Groups of
    several images are placed first, largest first, each where it unbalances the classes least; single images
    then fill up every class to level.
    """
    rng = np.random.default_rng(seed)
    classes, label = np.unique(labels, return_inverse=True)  # classes that occur, and (N,) index into them
    totals = np.bincount(label, minlength=len(classes)).astype(np.float64)
    counts = np.zeros((folds, len(classes)), np.int64)  # images of each class in each fold so far
    fold = np.full(len(labels), -1, np.int16)
    if groups is not None:
        for members in _several(groups, rng):
            present, number = np.unique(label[members], return_counts=True)
            # What the group adds to the sum of squared class shares, but for a constant.
            crowded = (counts[:, present] * (number / totals[present] ** 2)).sum(axis=1)
            chosen = int(np.lexsort((counts.sum(axis=1), crowded))[0])
            fold[members] = chosen
            counts[chosen, present] += number
    single = np.flatnonzero(fold < 0)
    shuffled = rng.permutation(single)
    by_class = shuffled[np.argsort(label[shuffled], kind="stable")]
    ends = np.cumsum(np.bincount(label[single], minlength=len(classes)))
    for c, members in enumerate(np.split(by_class, ends[:-1]) if len(classes) else []):
        # Slots are ordered by their height in the class, then by how full the fold is, then at random.
        added = _level(counts[:, c], len(members), counts.sum(axis=1), rng.permutation(folds))
        fold[members] = np.repeat(np.arange(folds, dtype=np.int16), added)
        counts[:, c] += added
    return fold


def _several(groups: NDArray[np.int64], rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """The members of each group of at least two images, largest group first, ties in random order."""
    _, inverse, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    members = np.flatnonzero(sizes[inverse] > 1)
    members = members[np.argsort(inverse[members], kind="stable")]
    if not len(members):
        return []
    parts = np.split(members, np.flatnonzero(np.diff(inverse[members])) + 1)
    order = np.lexsort((rng.random(len(parts)), np.array([-len(part) for part in parts])))
    return [parts[i] for i in order]


def _level(
    heights: NDArray[np.int64],  # (folds,) images of one class already in each fold
    number: int,
    sizes: NDArray[np.int64],  # (folds,) images of all classes in each fold: breaks ties
    tie: NDArray[np.int64],  # (folds,) breaks what ties are left
) -> NDArray[np.int64]:  # (folds,) how many of `number` more images each fold gets
    """Water filling: `number` times one more to the lowest fold, without counting one by one."""
    low, high = int(heights.min()), int(heights.max()) + number
    while low < high:  # the highest water line that `number` images can fill
        middle = (low + high + 1) // 2
        low, high = (middle, high) if (middle - heights).clip(min=0).sum() <= number else (low, middle - 1)
    added = (low - heights).clip(min=0)
    rest = number - int(added.sum())
    lowest = np.lexsort((tie, sizes + added, heights + added))[:rest]
    added[lowest] += 1
    return added
