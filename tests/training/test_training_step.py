"""What a step is made of: margins and optimizers."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import Literal

import numpy as np
import pytest
import torch
from torch import nn

from labelscrub.training.recipes import RECIPES
from labelscrub.training.step import make_optimizer, margin


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("number", [1, 9])
def test_margin_agrees_with_a_slow_twin(classes: int, number: int) -> None:
    rng = np.random.default_rng(0)
    logits, label = rng.normal(size=(number, classes)), rng.integers(0, classes, number)
    found = margin(torch.from_numpy(logits), torch.from_numpy(label)).numpy()
    expected = [
        z[y] - max(z[k] for k in range(classes) if k != y) for z, y in zip(logits, label, strict=True)
    ]
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_a_recipes_optimizer_steps_as_it_says(name: Literal["adam", "sgd"]) -> None:
    network = nn.Linear(1, 1, bias=False)
    nn.init.ones_(network.weight)
    recipe = dataclasses.replace(RECIPES["fast"], optimizer=name, weight_decay=0.5)
    rate = torch.tensor(0.0)
    optimizer = make_optimizer(network, recipe, rate)
    rate.fill_(0.1)
    for _ in range(2):
        network.weight.grad = torch.full((1, 1), 2.0)
        optimizer.step()
    if name == "adam":  # the first steps are of size lr, whatever the gradient
        assert network.weight.item() == pytest.approx(1 - 2 * 0.1, abs=1e-3)
        return
    # Nesterov momentum by hand: g = 2 + 0.5 w; v <- 0.9 v + g; w <- w - 0.1 (g + 0.9 v)
    w, v = 1.0, 0.0
    for _ in range(2):
        g = 2 + 0.5 * w
        v = 0.9 * v + g
        w -= 0.1 * (g + 0.9 * v)
    assert network.weight.item() == pytest.approx(w, abs=1e-6)


def test_the_optimizers_are_torchs() -> None:
    for kind, ours in (("adam", torch.optim.Adam), ("sgd", torch.optim.SGD)):
        recipe = dataclasses.replace(RECIPES["fast"], optimizer=kind, weight_decay=0.1)
        trained = []
        for own in (True, False):
            weight = torch.nn.Parameter(torch.linspace(-1, 1, 7))
            rate = torch.tensor(0.1)
            made = make_optimizer(torch.nn.ParameterList([weight]), recipe, rate)
            if not own:
                given = {"momentum": 0.9, "nesterov": True} if kind == "sgd" else {}
                made = ours([weight], lr=rate, weight_decay=0.1, fused=True, **given)
            for _ in range(3):
                made.zero_grad(set_to_none=True)
                (weight**3).sum().backward()
                made.step()
            assert weight.grad is not None and weight.requires_grad
            trained.append(weight.detach().clone())
        assert torch.equal(*trained)


def test_training_does_not_load_torchs_compiler() -> None:
    script = """
import sys
import numpy as np
from labelscrub import training
from labelscrub.config import TrainingSettings
pixels, labels = np.zeros((40, 8, 8, 1), np.uint8), np.arange(40) % 2
plan = training.plan_training(TrainingSettings(epochs=1), shape=pixels.shape, num_classes=2)
training.train_fold(pixels, labels, training.assign_folds(labels, None, 2, 0), 0, 2, plan, print)
print("torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
