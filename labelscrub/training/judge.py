"""One network learns from one source and judges the images of another (paper, table 3)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from labelscrub.records import Predictions, Progress
from labelscrub.training.batches import Batches
from labelscrub.training.loop import Part, fold_seed, new_network, predict, reproducible, train_network
from labelscrub.training.plan import TrainingPlan

FEWEST_LEARNT = 2  # images of a class: with one, nothing says what the class looks like
_JUDGE = 103  # seed tag, so that it shares its draws with no fold


def learnt_classes(
    labels: NDArray[np.integer],  # (A,) class index, -1 where the image is not trained on
    num_classes: int,
) -> NDArray[np.bool_]:  # (K,)
    """Classes that have enough images for the network to learn them."""
    return np.bincount(labels[labels >= 0], minlength=num_classes) >= FEWEST_LEARNT


def train_and_judge(
    pixels: NDArray[np.uint8],  # (A, S, S, C) to train on
    labels: NDArray[np.integer],  # (A,) class index, -1 where the image is not to be trained on
    judged: NDArray[np.uint8],  # (N, S, S, C)
    num_classes: int,
    plan: TrainingPlan,
    progress: Progress,
) -> Predictions:
    """Train a fresh network on the one and predict the others, normalised as those trained on were.

    A class that was not learnt has probability 0. `fold` is -1, as no fold held an image out; AUM is NaN, as
    none was trained on.
    """
    part = Part(1, 0, kind="network")  # of 0: the only one, so that progress counts no folds
    train = np.flatnonzero(labels >= 0)
    with reproducible(plan, seed := fold_seed(plan, _JUDGE)):
        batches = Batches.on(torch.device(plan.device), pixels, train, imagenet=plan.imagenet)
        network = new_network(plan, num_classes)
        dynamics = train_network(
            network, batches, train, labels[train], plan, seed=seed, part=part, progress=progress
        )
        batches = batches.of(judged)
        pred_probs = predict(network, batches, np.arange(len(judged)), plan, part)
    learnt = learnt_classes(labels, num_classes)
    if not learnt.all():
        pred_probs[:, learnt] = pred_probs[:, learnt].clip(np.finfo(np.float32).tiny)
        pred_probs[:, ~learnt] = 0
        pred_probs /= pred_probs.sum(axis=1, keepdims=True)
    return Predictions(
        pred_probs=pred_probs,
        fold=np.full(len(judged), -1, np.int16),
        aum=np.full(len(judged), np.nan, np.float32),
        history=dynamics.history,
    )
