"""The surrogate networks: images (B, C, S, S) float -> logits (B, K)."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SMALL_STEM_BELOW = (
    64  # px: a ResNet keeps the resolution of smaller images, as the paper's CIFAR network does
)
FAST_UP_TO = 64  # px: what `auto` trains the fast network on
FAST_WIDTHS = (32, 64, 128)  # channels of the stages of the fast network, the last also of further ones
# By channels. A third stage and less dropout hardly matter on Fashion-MNIST; on CIFAR-10 (8,000 images, 20 %
# flips, six epochs, one fold) they raised out-of-fold accuracy from 0.54 to 0.60.
FAST_GRID = {1: 8, 3: 4}  # px: the image is halved until its side is at most this
FAST_DROPOUT = {1: 0.4, 3: 0.2}
RESNETS = ("cifar-resnet34", "aum-resnet34", "resnet18", "resnet34", "resnet50")


def choose_network(name: str, *, side: int, weights: str) -> str:
    """What `auto` means: the fast network up to 64 px, else, or where weights are asked for, a ResNet-18."""
    if name != "auto":
        return name
    return "fast" if side <= FAST_UP_TO and weights == "none" else "resnet18"


def build_network(name: str, *, side: int, channels: int, outputs: int) -> nn.Module:
    """A freshly initialised network of `config.NETWORKS` (not `auto`) with its input and output sizes.

    Its classifier is called `fc`, in the MNIST CNN `fc2`. The ResNets take one channel too: it is repeated.
    """
    if name == "fast":
        return fast_network(side, channels, outputs)
    if name == "mnist-cnn":
        return MnistCNN(side, channels, outputs)
    return _resnet(name, side, outputs)


def fast_network(side: int, channels: int, outputs: int) -> nn.Sequential:
    """A convolutional network that trains well in a few epochs on two CPU cores.

    Convolution, max-pool, batch norm, ReLU: pooling first leaves a quarter for the others to do. Then a small
    classifier under dropout, which keeps probabilities honest where labels are wrong.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    grid, dropout_share = FAST_GRID[channels], FAST_DROPOUT[channels]
    inputs, stage = channels, 0
    while stage < 2 or side > grid:
        if stage:
            layers[f"relu{stage - 1}"] = nn.ReLU(inplace=True)
        width = FAST_WIDTHS[min(stage, 2)]
        layers[f"conv{stage}"] = nn.Conv2d(inputs, width, 3, padding=1, bias=False)
        if side > grid:
            layers[f"pool{stage}"] = nn.MaxPool2d(2)
            side //= 2
        layers[f"norm{stage}"] = nn.BatchNorm2d(width)
        inputs, stage = width, stage + 1
    layers["flatten"] = Flatten()
    layers[f"relu{stage - 1}"] = nn.ReLU()
    layers["dropout1"] = Dropout(dropout_share)
    layers["hidden"] = nn.Linear(inputs * side * side, 128)
    layers["relu"] = nn.ReLU(inplace=True)
    layers["dropout2"] = Dropout(dropout_share)
    layers["fc"] = nn.Linear(128, outputs)
    return nn.Sequential(layers)


class MnistCNN(nn.Module):
    """The PyTorch MNIST example, which is the paper's network for MNIST and Fashion-MNIST (A.1).

    1,199,882 parameters at 28x28x1 and ten classes.
    """

    def __init__(self, side: int, channels: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 32, 3)
        self.conv2 = nn.Conv2d(32, 64, 3)
        grid = (side - 4) // 2
        self.fc1 = nn.Linear(64 * grid * grid, 128)
        self.fc2 = nn.Linear(128, outputs)

    def forward(self, images: Tensor) -> Tensor:  # (B, C, S, S) -> (B, K)
        x = F.relu_(self.conv1(images))
        # The example's values: pooling first leaves a quarter of the ReLUs, and flattening moves none.
        x = F.relu(flatten(F.max_pool2d(self.conv2(x), 2)))
        x = F.relu(self.fc1(dropout(x, 0.25, self.training)))
        logits: Tensor = self.fc2(dropout(x, 0.5, self.training))
        return logits


class Flatten(nn.Module):
    """torch's, but its gradient is laid out as the images are."""

    def forward(self, x: Tensor) -> Tensor:  # (B, C, S, S) -> (B, C * S * S)
        return flatten(x)


def flatten(x: Tensor) -> Tensor:  # (B, C, S, S) -> (B, C * S * S)
    """x.flatten(1), with a gradient in channels_last.

    torch's own gradient is not, and ReLU, pooling and batch norm are two to ten times slower where an
    activation and its gradient are laid out differently.
    """
    flat: Tensor = _Flatten.apply(x)
    return flat


class _Flatten(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.shape = x.shape
        return x.flatten(1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient.view(ctx.shape).contiguous(memory_format=torch.channels_last)


class Dropout(nn.Module):
    """torch's, by `dropout`."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:  # any shape, contiguous
        return dropout(x, self.share, self.training)


def dropout(x: Tensor, share: float, training: bool) -> Tensor:
    """torch's dropout; on the CPU its mask comes from random bytes, an eighth of the generator's numbers.

    There the share is rounded to 1/256, in dropping as in scaling.
    """
    if not training or x.device.type != "cpu":
        return F.dropout(x, share, training)
    least = round(share * 256)
    words = torch.empty(-(-x.numel() // 8), dtype=torch.int64).random_(torch.iinfo(torch.int64).min, None)
    # 1 where a byte is at least `least`, by the two operations that have vector code for bytes.
    kept = words.view(torch.uint8)[: x.numel()].clamp_(least - 1, least).sub_(least - 1)
    return x * kept.to(x.dtype).mul_(256 / (256 - least)).view(x.shape)


def architecture(name: str) -> str:
    """torchvision's name of a ResNet of `RESNETS`: the paper trains its ResNet-34 in two ways."""
    return name.removeprefix("cifar-").removeprefix("aum-")


def _resnet(name: str, side: int, outputs: int) -> nn.Module:
    """torchvision's ResNet; small images get the 3x3 stride-1 stem without max-pool (paper, A.1)."""
    from torchvision.models import resnet  # slow to import, and only needed here

    network: nn.Module = getattr(resnet, architecture(name))(weights=None, num_classes=outputs)
    if name != architecture(name) or side < SMALL_STEM_BELOW:
        stem = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")  # as torchvision's own
        network.conv1 = stem
        network.maxpool = nn.Identity()
    network.register_forward_pre_hook(_repeat_grey)
    return network


def _repeat_grey(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """(B, 1 or 3, S, S) -> (B, 3, S, S)"""
    return (args[0].expand(-1, 3, -1, -1),)
