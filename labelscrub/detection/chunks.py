"""Going over a matrix too large to copy: a few rows at a time, on all cores.

The probabilities of a million images by a thousand classes are 4 GB, often a memory map. Every pass reads
them chunk by chunk, each small enough to stay in the processor's cache from one operation to the next, and in
threads, for NumPy lets go of the interpreter lock inside its loops. What a chunk yields has a place of its
own, so that nothing depends on the number of threads.

Symbols: N images, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from labelscrub.processes import cores

CHUNK_VALUES = 1 << 20  # probabilities at a time: 4 MB
Part = TypeVar("Part")
Result = TypeVar("Result")


def row_chunks(rows: int, num_classes: int) -> list[slice]:
    """All rows, so many at a time that a chunk has about CHUNK_VALUES probabilities."""
    step = max(1, CHUNK_VALUES // max(1, num_classes))
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]


def in_threads(work: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
    """`work` done on each part, in their order; a thread for each core that this process may use."""
    threads = min(cores(), len(parts))
    if threads <= 1:
        return [work(part) for part in parts]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, parts))


def known_classes(
    pred_probs: NDArray[np.floating],  # (N, K)
) -> NDArray[np.bool_]:
    """(K,) the classes that the model has learnt: those it gives some image a probability."""
    pred_probs = np.asarray(pred_probs)
    known = np.zeros(pred_probs.shape[1], dtype=bool)
    for rows in row_chunks(*pred_probs.shape):
        unknown = np.flatnonzero(~known)
        if len(unknown) == 0:
            break  # nearly always after the first chunk
        known[unknown] = pred_probs[rows][:, unknown].any(axis=0)
    return known
