"""What helps a person decide about a listed image: the most probable classes, and an example of each label.

An example carries its label rightly, as far as the run can tell: the model agrees and nothing speaks against
it. Of a class's examples the one that looks most like the image is shown, by the cosine of their small,
centred pixels.

Symbols: N images, K classes, M listed images, T classes shown of each.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from labelscrub.detection.chunks import in_threads, row_chunks
from labelscrub.records import Details, Findings

SHOWN = 5  # classes a listed image, as many as number keys that are in reach
POOL = 500  # examples a class to choose from, which also bounds how many pictures a page needs
EXAMPLES_FOR = 10_000  # first ranks that get examples
SIDE = 16  # pixels a side that images are compared at


def details(
    findings: Findings,
    pred_probs: NDArray[np.float32],  # (N, K)
    pixels: NDArray[np.uint8],  # (N, S, S, C); S = 0 where there are no images
) -> Details:
    """Top classes of all suspects and conflicting duplicates, and examples for the first ranks of them."""
    index = np.flatnonzero(findings.is_suspect | (findings.conflict > 0))
    top, top_probs = _most_probable(pred_probs, index)
    suggested = findings.suggested[index]
    example_given, example_suggested = np.full((2, len(index)), -1)
    if pixels.shape[1]:
        seen = np.flatnonzero(np.isin(index, findings.order()[:EXAMPLES_FOR]))
        images = _comparable(pixels, index[seen])
        roles = (findings.given[index[seen]], example_given), (suggested[seen], example_suggested)
        agreed = ~findings.is_suspect & (findings.conflict == 0) & (findings.suggested == findings.given)
        for label in np.unique([labels for labels, _ in roles]).tolist():  # one class's candidates at a time
            members = _pool(findings, agreed, label)
            if not len(members):
                continue
            candidates = _comparable(pixels, members)
            for labels, example in roles:
                mine = np.flatnonzero(labels == label)
                if len(mine):
                    example[seen[mine]] = members[(images[mine] @ candidates.T).argmax(axis=1)]
    suggested_prob = np.asarray(pred_probs)[index, suggested].astype(np.float32)
    return Details(index, top, top_probs, suggested_prob, example_given, example_suggested)


def _most_probable(
    pred_probs: NDArray[np.float32],  # (N, K)
    index: NDArray[np.int64],  # (M,)
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """(M, T) classes and their probabilities; of equal ones the first in class order comes first."""
    num_classes = pred_probs.shape[1]
    shape = len(index), min(SHOWN, num_classes)
    top, top_probs = np.empty(shape, np.int32), np.empty(shape, np.float32)

    def read(rows: slice) -> None:
        chunk = np.asarray(pred_probs[index[rows]])
        order = np.argsort(-chunk, axis=1, kind="stable")[:, : shape[1]]
        top[rows], top_probs[rows] = order, np.take_along_axis(chunk, order, axis=1)

    in_threads(read, row_chunks(len(index), num_classes))
    return top, top_probs


def _pool(
    findings: Findings,
    agreed: NDArray[np.bool_],  # (N,)
    label: int,
) -> NDArray[np.int64]:
    """At most POOL images that carry the label rightly: spread over the surer half of those agreed with."""
    members = np.flatnonzero(agreed & (findings.given == label))
    if len(members) > POOL:
        sure = np.argsort(-findings.self_confidence[members], kind="stable")[: max(POOL, len(members) // 2)]
        members = np.sort(members[sure])
        members = members[np.linspace(0, len(members) - 1, POOL).astype(np.int64)]
    return members


def _comparable(
    pixels: NDArray[np.uint8],  # (N, S, S, C)
    index: NDArray[np.int64],  # (M,)
) -> NDArray[np.float32]:
    """(M, D) small images without their mean, of length 1: their inner product says how alike two are."""
    step = max(1, pixels.shape[1] // SIDE)
    side = pixels.shape[1] // step
    small = np.empty((len(index), side, side, pixels.shape[3]), np.float32)
    for rows in row_chunks(len(index), int(np.prod(pixels.shape[1:]))):
        blocks = np.asarray(pixels[index[rows]])[:, : side * step, : side * step]
        small[rows] = blocks.reshape(len(blocks), side, step, side, step, -1).mean(axis=(2, 4))
    flat = small.reshape(len(index), side * side * pixels.shape[3])
    flat -= flat.mean(axis=1, keepdims=True)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
    return flat
