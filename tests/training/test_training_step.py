"""What a step is made of: margins and optimizers."""

from __future__ import annotations

import dataclasses
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
