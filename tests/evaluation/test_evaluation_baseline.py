"""The baseline is the paper's network and recipe, and the very network that ours is compared with."""

from __future__ import annotations

import pytest
import torch

from labelscrub.evaluation.baseline import make_network
from labelscrub.evaluation.speed import EPOCHS, RECIPES
from labelscrub.training import recipes
from labelscrub.training.networks import build_network


@pytest.mark.parametrize(
    ("name", "side", "channels", "classes"),
    [("mnist-cnn", 28, 1, 10), ("mnist-cnn", 9, 3, 2), ("cifar-resnet34", 32, 3, 10)],
)
def test_the_networks_are_ours_layer_by_layer(name: str, side: int, channels: int, classes: int) -> None:
    torch.manual_seed(0)
    theirs = make_network(name, side, channels, classes).eval()
    ours = build_network(name, side=side, channels=channels, outputs=classes).eval()
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(3, channels, side, side)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images))


def test_the_mnist_network_has_the_examples_size() -> None:
    network = make_network("mnist-cnn", 28, 1, 10)
    # pytorch/examples, mnist/main.py: 320 + 18,496 + 1,179,776 + 1,290
    assert sum(p.numel() for p in network.parameters()) == 1_199_882


@pytest.mark.parametrize("name", RECIPES)
def test_both_sides_train_by_the_same_recipe(name: str) -> None:
    recipe = recipes.RECIPES[name]
    assert RECIPES[name] == (recipe.batch_size, recipe.lr, recipe.step_factor)
    assert (recipe.epochs, recipe.optimizer, recipe.weight_decay) == (EPOCHS, "adam", 0.0)
    assert (recipe.schedule, recipe.step_at) == ("step", 0.5)
