"""How sure a network is of each image's given label, epoch by epoch, while it learns (paper, figure 4)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from labelscrub.records import Progress
from labelscrub.training.batches import Batches
from labelscrub.training.loop import Part, fold_seed, new_network, reproducible, train_network
from labelscrub.training.losses import Loss
from labelscrub.training.plan import TrainingPlan


def trace_training(
    pixels: NDArray[np.uint8],  # (N, S, S, C)
    labels: NDArray[np.integer],  # (N,) class index
    num_classes: int,
    plan: TrainingPlan,
    progress: Progress,
) -> NDArray[np.float32]:  # (epochs, N)
    """Train one network on all images; p(given label) of each in every epoch's pass that trained on it."""
    everything = np.arange(len(labels))
    with reproducible(plan, seed := fold_seed(plan, 0)):
        batches = Batches.on(torch.device(plan.device), pixels, everything, imagenet=plan.imagenet)
        network = new_network(plan, num_classes)
        dynamics = train_network(
            network,
            batches,
            everything,
            labels,
            plan,
            seed=seed,
            part=Part(1, 1),
            progress=progress,
            keep_p_given=True,
        )
    assert dynamics.p_given is not None
    return dynamics.p_given


def slope(
    loss: Loss,
    p: NDArray[np.floating],  # any shape, in 0..1
) -> NDArray[np.float64]:
    """dL/dp at each probability p of the given label (paper, figure 3), by automatic differentiation.

    For losses that depend on p alone: of two classes, the other one takes 1 - p. Not for the ANL losses,
    which depend on how 1 - p is shared out.
    """
    smallest = torch.finfo(torch.float64).tiny
    value = torch.from_numpy(np.asarray(p, np.float64).ravel()).clamp(smallest, 1 - 1e-12).requires_grad_()
    logits = torch.stack([value.log(), torch.log1p(-value)], dim=1)  # (n, 2): their softmax is p, 1 - p
    total: Tensor = loss(logits, torch.zeros(len(value), dtype=torch.int64)).sum()
    (gradient,) = torch.autograd.grad(total, value)
    found: NDArray[np.float64] = gradient.numpy().reshape(np.shape(p))
    return found
