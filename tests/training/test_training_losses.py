"""Losses: slow NumPy twins, limiting cases, invariants, gradients."""

from __future__ import annotations

import functools
import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from labelscrub.config import LOSS_PARAMETERS, LOSSES
from labelscrub.errors import UsageError
from labelscrub.training import losses

CASES = [
    ("ce", {}),
    ("focal", {"gamma": 2.0}),
    ("focal", {"gamma": 0.5}),
    ("gce", {"q": 0.7}),
    ("anl-ce", {"alpha": 5.0, "beta": 5.0}),
    ("anl-fl", {"alpha": 1.0, "beta": 1.0}),
    ("bl", {"gamma": 0.3}),
    ("pz", {"cutoff": 0.05}),
]
ids = [f"{name}-{'-'.join(map(str, parameters.values()))}" for name, parameters in CASES]
every_loss = pytest.mark.parametrize(("name", "parameters"), CASES, ids=ids)


def reference(name: str, parameters: dict[str, float], logits: np.ndarray, label: int) -> float:
    """One image's loss, written out from the page with plain Python floats."""
    exponents = [math.exp(float(z) - float(logits.max())) for z in logits]
    p = [e / sum(exponents) for e in exponents]
    given = p[label]
    match name:
        case "ce":
            return -math.log(given)
        case "focal":
            return -((1 - given) ** parameters["gamma"]) * math.log(given)
        case "gce":
            return (1 - given ** parameters["q"]) / parameters["q"]
        case "bl":
            return -(given ** parameters["gamma"]) * math.log(given)
        case "pz":
            return 0.0 if given <= parameters["cutoff"] else -math.log(given)

    def base(x: float) -> float:
        x = max(x, 1e-7)
        return -math.log(x) if name == "anl-ce" else -((1 - x) ** 0.5) * math.log(x)

    normalised = base(given) / sum(base(x) for x in p)
    negative = 1 - (base(1e-7) - base(given)) / sum(base(1e-7) - base(x) for x in p)
    return parameters["alpha"] * normalised + parameters["beta"] * negative


def batch(images: int, classes: int, spread: float = 3.0, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(rng.normal(0, spread, (images, classes)))
    return logits, torch.from_numpy(rng.integers(0, classes, images))


def test_every_setting_name_is_a_loss() -> None:
    logits, labels = batch(3, 4)
    assert {name for name, _ in CASES} == set(LOSSES)
    for name in LOSSES:
        torch.testing.assert_close(
            losses.make_loss(name)(logits, labels),
            losses.make_loss(name, **LOSS_PARAMETERS[name])(logits, labels),
        )


@every_loss
@pytest.mark.parametrize(("images", "classes"), [(64, 10), (1, 10), (16, 2), (1, 2), (0, 5)])
def test_agrees_with_the_slow_twin(
    name: str, parameters: dict[str, float], images: int, classes: int
) -> None:
    logits, labels = batch(images, classes)
    found = losses.make_loss(name, **parameters)(logits, labels)
    assert found.shape == (images,)
    expected = [
        reference(name, parameters, z, y) for z, y in zip(logits.numpy(), labels.tolist(), strict=True)
    ]
    np.testing.assert_allclose(found.numpy(), np.array(expected).reshape(-1), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("name", "parameters"), [case for case in CASES if case[0] not in ("anl-fl", "bl")])
def test_gradient_in_float64(name: str, parameters: dict[str, float]) -> None:
    """anl-fl and bl have tests below: their weights are constants in the gradient."""
    logits, labels = batch(12, 5, spread=1.0)  # p stays away from the jump of pz and the clamp of anl
    p = logits.softmax(1).gather(1, labels[:, None])
    assert ((p - 0.05).abs() > 1e-3).all()
    loss = losses.make_loss(name, **parameters)
    assert torch.autograd.gradcheck(lambda z: loss(z, labels), logits.requires_grad_())


def test_blurry_gradient_is_the_equations_or_weighted_cross_entropys() -> None:
    logits, labels = batch(12, 5)
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda z: losses.blurry(z, labels, gamma=0.3), logits)
    held = losses.make_loss("bl", gamma=0.3)(logits, labels)
    torch.testing.assert_close(held, losses.blurry(logits, labels, gamma=0.3))
    (found,) = torch.autograd.grad(held.sum(), logits)
    (cross_entropys,) = torch.autograd.grad(losses.cross_entropy(logits, labels).sum(), logits)
    p = logits.detach().softmax(1).gather(1, labels[:, None])
    torch.testing.assert_close(found, p**0.3 * cross_entropys)


