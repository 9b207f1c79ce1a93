"""The small networks' own layers: torch's dropout from cheaper random numbers, and its flattening."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from training_cases import images

from labelscrub.training.networks import Dropout, Flatten, MnistCNN, build_network, dropout


@pytest.mark.parametrize("share", [0.25, 0.5, 0.4])
def test_drops_its_share_everywhere_and_scales_the_rest(share: float) -> None:
    torch.manual_seed(0)
    x = torch.ones(1024, 144)
    y = dropout(x, share, training=True)
    bytes_ = round(share * 256)
    assert y.unique().tolist() == pytest.approx([0.0, 256 / (256 - bytes_)])
    # 147,456 draws: the share's standard deviation is at most 0.0013, a column's (1,024 draws) 0.016; 0.4 is
    # rounded by 0.0016. What is scaled by the rounded share keeps its mean.
    assert (y == 0).float().mean().item() == pytest.approx(share, abs=0.006)
    assert (y == 0).float().mean(0) == pytest.approx([share] * 144, abs=0.07)
    assert y.mean().item() == pytest.approx(1, abs=0.01)
    bits = (y == 0).reshape(-1, 8).float()  # one random number makes eight
    assert torch.corrcoef(bits.T).fill_diagonal_(0).abs().max().item() < 0.04


def test_gradient_is_the_masks() -> None:
    torch.manual_seed(0)
    x = torch.rand(5, 7, requires_grad=True)  # 35 values: not a multiple of eight
    y = dropout(x, 0.5, training=True)
    y.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, torch.where(y == 0, 0.0, 2.0))


def test_does_nothing_in_evaluation_and_repeats_with_the_seed() -> None:
    x = torch.rand(3, 8)
    assert torch.equal(dropout(x, 0.5, training=False), x)
    masks = []
    for _ in range(2):
        torch.manual_seed(7)
        masks.append(dropout(x, 0.5, training=True))
    assert torch.equal(*masks)


def test_pooling_before_the_relu_changes_no_value() -> None:
    torch.manual_seed(0)
    network = MnistCNN(28, 1, 10).eval()
    images = torch.randn(4, 1, 28, 28)
    x = F.max_pool2d(F.relu(network.conv2(F.relu(network.conv1(images)))), 2).flatten(
        1
    )  # the example's order
    assert torch.equal(network(images), network.fc2(F.relu(network.fc1(x))))


def test_the_layer_drops_while_training_alone() -> None:
    layer, x = Dropout(0.5), torch.ones(64, 8)
    assert (layer.train()(x) == 0).any()
    assert torch.equal(layer.eval()(x), x)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", [(3, 5, 4, 4), (2, 3, 1, 1), (1, 1, 2, 2)])
def test_flattens_as_torch_does_with_a_gradient_in_channels_last(
    memory_format: torch.memory_format, shape: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    x = torch.randn(shape).to(memory_format=memory_format).requires_grad_()
    weight = torch.randn(shape[0], x[0].numel())
    seen: list[torch.Tensor] = []
    inner = x * 1
    inner.register_hook(seen.append)
    flat = Flatten()(inner)
    assert torch.equal(flat, x.flatten(1))
    (flat * weight).sum().backward()
    assert x.grad is not None and torch.equal(x.grad.flatten(1), weight)
    assert seen[0].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", ["fast", "mnist-cnn"])
@pytest.mark.parametrize("channels", [1, 3])
def test_training_a_small_network_moves_no_activation(name: str, channels: int) -> None:
    """All that flows through the convolutions, forth and back, stays in channels_last."""
    pixels, _ = images(4, side=16, channels=channels)
    network = build_network(name, side=16, channels=channels, outputs=3).to(memory_format=torch.channels_last)
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
    seen: list[bool] = []

    def look(module: nn.Module, before: tuple[torch.Tensor, ...], after: torch.Tensor) -> None:
        note(after)
        after.register_hook(note)

    def note(tensor: torch.Tensor) -> None:
        seen.append(tensor.is_contiguous(memory_format=torch.channels_last))

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.BatchNorm2d):
            module.register_forward_hook(look)
    network(x).sum().backward()
    assert len(seen) >= 4 and all(seen)
