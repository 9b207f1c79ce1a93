"""The training losses, as plain functions: logits (B, K), labels (B,) -> losses (B,). The caller reduces.

p is the softmax probability of the given label. "Paper" is "Hard Samples, Bad Labels". Every loss works from
the log-softmax, in float32 even where the logits are bf16 or fp16 (float64 stays), and has finite values and
gradients at logits of +-100. In anybody's training loop:

>>> loss = scheduled("pz", delay=1, epoch=epoch, cutoff=0.05)      # doctest: +SKIP
>>> loss(model(images), labels).mean().backward()                  # doctest: +SKIP
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from labelscrub.config import LOSS_PARAMETERS
from labelscrub.errors import UsageError

Loss = Callable[[Tensor, Tensor], Tensor]
"""(logits (B, K), labels (B,)) -> losses (B,)"""

ANL_SMALLEST_P = 1e-7  # Ye et al. 2023, published code: probabilities are clamped below at this
ANL_FOCAL_GAMMA = 0.5  # the same code's exponent for ANL-FL


def cross_entropy(
    logits: Tensor,  # (B, K)
    labels: Tensor,  # (B,) integers in 0..K-1
) -> Tensor:
    """-log p (paper, section 3.2). Returns (B,)."""
    return -_log_p_given(logits, labels)


def focal(
    logits: Tensor,  # (B, K)
    labels: Tensor,  # (B,)
    *,
    gamma: float,
) -> Tensor:
    """-(1 - p)^gamma log p (paper, section 3.2; Lin 2017). Returns (B,); cross-entropy at gamma = 0."""
    log_p = _log_p_given(logits, labels)
    return -_one_minus_p(log_p).pow(gamma) * log_p


def generalized_cross_entropy(
    logits: Tensor,  # (B, K)
    labels: Tensor,  # (B,)
    *,
    q: float,
) -> Tensor:
    """(1 - p^q) / q, 0 < q <= 1 (paper, equation 2). Returns (B,); CE as q -> 0, 1 - p at q = 1."""
    return -torch.expm1(q * _log_p_given(logits, labels)) / q


def anl(
    logits: Tensor,  # (B, K)
    labels: Tensor,  # (B,)
    *,
    base: Literal["ce", "focal"],
    alpha: float,
    beta: float,
) -> Tensor:
    """alpha * normalised + beta * normalised-negative (paper, equation 3; Ye et al. 2023). Returns (B,).

    With l the base loss at probabilities clamped below at 1e-7 and A = l(1e-7):
    normalised = l(p) / sum_k l(p_k), which sums to 1 over the K possible labels, and
    normalised-negative = 1 - (A - l(p)) / sum_k (A - l(p_k)), which sums to K - 1.
    The L1 term is the training loop's: `l1 * l1_norm(model.parameters())`, with gradients clipped to norm 5.
    """
    log_p = _log_softmax(logits).clamp(min=math.log(ANL_SMALLEST_P))  # (B, K)
    losses = _anl_base(log_p, base)  # (B, K): the loss if each class were the given label
    largest = _anl_base(log_p.new_full((), ANL_SMALLEST_P).log(), base)  # A, made on the device
    negative = largest - losses  # (B, K), >= 0: the base loss falls with p
    given = labels.long().unsqueeze(1)
    normalised = losses.gather(1, given).squeeze(1) / losses.sum(1)
    normalised_negative = 1 - negative.gather(1, given).squeeze(1) / negative.sum(1)
    return alpha * normalised + beta * normalised_negative


def blurry(
    logits: Tensor,  # (B, K)
    labels: Tensor,  # (B,)
    *,
    gamma: float,
    hold_weight: bool = False,
) -> Tensor:
    """-p^gamma log p (paper, equation 4). Returns (B,); cross-entropy at gamma = 0.

    Its gradient with respect to p changes sign at p = exp(-1 / gamma): below, training pushes p down, and as
    the loss is 0 at p = 0 too, predicting one class for everything is a minimum, where networks trained from
    scratch end. `hold_weight` takes p^gamma as a constant in the gradient, which has no such minimum, but is
    no longer equation 4's: the values are, and its gradient is that of `generalized_cross_entropy` with
    q = gamma, so training with it is training with GCE. The published figures look trained so: in all eight
    cells of tables 1, 2 and 4 where BL's gamma is 0.7, GCE's own q, the two differ by at most 0.001.
    """
    log_p = _log_p_given(logits, labels)
    weight = torch.exp(gamma * log_p)
    return -(weight.detach() if hold_weight else weight) * log_p


def piecewise_zero(
    logits: Tensor,  # (B, K)
    labels: Tensor,  # (B,)
    *,
    cutoff: float,
) -> Tensor:
    """0 where p <= cutoff, else -log p (paper, equation 5). Returns (B,); cross-entropy at cutoff = 0.

    Loss and gradient are exactly zero at p <= cutoff. NaN logits give NaN, so that divergence stays visible.
    """
    log_p = _log_p_given(logits, labels)
    # Compared as logarithms: p itself underflows to 0 in float32, and cutoff 0 must still be cross-entropy.
    log_cutoff = math.log(cutoff) if cutoff > 0 else -math.inf
    return torch.where(log_p <= log_cutoff, torch.zeros_like(log_p), -log_p)


_BY_NAME: dict[str, Callable[..., Tensor]] = {
    "ce": cross_entropy,
    "focal": focal,
    "gce": generalized_cross_entropy,
    "anl-ce": functools.partial(anl, base="ce"),
    "anl-fl": functools.partial(anl, base="focal"),
    "bl": functools.partial(blurry, hold_weight=True),
    "pz": piecewise_zero,
}


def make_loss(name: str, **parameters: float) -> Loss:
    """The loss `name` of `config.LOSSES` with its parameters set; `config.LOSS_PARAMETERS` has the defaults.

    `l1` is legal for the ANL losses but belongs to the training loop (`l1_norm`): it changes nothing here.
    "bl" is `blurry` with `hold_weight`: its gradient is that of "gce" with q = gamma, so training with it is
    training with GCE. Equation 4's own gradient is `functools.partial(blurry, gamma=gamma)`.
    """
    if name not in _BY_NAME:
        raise UsageError(f"unknown loss '{name}'", f"known: {', '.join(_BY_NAME)}")
    defaults = LOSS_PARAMETERS[name]
    if unknown := sorted(set(parameters) - set(defaults)):
        raise UsageError(
            f"loss '{name}' has no parameter '{unknown[0]}'", f"it has: {', '.join(defaults) or 'none'}"
        )
    chosen = {key: value for key, value in {**defaults, **parameters}.items() if key != "l1"}
    return functools.partial(_BY_NAME[name], **chosen)


def scheduled(name: str, *, delay: int, epoch: int, **parameters: float) -> Loss:
    """Cross-entropy in the first `delay` epochs, then the loss `name` (paper, equation 6). `epoch` from 1."""
    return cross_entropy if epoch <= delay else make_loss(name, **parameters)


def l1_norm(parameters: Iterable[Tensor]) -> Tensor:
    """Sum of the absolute values of all parameters, a scalar."""
    return torch.stack([p.abs().sum() for p in parameters]).sum()


def _log_softmax(logits: Tensor) -> Tensor:  # (B, K) -> (B, K), float32 or float64
    return F.log_softmax(logits, dim=1, dtype=torch.promote_types(logits.dtype, torch.float32))


def _log_p_given(logits: Tensor, labels: Tensor) -> Tensor:  # (B, K), (B,) -> (B,)
    return _log_softmax(logits).gather(1, labels.long().unsqueeze(1)).squeeze(1)


def _one_minus_p(log_p: Tensor) -> Tensor:
    """1 - p without cancellation; a hair above 0 where p = 1, as powers below 1 have infinite slope at 0."""
    return (-torch.expm1(log_p)).clamp(min=torch.finfo(log_p.dtype).tiny)


def _anl_base(log_p: Tensor, base: str) -> Tensor:
    """Cross-entropy, or focal loss whose weight is held constant in the gradient, elementwise."""
    if base == "ce":
        return -log_p
    return -_one_minus_p(log_p).pow(ANL_FOCAL_GAMMA).detach() * log_p