@pytest.mark.parametrize("gamma", [0.1, 0.3, 0.7, 1.0])
def test_bl_as_trained_has_the_gradient_of_gce(gamma: float) -> None:
    """Both -p^gamma grad log p: what is reported as "bl" is GCE's training, and its docstring says so."""
    logits, labels = batch(64, 10)
    logits.requires_grad_()

    def slope(loss: losses.Loss) -> torch.Tensor:
        return torch.autograd.grad(loss(logits, labels).sum(), logits)[0]

    gce = slope(losses.make_loss("gce", q=gamma))
    torch.testing.assert_close(slope(losses.make_loss("bl", gamma=gamma)), gce, rtol=1e-12, atol=1e-12)
    equation_4 = slope(functools.partial(losses.blurry, gamma=gamma))
    assert (equation_4 - gce).abs().max() > 1e-3
    for told in (losses.blurry.__doc__, losses.make_loss.__doc__):
        assert told is not None and "training with GCE" in " ".join(told.split())


def test_anl_focal_weight_is_constant_in_the_gradient() -> None:
    logits, labels = batch(12, 5, spread=1.0)
    logits.requires_grad_()
    weight = (1 - logits.detach().softmax(1)).sqrt()  # (B, K)
    largest = -math.sqrt(1 - 1e-7) * math.log(1e-7)

    def by_hand(z: torch.Tensor) -> torch.Tensor:
        base = -weight * z.log_softmax(1)
        rows = torch.arange(len(labels))
        negative = largest - base
        return base[rows, labels] / base.sum(1) + 1 - negative[rows, labels] / negative.sum(1)

    (found,) = torch.autograd.grad(losses.make_loss("anl-fl")(logits, labels).sum(), logits)
    (expected,) = torch.autograd.grad(by_hand(logits).sum(), logits)
    torch.testing.assert_close(found, expected)
    moving = torch.autograd.gradcheck(
        lambda z: losses.make_loss("anl-fl")(z, labels), logits, raise_exception=False
    )
    assert not moving  # were the weight to move too, the numeric gradient would agree


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("focal", {"gamma": 0.0}),
        ("gce", {"q": 1e-9}),
        ("bl", {"gamma": 0.0}),
        ("pz", {"cutoff": 0.0}),
    ],
)
@pytest.mark.parametrize("scale", [1.0, 200.0])
def test_limit_is_cross_entropy(name: str, parameters: dict[str, float], scale: float) -> None:
    logits, labels = batch(64, 10)
    logits = (logits * scale).requires_grad_()
    found = losses.make_loss(name, **parameters)(logits, labels)
    expected = losses.cross_entropy(logits, labels)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    (slope,) = torch.autograd.grad(found.sum(), logits)
    (expected_slope,) = torch.autograd.grad(expected.sum(), logits)
    torch.testing.assert_close(slope, expected_slope, rtol=1e-5, atol=1e-6)


def test_cross_entropy_is_torchs() -> None:
    logits, labels = batch(64, 10)
    expected = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    torch.testing.assert_close(losses.cross_entropy(logits, labels), expected)


def test_gce_at_one_is_one_minus_p() -> None:
    logits, labels = batch(64, 10)
    p = logits.softmax(1).gather(1, labels[:, None])[:, 0]
    torch.testing.assert_close(losses.generalized_cross_entropy(logits, labels, q=1.0), 1 - p)


@pytest.mark.parametrize("base", ["ce", "focal"])
@pytest.mark.parametrize("classes", [2, 3, 10, 100])
@pytest.mark.parametrize("spread", [0.0, 3.0, 100.0])
def test_anl_sums_over_the_possible_labels(base: str, classes: int, spread: float) -> None:
    """Normalised: 1. Normalised-negative: K - 1 (Ye et al. 2023: each is 1 minus a share)."""
    logits, _ = batch(1, classes, spread)
    copies, labels = logits.expand(classes, -1), torch.arange(classes)
    normalised = losses.anl(copies, labels, base=base, alpha=1.0, beta=0.0)
    negative = losses.anl(copies, labels, base=base, alpha=0.0, beta=1.0)
    assert normalised.sum().item() == pytest.approx(1, abs=1e-9)
    assert negative.sum().item() == pytest.approx(classes - 1, abs=1e-9)
    assert (normalised >= 0).all() and (negative >= 0).all()


