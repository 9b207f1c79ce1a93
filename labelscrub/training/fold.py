"""One cross-validation fold: train on the others, predict this one; and all folds put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from labelscrub.errors import DataError
from labelscrub.records import EpochRecord, Predictions, Progress
from labelscrub.training.batches import Batches
from labelscrub.training.loop import Part, fold_seed, new_network, predict, reproducible, train_network
from labelscrub.training.plan import TrainingPlan
from labelscrub.training.stored import history_from_array, history_to_array


@dataclass(frozen=True, eq=False)
class FoldResult:
    """What one training yields, small enough to store and bit for bit the same when stored and read."""

    fold: int
    """From 0."""
    index: NDArray[np.int64]
    """(M,) the images that `pred_probs` are of: those held out, in a threshold run all."""
    pred_probs: NDArray[np.float32]
    """(M, K)"""
    aum: NDArray[np.float32]
    """(N,) mean margin over the epochs, in logits; NaN for images not trained on."""
    history: tuple[EpochRecord, ...]

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """As named arrays, for an .npz file."""
        return {
            "fold": np.array(self.fold, np.int64),
            "index": self.index,
            "pred_probs": self.pred_probs,
            "aum": self.aum,
            "history": history_to_array(self.history),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> FoldResult:
        """The inverse of `arrays`."""
        return cls(
            fold=int(arrays["fold"]),
            index=arrays["index"].astype(np.int64, copy=False),
            pred_probs=arrays["pred_probs"].astype(np.float32, copy=False),
            aum=arrays["aum"].astype(np.float32, copy=False),
            history=history_from_array(arrays["history"]),
        )


def train_fold(
    pixels: NDArray[np.uint8],  # (N, S, S, C)
    labels: NDArray[np.integer],  # (N,) class index
    fold: NDArray[np.int16],  # (N,) of `assign_folds`
    k: int,  # the fold held out, from 0
    num_classes: int,
    plan: TrainingPlan,
    progress: Progress,
) -> FoldResult:
    """Train a fresh network on all folds but `k` and predict fold `k`.

    Independent of what was trained before in this process: the same plan, data and `k` give the same bytes.
    Events count the images of this fold over all its epochs: `done` of `total`.
    """
    train, held_out = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
    if not len(held_out):
        raise ValueError(f"fold {k + 1} holds out no image")
    part = Part(k + 1, int(fold.max()) + 1)
    if len(train) < 2:
        raise DataError(
            f"{part} leaves {len(train)} of {len(labels)} images to train on",
            "list more images, or group fewer of them together",
        )
    with reproducible(plan, seed := fold_seed(plan, k)):
        batches = Batches.on(torch.device(plan.device), pixels, train, imagenet=plan.imagenet)
        network = new_network(plan, num_classes)
        dynamics = train_network(
            network, batches, train, labels[train], plan, seed=seed, part=part, progress=progress
        )
        pred_probs = predict(network, batches, held_out, plan, part)
    aum = np.full(len(labels), np.nan, np.float32)
    aum[train] = dynamics.aum
    return FoldResult(k, held_out, pred_probs, aum, dynamics.history)


def combine(
    results: Sequence[FoldResult],  # one a fold, in any order
    num_images: int,
    num_classes: int,
) -> Predictions:
    """Out-of-fold probabilities of every image, and its AUM as the mean over the folds it was trained in."""
    pred_probs = np.zeros((num_images, num_classes), np.float32)
    fold = np.full(num_images, -1, np.int16)
    total, trained = np.zeros(num_images), np.zeros(num_images, np.int64)
    history: list[EpochRecord] = []
    for result in sorted(results, key=lambda result: result.fold):
        if (fold[result.index] >= 0).any():
            raise ValueError(f"fold {result.fold + 1} holds out images that another fold holds out too")
        pred_probs[result.index] = result.pred_probs
        fold[result.index] = result.fold
        seen = ~np.isnan(result.aum)
        total[seen] += result.aum[seen]
        trained += seen
        history += result.history
    if (fold < 0).any():
        raise ValueError(f"{int((fold < 0).sum())} images are held out by no fold")
    aum = np.divide(total, trained, out=np.full(num_images, np.nan), where=trained > 0)
    return Predictions(pred_probs, fold, aum.astype(np.float32), history=tuple(history))
