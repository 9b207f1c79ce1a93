"""Which images confident learning proposes, once it is known how many (Northcutt et al. 2021, section 3.2).

Order is stable: among equal values at a cut, the lower row goes first.

Symbols: N images, K classes; M images given one class, C candidates for their true class.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labelscrub.detection import chunks

TOLERANCE = 1e-6  # cleanlab's, of probabilities: closer ones count as equal


@dataclass(frozen=True, eq=False)
class Members:
    """The images of each class that is assessed."""

    rows: NDArray[np.int64]
    """By class, ascending in each."""
    sizes: NDArray[np.int64]
    """(K,) images of the class; 0 where it is not assessed."""
    starts: NDArray[np.int64]
    """(K,) where in `rows` the class begins."""

    @staticmethod
    def of(
        labels: NDArray[np.integer],  # (N,)
        assessed: NDArray[np.bool_],  # (K,)
    ) -> Members:
        inside = np.flatnonzero(assessed[labels])
        given = labels[inside].astype(np.min_scalar_type(len(assessed)))  # 16 bits are sorted in linear time
        sizes = np.bincount(given, minlength=len(assessed))
        return Members(inside[np.argsort(given, kind="stable")], sizes, np.cumsum(sizes) - sizes)

    def of_class(self, k: int) -> NDArray[np.int64]:
        """(M,) rows of the images given class k."""
        return self.rows[self.starts[k] : self.starts[k] + self.sizes[k]]

    def classes(self) -> list[int]:
        """Those that have any."""
        found: list[int] = np.flatnonzero(self.sizes).tolist()
        return found


def to_prune(
    calibrated: NDArray[np.int64],  # (K, K) images, given by true
) -> NDArray[np.int64]:
    """(K, K) how many to propose of those given the row's class that truly belong to the column's.

    The diagonal is kept. It is at least 1, so that a class never loses its last image: where it was 0, each
    count beside it is one less, as in cleanlab.
    """
    counts = calibrated.copy()
    none_right = counts.diagonal() == 0
    counts[none_right] = np.maximum(counts[none_right] - 1, 0)
    np.fill_diagonal(counts, np.maximum(calibrated.diagonal(), 1))
    return counts


def by_class(
    self_confidence: NDArray[np.floating],  # (N,)
    members: Members,
    counts: NDArray[np.int64],  # (K, K) as `to_prune` gives it
) -> NDArray[np.bool_]:
    """(N,) of each class the lowest self-confidences, all but as many as the diagonal keeps."""
    proposed = np.zeros(len(self_confidence), dtype=bool)
    for j in members.classes():
        rows = members.of_class(j)
        wrong = len(rows) - counts[j, j]
        if wrong > 0:
            proposed[rows[_largest(-self_confidence[rows][:, None], np.array([wrong]))]] = True
    return proposed


def by_noise_rate(
    pred_probs: NDArray[np.floating],  # (N, K)
    self_confidence: NDArray[np.floating],  # (N,)
    members: Members,
    counts: NDArray[np.int64],  # (K, K) as `to_prune` gives it
) -> NDArray[np.bool_]:
    """(N,) for each pair of a given and another class the largest margins p(other) - p(given)."""
    parts = []
    for j in members.classes():
        others = np.flatnonzero(counts[j])
        others = others[others != j]
        at_once = max(1, chunks.CHUNK_VALUES // members.sizes[j])
        parts += [(j, others[start : start + at_once]) for start in range(0, len(others), at_once)]

    def select(part: tuple[int, NDArray[np.int64]]) -> NDArray[np.int64]:
        j, others = part
        rows = members.of_class(j)
        margins = pred_probs[rows[:, None], others] - self_confidence[rows][:, None]  # (M, C)
        return rows[_largest(margins, counts[j, others])]

    proposed = np.zeros(len(self_confidence), dtype=bool)
    for rows in chunks.in_threads(select, parts):
        proposed[rows] = True
    return proposed


def _largest(
    values: NDArray[np.floating],  # (M, C)
    counts: NDArray[np.int64],  # (C,) in 1..M
) -> NDArray[np.bool_]:
    """(M,) who is among a column's `counts` largest, in any column; ties to the lower row."""
    chosen = np.zeros(len(values), dtype=bool)
    for count in np.unique(counts):
        same = values[:, counts == count]
        cut = np.partition(same, -count, axis=0)[-count]
        taken = same >= cut
        tied = taken.sum(axis=0) > count  # more images at the cut than there is room for
        if tied.any():
            at_cut = same[:, tied] == cut[tied]
            above = taken[:, tied] & ~at_cut
            taken[:, tied] = above | (at_cut & (at_cut.cumsum(axis=0) <= count - above.sum(axis=0)))
        chosen |= taken.any(axis=1)
    return chosen


def agree(
    pred_probs: NDArray[np.floating],  # (N, K)
    labels: NDArray[np.integer],  # (N,)
    goes_in: NDArray[np.bool_],  # (K,)
    rows: NDArray[np.int64],  # (M,)
) -> NDArray[np.bool_]:
    """(M,) whether the given label is the most probable class, or within the tolerance of it: no issue."""
    agrees = np.empty(len(rows), dtype=bool)

    def read(part: slice) -> None:
        chunk, given = among(pred_probs[rows[part]], goes_in), labels[rows[part]]
        chunk[np.arange(len(chunk)), given] += TOLERANCE
        agrees[part] = chunk.argmax(axis=1) == given

    chunks.in_threads(read, chunks.row_chunks(len(rows), pred_probs.shape[1]))
    return agrees


def among(
    chunk: NDArray[np.floating],  # (M, K), a copy
    goes_in: NDArray[np.bool_],  # (K,)
) -> NDArray[np.floating]:
    """(M, K) the chunk, in which no other class can be the most probable."""
    if not goes_in.all():
        chunk[:, ~goes_in] = -1
    return chunk
