"""One cross-validation fold: train on the others, predict this one; and all folds put together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from labelscrub.errors import DataError, ModelError
from labelscrub.records import EpochRecord, Evidence, Plants, Predictions, Progress
from labelscrub.training.batches import Batches
from labelscrub.training.loop import (
    Dynamics,
    Part,
    add_logits,
    fold_seed,
    new_network,
    predict,
    reproducible,
    train_network,
)
from labelscrub.training.plan import TrainingPlan
from labelscrub.training.stored import (
    evidence_from_arrays,
    evidence_to_arrays,
    history_from_array,
    history_to_array,
)


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
    """(N,) mean margin over the epochs, in logits; NaN for images not trained on, or with a planted label."""
    history: tuple[EpochRecord, ...]
    evidence: Evidence | None = None
    """Of this training alone, with `--method calibrated`: `train_probs` (T, K) are of the T images whose
    `aum` is known, `mean_logits` (M, K) of `index`; `late_margin` (N,) is NaN where `aum` is."""

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """As named arrays, for an .npz file."""
        return {
            "fold": np.array(self.fold, np.int64),
            "index": self.index,
            "pred_probs": self.pred_probs,
            "aum": self.aum,
            "history": history_to_array(self.history),
            **evidence_to_arrays(self.evidence),
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
            evidence=evidence_from_arrays(arrays),
        )


def train_fold(
    pixels: NDArray[np.uint8],  # (N, S, S, C)
    labels: NDArray[np.integer],  # (N,) class index
    fold: NDArray[np.int16],  # (N,) of `assign_folds`
    k: int,  # the fold held out, from 0
    num_classes: int,
    plan: TrainingPlan,
    progress: Progress,
    plants: Plants | None = None,  # of this fold; if given, be it without a plant, evidence is recorded
) -> FoldResult:
    """Train a fresh network on all folds but `k` and predict fold `k`.

    Independent of what was trained before in this process: the same plan, data and `k` give the same bytes,
    and recording evidence changes none of the rest. Planted images are trained with their planted label.
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
    given = labels
    if plants is not None:
        if (fold[plants.index] == k).any():
            raise ValueError(f"{part} holds out images that are planted in it")
        given = labels.copy()
        given[plants.index] = plants.label
    with reproducible(plan, seed := fold_seed(plan, k)):
        batches = Batches.on(torch.device(plan.device), pixels, train, imagenet=plan.imagenet)
        network = new_network(plan, num_classes)
        logits = torch.zeros(len(held_out), num_classes, device=plan.device)  # sum over the epochs

        def watch(network: nn.Module) -> None:
            add_logits(logits, network, batches, held_out, plan)

        dynamics = train_network(
            network,
            batches,
            train,
            given[train],
            plan,
            seed=seed,
            part=part,
            progress=progress,
            keep_probabilities=plants is not None,
            after_epoch=watch if plants is not None else None,
        )
        pred_probs = predict(network, batches, held_out, plan, part)
    aum = np.full(len(labels), np.nan, np.float32)
    aum[train] = dynamics.aum
    if plants is None:
        return FoldResult(k, held_out, pred_probs, aum, dynamics.history)
    aum[plants.index] = np.nan
    mean_logits = (logits / plan.recipe.epochs).cpu().numpy()
    if not np.isfinite(mean_logits).all():
        raise ModelError(f"{part}'s logits are not finite: training diverged", "lower --lr")
    evidence = _evidence(dynamics, train, mean_logits, plants, len(labels))
    return FoldResult(k, held_out, pred_probs, aum, dynamics.history, evidence)


def _evidence(
    dynamics: Dynamics,
    train: NDArray[np.int64],  # (n,) images trained on
    mean_logits: NDArray[np.float32],  # (M, K)
    plants: Plants,
    num_images: int,
) -> Evidence:
    """As `FoldResult.evidence` has it: what was seen of planted images is theirs alone."""
    assert dynamics.probabilities is not None
    late_margin = np.full(num_images, np.nan, np.float32)
    late_margin[train] = dynamics.late_margin
    seen = replace(plants, late_margin=late_margin[plants.index])
    late_margin[plants.index] = np.nan
    return Evidence(dynamics.probabilities[~np.isin(train, plants.index)], late_margin, mean_logits, seen)


def combine(
    results: Iterable[FoldResult],  # one a fold, in any order; if they come one by one, one is held at a time
    num_images: int,
    num_classes: int,
) -> Predictions:
    """Out-of-fold probabilities of every image, and its AUM as the mean over the folds it was trained in.

    So is the evidence, where it was recorded. A fold in which an image was planted is none of its folds.
    """
    pred_probs = np.zeros((num_images, num_classes), np.float32)
    fold = np.full(num_images, -1, np.int16)
    total, trained = np.zeros(num_images), np.zeros(num_images, np.int64)
    history: list[EpochRecord] = []
    evidence: _EvidenceSum | None = None
    for result in results:
        if (fold[result.index] >= 0).any():
            raise ValueError(f"fold {result.fold + 1} holds out images that another fold holds out too")
        pred_probs[result.index] = result.pred_probs
        fold[result.index] = result.fold
        seen = ~np.isnan(result.aum)
        total[seen] += result.aum[seen]
        trained += seen
        history += result.history
        if result.evidence is not None:
            evidence = evidence or _EvidenceSum(num_images, num_classes)
            evidence.add(result.evidence, seen, result.index)
    if (fold < 0).any():
        raise ValueError(f"{int((fold < 0).sum())} images are held out by no fold")
    aum = np.divide(total, trained, out=np.full(num_images, np.nan), where=trained > 0)
    return Predictions(
        pred_probs,
        fold,
        aum.astype(np.float32),
        history=tuple(sorted(history, key=lambda record: record.fold)),
        evidence=None if evidence is None else evidence.mean(trained),
    )


class _EvidenceSum:
    """Evidence of several folds added up as they come: N x K of all folds at once can be gigabytes."""

    def __init__(self, num_images: int, num_classes: int) -> None:
        self.train_probs = np.zeros((num_images, num_classes), np.float32)
        self.late_margin = np.zeros(num_images)
        self.mean_logits = np.zeros((num_images, num_classes), np.float32)
        self.plants: list[Plants] = []

    def add(
        self,
        evidence: Evidence,  # of one fold
        seen: NDArray[np.bool_],  # (N,) trained with their own label
        held_out: NDArray[np.int64],  # (M,)
    ) -> None:
        self.train_probs[seen] += evidence.train_probs
        self.late_margin[seen] += evidence.late_margin[seen]
        self.mean_logits[held_out] = evidence.mean_logits
        self.plants.append(evidence.plants)

    def mean(
        self,
        trained: NDArray[np.int64],  # (N,) folds that trained the image with its own label
    ) -> Evidence:
        """NaN of images that none trained so."""
        times = np.where(trained > 0, trained, np.nan)
        self.train_probs /= times.astype(np.float32)[:, None]
        parts = sorted(self.plants, key=lambda plants: plants.fold[:1].tolist())
        plants = Plants(
            index=np.concatenate([part.index for part in parts]),
            label=np.concatenate([part.label for part in parts]),
            fold=np.concatenate([part.fold for part in parts]),
            late_margin=np.concatenate([part.late_margin for part in parts]),
        )
        late_margin = (self.late_margin / times).astype(np.float32)
        return Evidence(self.train_probs, late_margin, self.mean_logits, plants)
