"""The paper's CNN's own dropout: torch's, from cheaper random numbers."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from labelscrub.training.networks import MnistCNN, dropout


@pytest.mark.parametrize("share", [0.25, 0.5])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_drops_its_share_everywhere_and_scales_the_rest(
    share: float, memory_format: torch.memory_format
) -> None:
    torch.manual_seed(0)
    x = torch.ones(64, 16, 12, 12).to(memory_format=memory_format)
    y = dropout(x, share, training=True)
    assert y.stride() == x.stride()
    assert y.unique().tolist() == pytest.approx([0.0, 1 / (1 - share)])
    # 147,456 draws: the share's standard deviation is at most 0.0013; a channel's (9,216 draws) 0.0052
    assert (y == 0).float().mean().item() == pytest.approx(share, abs=0.006)
    assert (y == 0).float().mean((0, 2, 3)) == pytest.approx([share] * 16, abs=0.025)
    memory = y.permute(0, 2, 3, 1) if memory_format == torch.channels_last else y
    bits = (memory == 0).reshape(-1, 8).float()  # one random number makes eight
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
