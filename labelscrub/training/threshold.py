"""Area under the margin with threshold samples (paper, section 3.1; Pleiss et al. 2020).

Images relabelled to a class that does not exist show what the margin of a wrong label looks like. Two runs
with disjoint threshold sets judge every image: each is judged by a run that trained its own label.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from labelscrub.errors import DataError
from labelscrub.records import Predictions, Progress
from labelscrub.training.batches import Batches
from labelscrub.training.fold import FoldResult
from labelscrub.training.loop import Part, fold_seed, new_network, reproducible, train_network
from labelscrub.training.plan import TrainingPlan

RUNS = 2
PERCENTILE = 99  # paper, section 3.1
_SETS, _RUN = 101, 102  # seed tags, so that neither shares its draws with a fold


def threshold_sets(num_images: int, num_classes: int, seed: int) -> NDArray[np.bool_]:  # (2, N)
    """Two disjoint random sets of N / (K + 1) images, the size of an average class; at least one image."""
    size = max(1, num_images // (num_classes + 1))
    if num_images < RUNS * size:
        raise DataError(f"{num_images} images are too few for --method aum", "list more images")
    order = np.random.default_rng([seed, _SETS]).permutation(num_images)
    sets = np.zeros((RUNS, num_images), np.bool_)
    for run in range(RUNS):
        sets[run, order[run * size : (run + 1) * size]] = True
    return sets


def train_threshold_run(
    pixels: NDArray[np.uint8],  # (N, S, S, C)
    labels: NDArray[np.integer],  # (N,) class index
    threshold: NDArray[np.bool_],  # (N,) this run's set: labelled K, the extra class, while it trains
    k: int,  # the run, from 0
    num_classes: int,
    plan: TrainingPlan,
    progress: Progress,
) -> FoldResult:
    """Train a fresh network with K + 1 outputs on all N images; predictions are the in-training means.

    `pred_probs` are the softmax probabilities of the K real classes, mean over the epochs, summing to one.
    """
    part = Part(k + 1, RUNS, kind="run")
    everything = np.arange(len(labels))
    relabelled = np.where(threshold, num_classes, labels)
    with reproducible(plan, seed := fold_seed(plan, _RUN, k)):
        batches = Batches.on(torch.device(plan.device), pixels, everything, imagenet=plan.imagenet)
        network = new_network(plan, num_classes + 1)
        dynamics = train_network(
            network,
            batches,
            everything,
            relabelled,
            plan,
            seed=seed,
            part=part,
            progress=progress,
            keep_probabilities=True,
        )
    assert dynamics.probabilities is not None
    real = dynamics.probabilities[:, :num_classes]
    np.maximum(real, np.finfo(np.float32).tiny, out=real)  # in place: N x K can be gigabytes
    real /= real.sum(axis=1, keepdims=True)
    return FoldResult(k, everything, np.ascontiguousarray(real), dynamics.aum, dynamics.history)


def combine_threshold_runs(
    results: Sequence[FoldResult],  # one a run, in any order
    thresholds: NDArray[np.bool_],  # (2, N) of `threshold_sets`
    num_images: int,
    num_classes: int,
) -> Predictions:
    """Each image as the first run judged it, or the second where it was a threshold sample of the first.

    `aum_threshold` is the 99th percentile of the AUM of the judging run's threshold samples. No image was
    held out, so `fold` is -1.
    """
    first, second = sorted(results, key=lambda result: result.fold)
    by_second = thresholds[0]
    limits = [
        np.percentile(run.aum[chosen].astype(np.float64), PERCENTILE)
        for run, chosen in zip((first, second), thresholds, strict=True)
    ]
    return Predictions(
        pred_probs=np.where(by_second[:, None], second.pred_probs, first.pred_probs),
        fold=np.full(num_images, -1, np.int16),
        aum=np.where(by_second, second.aum, first.aum),
        aum_threshold=np.where(by_second, limits[1], limits[0]).astype(np.float32),
        history=first.history + second.history,
    )
