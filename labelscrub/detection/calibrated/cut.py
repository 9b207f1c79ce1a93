"""Which images to list, from their error probabilities alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FEWEST_WRONG = 0.5  # expected in the whole data set: below, a list would be of images that are right


@dataclass(frozen=True, eq=False)
class Cut:
    """The images listed, and what is expected of the list."""

    listed: NDArray[np.bool_]
    """(N,)"""
    smallest: float
    """Smallest error probability listed; NaN where none is."""
    precision: float
    """Expected share of the listed that is wrong; NaN where none is listed."""
    recall: float
    """Expected share of the wrong that is listed; NaN where none is expected wrong."""
    f1: float
    """2 E[wrong and listed] / (listed + E[wrong]); NaN where both are 0."""


def choose_cut(
    error_probability: NDArray[np.floating],  # (N,) NaN where not assessed
    aim: tuple[str, float],  # of config.parse_aim
) -> Cut:
    """The n images of highest error probability e, ties by index; with C_n their sum, W the sum over all:

    f1         n with the largest 2 C_n / (n + W): each e above half of the F1 reached (Lipton et al. 2014)
    precision  the largest n with C_n / n at least the aim
    recall     the smallest n with C_n / W at least the aim
    """
    e = np.nan_to_num(error_probability.astype(np.float64), nan=0.0)
    total = float(e.sum())
    order = np.argsort(-e, kind="stable")
    found, number = np.cumsum(e[order]), np.arange(1, len(e) + 1)
    name, wanted = aim
    if total < FEWEST_WRONG:
        n = 0
    elif name == "f1":
        n = int(np.argmax(2 * found / (number + total))) + 1
    elif name == "precision":
        reached = np.flatnonzero(found / number >= wanted)
        n = int(reached[-1]) + 1 if len(reached) else 0
    else:
        n = int(np.searchsorted(found, wanted * total)) + 1
    n = min(n, int((e > 0).sum()))
    listed = np.zeros(len(e), bool)
    listed[order[:n]] = True
    return expect(error_probability, listed)


def expect(
    error_probability: NDArray[np.floating],  # (N,) NaN where not assessed
    listed: NDArray[np.bool_],  # (N,)
) -> Cut:
    """What a list is expected to hold, however it came about."""
    e = np.nan_to_num(error_probability.astype(np.float64), nan=0.0)
    n, total, held = int(listed.sum()), float(e.sum()), float(e[listed].sum())
    told = n > 0 or total >= FEWEST_WRONG  # else nothing is listed, and nothing was to be
    return Cut(
        listed=listed,
        smallest=float(e[listed].min()) if n else math.nan,
        precision=held / n if n else math.nan,
        recall=min(held / total, 1.0) if total and told else math.nan,
        f1=2 * held / (n + total) if n + total and told else math.nan,
    )
