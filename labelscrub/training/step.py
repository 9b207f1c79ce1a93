"""One step of the training loop: a batch read, learnt from, and what its forward pass told noted."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from labelscrub.training.batches import Batches
from labelscrub.training.losses import l1_norm
from labelscrub.training.plan import TrainingPlan
from labelscrub.training.recipes import Recipe

ANL_CLIP_NORM = 5.0  # Ye et al. 2023, published configuration


class TrainingStep:
    """One training step on tensors alone: it waits for nothing on the device, so that it can be recorded.

    What it reads but its inputs, and all that it adds up, stays where it is.
    """

    def __init__(
        self,
        network: nn.Module,
        batches: Batches,
        given: Tensor,  # (n,) int64 on the device
        plan: TrainingPlan,
        keep_probabilities: bool,
        keep_p_given: bool,
    ) -> None:
        self.network, self.batches, self.given, self.plan = network, batches, given, plan
        self.loss_of = plan.loss_at(1)
        self.rate = torch.zeros((), device=given.device)
        self.optimizer = make_optimizer(network, plan.recipe, self.rate)
        self.margins = torch.zeros(len(given), device=given.device)
        self.loss_and_correct = torch.zeros(2, device=given.device)
        self.keep_probabilities = keep_probabilities
        self.probabilities: Tensor | None = None
        self.p_given = torch.zeros(len(given), device=given.device) if keep_p_given else None

    def __call__(
        self,
        rows: Tensor,  # (B,) images, where `Batches.read` wants them
        where: Tensor,  # (B,) their positions in 0..n-1, on the device
        moves: Tensor | None = None,  # (3, B) of `draw_moves`, on the device
    ) -> None:
        device, network, target = self.given.device, self.network, self.given[where]
        images = self.batches.read(rows, moves)
        # No cache: a recorded cast must be done anew in each replay, and no weight is cast twice in a step.
        bf16 = self.plan.precision == "bf16"
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16, cache_enabled=False):
            logits = network(images)
        logits = logits.float()  # (B, outputs)
        losses = self.loss_of(logits, target)
        self.optimizer.zero_grad(set_to_none=True)
        _total(losses, network, self.plan).backward()  # type: ignore[no-untyped-call]
        if self.plan.loss.startswith("anl"):
            nn.utils.clip_grad_norm_(network.parameters(), ANL_CLIP_NORM)
        self.optimizer.step()
        with torch.no_grad():
            self.margins.index_add_(0, where, margin(logits, target))
            self.loss_and_correct += torch.stack([losses.sum(), (logits.argmax(1) == target).sum()])
            if self.keep_probabilities:
                if self.probabilities is None:
                    self.probabilities = torch.zeros(len(self.given), logits.shape[1], device=device)
                self.probabilities.index_add_(0, where, logits.softmax(1))
            if self.p_given is not None:
                self.p_given[where] = logits.softmax(1).gather(1, target.unsqueeze(1)).squeeze(1)


def _plain(method: Callable[..., Any]) -> Callable[..., Any]:
    """An optimizer's method without the wrappers that load the compiler to keep it away: 3 s a process."""
    plain: Callable[..., Any] = torch.no_grad()(inspect.unwrap(method))
    return plain


class Adam(torch.optim.Adam):
    """torch's, which starts at once."""

    add_param_group = _plain(torch.optim.Adam.add_param_group)
    zero_grad = _plain(torch.optim.Adam.zero_grad)
    step = _plain(torch.optim.Adam.step)


class SGD(torch.optim.SGD):
    """torch's, which starts at once."""

    add_param_group = _plain(torch.optim.SGD.add_param_group)
    zero_grad = _plain(torch.optim.SGD.zero_grad)
    step = _plain(torch.optim.SGD.step)


def make_optimizer(
    network: nn.Module,
    recipe: Recipe,
    rate: Tensor,  # (), on the network's device: what it holds when a step runs
) -> torch.optim.Optimizer:
    if recipe.optimizer == "sgd":
        return SGD(
            network.parameters(),
            lr=rate,
            momentum=0.9,
            nesterov=True,
            weight_decay=recipe.weight_decay,
            fused=True,
        )
    return Adam(network.parameters(), lr=rate, weight_decay=recipe.weight_decay, fused=True)


def margin(
    logits: Tensor,  # (B, K)
    labels: Tensor,  # (B,)
) -> Tensor:  # (B,)
    """Logit of the given label minus the largest other logit (paper, section 3.1)."""
    given = labels.unsqueeze(1)
    others = logits.scatter(1, given, -torch.inf).amax(1)
    return logits.gather(1, given).squeeze(1) - others


def _total(losses: Tensor, network: nn.Module, plan: TrainingPlan) -> Tensor:
    """Mean of a batch's losses (B,), plus the ANL losses' L1 term."""
    mean = losses.mean()
    weight = plan.parameters.get("l1", 0.0)
    return mean + weight * l1_norm(network.parameters()) if weight else mean