@pytest.mark.parametrize("gamma", [0.3, 0.5, 1.0])
def test_blurry_gradient_changes_sign(gamma: float) -> None:
    """At p = exp(-1/gamma) (paper, section 4.1): rising below, falling above, flat there."""
    turn = math.exp(-1 / gamma)

    def slope(p: float) -> float:  # of the loss by the given label's logit, K = 2
        logit = torch.tensor([[math.log(p / (1 - p)), 0.0]], dtype=torch.float64, requires_grad=True)
        loss = losses.blurry(logit, torch.tensor([0]), gamma=gamma).sum()
        return torch.autograd.grad(loss, logit)[0][0, 0].item()

    assert slope(turn * 0.9) > 0
    assert slope(turn * 1.1) < 0
    assert slope(turn) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("cutoff", [0.005, 0.05, 0.5])
def test_piecewise_zero_is_exactly_zero_below_the_cutoff(cutoff: float) -> None:
    logits, labels = batch(200, 4)
    logits.requires_grad_()
    found = losses.piecewise_zero(logits, labels, cutoff=cutoff)
    (slope,) = torch.autograd.grad(found.sum(), logits)
    below = logits.softmax(1).gather(1, labels[:, None])[:, 0] <= cutoff
    assert below.any() and (~below).any()
    assert (found[below] == 0).all() and (slope[below] == 0).all()
    assert (found[~below] > 0).all() and (slope[~below] != 0).any(1).all()


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_piecewise_zero_at_the_cutoff_itself_is_zero(classes: int, dtype: torch.dtype) -> None:
    logits = torch.zeros(1, classes, dtype=dtype, requires_grad=True)  # p = 1/K exactly
    found = losses.piecewise_zero(logits, torch.tensor([0]), cutoff=1 / classes)
    assert found.item() == 0
    assert losses.piecewise_zero(logits, torch.tensor([0]), cutoff=0.99 / classes).item() > 0


@every_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_extreme_logits(name: str, parameters: dict[str, float], dtype: torch.dtype) -> None:
    corners = torch.tensor([[100.0, -100.0], [-100.0, 100.0], [100.0, 100.0], [-100.0, -100.0], [0.0, 100.0]])
    for labels in (torch.zeros(5, dtype=torch.int64), torch.ones(5, dtype=torch.int64)):
        logits = corners.to(dtype).requires_grad_()
        found = losses.make_loss(name, **parameters)(logits, labels)
        assert found.dtype == torch.float32
        assert torch.isfinite(found).all() and (found >= 0).all()
        (slope,) = torch.autograd.grad(found.sum(), logits)
        assert torch.isfinite(slope).all()


@every_loss
def test_half_precision_logits_are_computed_in_float32(name: str, parameters: dict[str, float]) -> None:
    logits, labels = batch(32, 10)
    loss = losses.make_loss(name, **parameters)
    half = logits.bfloat16()
    torch.testing.assert_close(loss(half, labels), loss(half.float(), labels), rtol=0, atol=0)


@every_loss
def test_nan_logits_stay_visible(name: str, parameters: dict[str, float]) -> None:
    assert torch.isnan(
        losses.make_loss(name, **parameters)(torch.full((2, 3), torch.nan), torch.tensor([0, 1]))
    ).all()


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8, torch.int64])
def test_labels_of_any_integer_type(dtype: torch.dtype) -> None:
    logits, labels = batch(8, 5)
    torch.testing.assert_close(
        losses.cross_entropy(logits, labels.to(dtype)), losses.cross_entropy(logits, labels)
    )


@pytest.mark.parametrize(
    ("delay", "epoch", "robust"), [(0, 1, True), (1, 1, False), (1, 2, True), (3, 3, False)]
)
def test_schedule_counts_epochs_from_one(delay: int, epoch: int, robust: bool) -> None:
    """Equation 6: CE where epoch <= delay."""
    logits, labels = batch(32, 10)
    found = losses.scheduled("pz", delay=delay, epoch=epoch, cutoff=0.5)(logits, labels)
    assert (found == 0).any().item() is robust


def test_l1_norm_and_its_gradient() -> None:
    parameters = [torch.tensor([1.0, -2.0], requires_grad=True), torch.tensor([[-3.0]], requires_grad=True)]
    norm = losses.l1_norm(iter(parameters))
    assert norm.item() == 6
    norm.backward()
    assert parameters[0].grad is not None
    assert parameters[0].grad.tolist() == [1, -1]


def test_unknown_names_are_usage_errors() -> None:
    with pytest.raises(UsageError, match="unknown loss 'mae'"):
        losses.make_loss("mae")
    with pytest.raises(UsageError, match="'ce' has no parameter 'gamma'"):
        losses.make_loss("ce", gamma=1.0)


def test_usable_alone() -> None:
    """The losses load neither torchvision nor the data and detection stages."""
    code = (
        "import sys, labelscrub.training.losses\n"
        "print([m for m in sys.modules if m.split('.')[0] in ('torchvision', 'cleanlab', 'PIL', 'pyarrow')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
