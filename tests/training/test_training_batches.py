"""Batches: normalised, moved, on the device or read from the map."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from labelscrub.training import batches as batches_module
from labelscrub.training.batches import Batches, channel_statistics, draw_moves, shift_and_flip


def test_statistics_are_the_training_pixels_own() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (700, 8, 8, 3), dtype=np.uint8)
    pixels[..., 1] = 9  # a blank channel must not divide by zero
    index = np.arange(0, 700, 2)
    mean, std = channel_statistics(pixels, index)
    expected = pixels[index].astype(np.float64) / 255
    np.testing.assert_allclose(mean, expected.mean((0, 1, 2)))
    np.testing.assert_allclose(std[[0, 2]], expected.std((0, 1, 2))[[0, 2]])
    assert std[1] == 1 / 255
    batches = Batches.on(torch.device("cpu"), pixels, index, imagenet=False)
    images = batches.read(torch.from_numpy(index))
    assert images.shape == (350, 3, 8, 8) and images.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(images.mean((0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(images.std((0, 2, 3)), torch.tensor([1.0, 0.0, 1.0]), atol=1e-3, rtol=0)


def test_imagenet_normalisation_of_grey() -> None:
    pixels = np.full((4, 8, 8, 1), 255, np.uint8)
    images = Batches.on(torch.device("cpu"), pixels, np.arange(4), imagenet=True).read(torch.arange(2))
    assert images.shape == (2, 3, 8, 8)
    expected = (1 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor(
        [0.229, 0.224, 0.225]
    )  # torchvision docs
    torch.testing.assert_close(images[0, :, 0, 0], expected)


def test_imagenet_normalisation_reads_no_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches_module, "channel_statistics", None)  # not callable
    Batches.on(torch.device("cpu"), np.zeros((4, 8, 8, 3), np.uint8), np.arange(4), imagenet=True)


@pytest.mark.parametrize("moved", [False, True])
def test_images_on_the_device_and_in_the_map_give_the_same_batches(moved: bool) -> None:
    """What accelerators do, done on the CPU."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 9, 9, 3), dtype=np.uint8)
    mapped = Batches.on(torch.device("cpu"), pixels, np.arange(40), imagenet=False)
    resident = dataclasses.replace(mapped, resident=torch.from_numpy(pixels.copy()))
    index = torch.tensor([7, 39, 0, 7])
    moves = draw_moves(4, 9, torch.Generator().manual_seed(0)) if moved else None
    expected = mapped.read(mapped.place(index), moves)
    mapped.pixels[:] = 0  # the resident images are read, not the map
    assert torch.equal(resident.read(resident.place(index), moves), expected)
    assert not torch.equal(mapped.read(mapped.place(index), moves), expected)


def test_memory_that_torch_keeps_for_reuse_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first fold the driver sees nearly all memory taken."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10, 1000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 900)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 200)
    assert batches_module.free_memory(torch.device("cuda:0")) == 710


@pytest.mark.parametrize(
    ("device", "expected"),
    [("cuda", ["pinned", ("cuda", True)]), ("cpu", [("cpu", False)])],
)
def test_batches_go_to_a_gpu_without_waiting(
    monkeypatch: pytest.MonkeyPatch, device: str, expected: list[object]
) -> None:
    pixels = np.zeros((4, 8, 8, 1), np.uint8)
    made = Batches.on(torch.device("cpu"), pixels, np.arange(4), imagenet=False)
    made = dataclasses.replace(made, device=torch.device(device))
    calls: list[object] = []

    def pin(tensor: torch.Tensor) -> torch.Tensor:
        calls.append("pinned")
        return tensor

    def move(tensor: torch.Tensor, device: torch.device, *, non_blocking: bool) -> torch.Tensor:
        calls.append((device.type, non_blocking))
        return tensor

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    monkeypatch.setattr(torch.Tensor, "to", move)
    assert made.read(torch.arange(2)).shape == (2, 1, 8, 8)
    assert calls == expected


def test_moves_agree_with_a_slow_twin() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (32, 9, 9, 3), dtype=np.uint8)
    moves = draw_moves(32, 9, torch.Generator().manual_seed(0))
    assert set(moves[0].tolist()) == {-2, -1, 0, 1, 2} and set(moves[2].tolist()) == {0, 1}
    found = shift_and_flip(torch.from_numpy(images), moves).numpy()
    for i, (down, right, flip) in enumerate(moves.T.tolist()):
        flipped = images[i, :, ::-1] if flip else images[i]
        padded = np.pad(flipped, ((4, 4), (4, 4), (0, 0)), mode="reflect")
        crop = padded[4 + down : 13 + down, 4 + right : 13 + right]
        np.testing.assert_array_equal(found[i], crop)
