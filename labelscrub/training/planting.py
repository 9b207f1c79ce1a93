"""Labels made wrong on purpose while training, so that it is known what a wrong label looks like here.

The first training of a calibrated run, the scout, plants nothing. The others plant labels among the images
that the scout held out, and only where it agrees with the given label: so a plant is rarely a mistake set
right. M images were held out by the scout, K classes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from labelscrub.records import Plants
from labelscrub.training.fold import FoldResult

SHARE = 0.03  # of the images trained on: enough to learn from, too few to harm the network
FEWEST = 50  # plants a training: small sets get a larger share
MOST = 0.15  # of the agreed images, in one training
MOST_IN_ALL = 0.6  # of the agreed images, over all trainings
MOST_OF_CLASS = 0.2  # of a class's images trained on: a small class is not drowned in plants
_PLANTS = 104  # seed tag, so that it shares its draws with no training


def no_plants(k: int) -> Plants:
    """Of a training that records what the others do, but plants nothing."""
    return _plants(np.zeros(0, np.int64), np.zeros(0, np.int32), k)


def plan_plants(
    scout: FoldResult,
    labels: NDArray[np.integer],  # (N,) class index
    fold: NDArray[np.int16],  # (N,) of `assign_folds`
    groups: NDArray[np.int64] | None,  # (N,) copies of one image share a number
    seed: int,
) -> tuple[Plants, ...]:
    """The plants of every fold, the scout's none, before any is trained; each image in at most one fold.

    No image that has a copy: the copy, trained with its own label, would tell of the planted one.

    `late_margin` is NaN: training tells it. See `choose_plants`.
    """
    taken = np.zeros(len(labels), np.bool_)
    if groups is not None:
        taken |= np.bincount(groups)[groups] > 1
    plans = []
    for k in range(int(fold.max()) + 1):
        plans.append(no_plants(k))
        if k != scout.fold:
            index, label = choose_plants(scout, labels, fold, k, taken, seed)
            taken[index] = True
            plans[k] = _plants(index, label, k)
    return tuple(plans)


def choose_plants(
    scout: FoldResult,
    labels: NDArray[np.integer],  # (N,) class index
    fold: NDArray[np.int16],  # (N,)
    k: int,  # the fold held out by the training that plants, not the scout's
    taken: NDArray[np.bool_],  # (N,) planted in another fold
    seed: int,
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:  # (P,), (P,)
    """The images that fold `k` trains with a wrong label, and that label.

    With p the scout's probabilities (M, K), y the given labels, n_c the images of class c that fold k trains
    on, F folds and A = #{i : argmax p_i = y_i} agreed images:

        P = min(max(round(0.03 sum_c n_c), 50), floor(min(0.15, 0.6 / (F - 1)) A), agreed images not taken)

    Only classes with floor(0.2 n_c) >= 1 are planted. With w_ic = p_ic for c != y_i that may be planted, else
    0, and W_i = sum_c w_ic, an image is drawn with probability ~ W_i, one by one without replacement, and its
    wrong label c ~ w_ic / W_i (uniform where W_i = 0): as the scout, which models the labels as they
    are given, says that wrong ones come about. Of more than floor(0.2 n_c) plants with label c, the excess is
    left out, chosen at random.
    """
    rng = np.random.default_rng([seed, _PLANTS, k])
    given = labels[scout.index]
    num_classes = scout.pred_probs.shape[1]
    agreed = scout.pred_probs.argmax(axis=1) == given
    trained = np.bincount(labels[fold != k], minlength=num_classes)
    room = (MOST_OF_CLASS * trained).astype(np.int64)  # (K,)
    plantable = room > 0
    usable = np.flatnonzero(agreed & ~taken[scout.index] & (plantable.sum() > plantable[given]))
    most = min(MOST, MOST_IN_ALL / max(int(fold.max()), 1)) * agreed.sum()
    number = min(max(round(SHARE * trained.sum()), FEWEST), int(most), len(usable))

    given = given[usable]
    weight = scout.pred_probs[usable]  # w, a copy: (agreed, K)
    weight[:, ~plantable] = 0
    weight[np.arange(len(usable)), given] = 0
    doubt = weight.sum(axis=1, dtype=np.float64)
    # The first of exponential clocks to ring is a draw by their rates, and the next is one from what is left.
    rings = rng.exponential(size=len(usable)) / doubt.clip(np.finfo(np.float32).tiny)
    chosen = np.argsort(rings, kind="stable")[:number]

    rates = weight[chosen].astype(np.float64)
    rates[rates.sum(axis=1) == 0] = plantable
    rates[np.arange(number), given[chosen]] = 0
    rings = np.full(rates.shape, np.inf)
    np.divide(rng.exponential(size=rates.shape), rates, out=rings, where=rates > 0)
    label = rings.argmin(axis=1)
    kept = _within(room, label, rng)
    return scout.index[usable[chosen[kept]]], label[kept].astype(np.int32)


def _within(
    room: NDArray[np.int64],  # (K,)
    label: NDArray[np.int64],  # (P,)
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Places of at most `room` plants of each label, chosen at random, in order."""
    order = rng.permutation(len(label))
    order = order[np.argsort(label[order], kind="stable")]
    grouped = label[order]
    place = np.arange(len(label)) - np.searchsorted(grouped, grouped)  # among those of its label
    return np.sort(order[place < room[grouped]])


def _plants(index: NDArray[np.int64], label: NDArray[np.int32], k: int) -> Plants:
    return Plants(index, label, np.full(len(index), k, np.int16), np.full(len(index), np.nan, np.float32))
