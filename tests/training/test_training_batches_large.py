"""Batches of a store too large to be left to the system's cache."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
import training_cases as cases

from labelscrub.records import silent
from labelscrub.training import assign_folds, batches, chunks, no_plants, train_fold
from labelscrub.training.batches import Batches, channel_statistics

CPU = torch.device("cpu")


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk holds 16 of the cases' images, in blocks of 2."""
    monkeypatch.setattr(chunks, "IN_CHUNKS_ABOVE", 64 * 50)
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 64 * 16)
    monkeypatch.setattr(chunks, "BLOCK_BYTES", 64 * 2)


def mapped(pixels: np.ndarray, folder: Path) -> np.memmap:
    (folder / "pixels").write_bytes(bytes(128) + pixels.tobytes())
    return np.memmap(folder / "pixels", np.uint8, "r", offset=128, shape=pixels.shape)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def test_a_small_store_is_shuffled_as_a_whole() -> None:
    pixels, _ = cases.images()
    made = Batches.on(CPU, pixels, np.arange(90), imagenet=False)
    rows = torch.arange(0, 90, 2)
    assert made.reader is None
    assert torch.equal(made.order(rows, generator()), torch.randperm(45, generator=generator()))


def test_the_order_is_by_the_size_of_the_store_alone(small_chunks: None, tmp_path: Path) -> None:
    """Whether the images are in memory, mapped, or on a device that has room for them."""
    pixels, _ = cases.images()
    rows = torch.arange(0, 90, 2)
    in_memory = Batches.on(CPU, pixels, rows.numpy(), imagenet=False)
    in_file = Batches.on(CPU, mapped(pixels, tmp_path), rows.numpy(), imagenet=False)
    on_device = dataclasses.replace(in_memory, resident=torch.from_numpy(pixels), reader=None)
    orders = [made.order(rows, generator()) for made in (in_memory, in_file, on_device)]
    assert torch.equal(orders[0], orders[1]) and torch.equal(orders[0], orders[2])
    assert sorted(orders[0].tolist()) == list(range(45))
    assert not torch.equal(orders[0], torch.randperm(45, generator=generator()))
    images = [
        torch.cat([made.read(where) for where in made.place(rows[orders[0]]).split(7)])
        for made in (in_memory, in_file, on_device)
    ]
    assert torch.equal(images[0], images[1]) and torch.equal(images[0], images[2])


def test_other_images_have_a_reader_of_their_own(small_chunks: None) -> None:
    pixels, _ = cases.images()
    large = Batches.on(CPU, pixels, np.arange(90), imagenet=False)
    other = large.of(pixels[::-1].copy())
    assert torch.equal(other.read(torch.arange(5)), large.read(torch.arange(89, 84, -1)))
    assert large.of(pixels[:50]).reader is None  # no more than what is left to the cache


def test_statistics_of_a_large_store_are_those_of_a_small_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pixels, _ = cases.images(channels=3)
    index = np.arange(1, 90, 3)
    expected = channel_statistics(pixels, index)
    monkeypatch.setattr(chunks, "IN_CHUNKS_ABOVE", 0)
    for found, wanted in zip(channel_statistics(mapped(pixels, tmp_path), index), expected, strict=True):
        assert found.tobytes() == wanted.tobytes()


def test_a_fold_trains_from_a_large_store(
    small_chunks: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The images are sorted by class; the bytes are those of the same images in memory, and repeat."""
    pixels, labels = cases.images()
    by_class = np.argsort(labels, kind="stable")
    pixels, labels = pixels[by_class], labels[by_class]
    fold = assign_folds(labels, None, 3, 0)
    loaded: list[int] = []
    load = chunks.ChunkReader._load
    monkeypatch.setattr(
        chunks.ChunkReader, "_load", lambda self, number: (loaded.append(number), load(self, number))
    )
    plan = cases.plan(pixels, epochs=4)
    stored = mapped(pixels, tmp_path)
    results = [
        train_fold(images, labels, fold, 0, cases.CLASSES, plan, silent, no_plants(0))
        for images in (stored, stored, pixels)
    ]
    assert cases.same(results[0], results[1]) and cases.same(results[0], results[2])
    assert loaded == [0, 1, 2, 3] * 4 * 3  # 60 images in 4 chunks, each once an epoch
    # The cases' bright rows are learnt from: held-out images of the right class.
    held_out = results[0]
    assert (held_out.pred_probs.argmax(1) == labels[held_out.index]).mean() > 0.6


def test_what_fills_a_device_does_not_stay_mapped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pixels = mapped(cases.images()[0], tmp_path)
    released: list[tuple[int, int]] = []
    monkeypatch.setattr(batches, "free_memory", lambda device: 1 << 40)
    monkeypatch.setattr(batches, "CHUNK", 2)
    monkeypatch.setattr(batches, "release", lambda of, first, stop: released.append((first, stop)))
    resident = batches._resident(pixels, torch.device("meta"))
    assert resident is not None and resident.shape == pixels.shape
    assert released == [(0, 32), (32, 64), (64, 90)]
