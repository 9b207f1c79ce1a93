"""Stores larger than memory: the order by blocks, and what is read of a map and stays."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from labelscrub.training import chunks
from labelscrub.training.chunks import ChunkReader, draw_order, release, take, will_need

CPU = torch.device("cpu")


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk holds 4 blocks of 2 images of 8 x 8 grey pixels; all that is more is in chunks."""
    monkeypatch.setattr(chunks, "IN_CHUNKS_ABOVE", 10 * 64)
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 8 * 64)
    monkeypatch.setattr(chunks, "BLOCK_BYTES", 2 * 64)
    monkeypatch.setattr(chunks, "PIECE_BYTES", 3 * 64)


def mapped(folder: Path, number: int, side: int = 8) -> np.memmap:
    """(N, S, S, 1) random pixels as the store maps them: read-only, after a header."""
    path = folder / "pixels"
    values = np.random.default_rng(0).integers(0, 256, number * side**2, dtype=np.uint8)
    path.write_bytes(bytes(128) + values.tobytes())
    with path.open("rb") as stream:
        return np.memmap(stream, np.uint8, "r", offset=128, shape=(number, side, side, 1))


def order(number: int, image_bytes: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
    return draw_order(number, image_bytes, torch.Generator().manual_seed(seed))


@settings(deadline=None)
@given(number=st.integers(1, 500), image_bytes=st.integers(1, 700))
def test_every_image_comes_once_in_chunks_that_fit(number: int, image_bytes: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "CHUNK_BYTES", 600)
        patch.setattr(chunks, "BLOCK_BYTES", 40)
        parts = order(number, image_bytes)
    assert sorted(torch.cat(parts).tolist()) == list(range(number))
    sizes = [len(part) for part in parts]
    block = max(1, 40 // image_bytes)
    assert max(sizes) * image_bytes <= 600 or max(sizes) == 1  # one image is the least
    assert max(sizes) - min(sizes) < 2 * block  # nearly one size, but for the last, shorter block


def test_an_order_repeats_by_its_seed_alone(small_chunks: None) -> None:
    assert torch.equal(torch.cat(order(301, 64, 1)), torch.cat(order(301, 64, 1)))
    assert not torch.equal(torch.cat(order(301, 64, 1)), torch.cat(order(301, 64, 2)))


def test_what_fits_into_a_chunk_is_shuffled_image_by_image() -> None:
    (part,) = order(1000, 64)
    assert torch.equal(part, torch.randperm(1000, generator=torch.Generator().manual_seed(0)))


def test_batches_of_a_class_sorted_store_have_nearly_the_classes_of_a_full_shuffle() -> None:
    """A class with the share p of N images, n images a chunk in m of all M blocks, B images a batch.

    A batch is drawn from its chunk without replacement, and so are a chunk's blocks from all blocks: the
    variance of its share is p q / B (1 - (B - 1) / (n - 1)) + p q / m (1 - (m - 1) / (M - 1)), the sum of two
    hypergeometric ones (a little less: p q is smaller within a chunk). A full shuffle has the first alone.
    """
    number, classes, batch, image_bytes = 120_000, 100, 256, 12_288  # the store of 64 px RGB, here 1.5 GB
    label = np.arange(number) * classes // number
    full, ours, expected = [], [], []
    generator = torch.Generator().manual_seed(0)
    for _ in range(4):
        parts = draw_order(number, image_bytes, generator)
        for part in parts:
            m, all_blocks = len(part) / 5, number / 5  # 64 KiB hold 5 such images
            p = 1 / classes
            within = p * (1 - p) / batch * (1 - (batch - 1) / (len(part) - 1))
            between = p * (1 - p) / m * (1 - (m - 1) / (all_blocks - 1))
            for where in part[: len(part) // batch * batch].split(batch):
                counts = np.bincount(label[where.numpy()], minlength=classes)
                ours.append(((counts / batch - p) ** 2).mean())
                expected.append(within + between)
        shuffled = torch.randperm(number, generator=generator)
        for where in shuffled[: number // batch * batch].split(batch):
            counts = np.bincount(label[where.numpy()], minlength=classes)
            full.append(((counts / batch - 1 / classes) ** 2).mean())
    # 1,800 batches of 100 classes: the mean of the squares is known to within 1 %.
    assert np.mean(ours) == pytest.approx(np.mean(expected), rel=0.03)
    assert np.mean(ours) < 1.1 * np.mean(full)


def test_few_of_many_classes_are_missing_from_a_chunk() -> None:
    """1,000 sorted classes of 416 images: 83 blocks each, of which about 4 are in each of 20 chunks."""
    number, classes = 416_000, 1000
    label = np.arange(number) * classes // number
    missing = [classes - len(np.unique(label[part.numpy()])) for part in order(number, 12_288)]
    # Chance that none of a class's 83 blocks is among 1 of 20 of all: (19 / 20)^83 = 1.4 %, so 14 of 1,000.
    assert len(missing) == 20
    assert np.mean(missing) == pytest.approx(1000 * (19 / 20) ** (416 / 5), abs=5)


@pytest.mark.parametrize("kind", ["map", "array"])
def test_reading_an_epoch_gives_the_images_asked_for(small_chunks: None, tmp_path: Path, kind: str) -> None:
    pixels: np.ndarray = mapped(tmp_path, 61)
    pixels = pixels if kind == "map" else np.array(pixels)
    index = np.flatnonzero(np.arange(61) % 4 != 0)  # the training images of a fold
    reader = ChunkReader(pixels, CPU)
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        parts = draw_order(len(index), 64, generator)
        assert len(parts) > 4
        reader.expect([index[part.numpy()] for part in parts])
        loaded = []
        for where in torch.cat(parts).split(7):  # over the borders of chunks
            rows = index[where.numpy()]
            np.testing.assert_array_equal(reader.read(rows).numpy(), pixels[rows])
            loaded.append(reader.current)
        assert loaded == sorted(loaded) and loaded[-1] == len(parts) - 1


def test_a_batch_over_several_chunks_and_images_of_no_chunk(small_chunks: None, tmp_path: Path) -> None:
    pixels = mapped(tmp_path, 40)
    reader = ChunkReader(pixels, CPU)
    reader.expect([np.array([5, 1]), np.array([7, 3]), np.array([9, 0])])
    for rows in (
        [1],
        [5, 7, 3, 0],  # on to the last chunk
        [1, 5],  # back again
        [20, 21],
        [9, 20],
        [20, 9],
        [39, 39],
        [],
        [9],
    ):
        index = np.array(rows, np.int64)
        np.testing.assert_array_equal(reader.read(index).numpy(), pixels[index])
        assert reader.current == (0 if rows == [1] else 2)


def test_one_chunk_of_the_same_images_is_read_once(
    small_chunks: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small samples of a large store, as `tune` takes them."""
    reader = ChunkReader(mapped(tmp_path, 40), CPU)
    loads = []
    load = reader._load
    monkeypatch.setattr(reader, "_load", lambda number: (loads.append(number), load(number)))
    for epoch in ([3, 30, 8], [8, 3, 30], [3, 30, 9]):
        reader.expect([np.array(epoch)])
        np.testing.assert_array_equal(reader.read(np.array(epoch)).numpy(), reader.pixels[epoch])
    assert loads == [0, 0]


def resident(pixels: np.ndarray) -> int:
    """KiB of the map's file that this process holds."""
    address, size, inside = pixels.ctypes.data, 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        span = line.split()[0].split("-")
        if len(span) == 2:
            inside = int(span[0], 16) <= address < int(span[1], 16)
        elif inside and line.startswith("Rss:"):
            size += int(line.split()[1])
    return size


needs_smaps = pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="only Linux tells")


@needs_smaps
def test_pages_read_do_not_stay(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pixels = mapped(tmp_path, 2048, side=64)  # 8 MiB
    everything = np.arange(2048)
    np.testing.assert_array_equal(take(pixels, everything), np.array(pixels))
    assert resident(pixels) >= 8192  # a small store is the system's to cache
    release(pixels, 0, len(pixels))
    assert resident(pixels) == 0
    monkeypatch.setattr(chunks, "IN_CHUNKS_ABOVE", 1 << 20)
    monkeypatch.setattr(chunks, "PIECE_BYTES", 1 << 20)
    np.testing.assert_array_equal(take(pixels, everything[::-1]), np.array(pixels[::-1]))
    release(pixels, 0, len(pixels))
    take(pixels, np.random.default_rng(0).permutation(2048))
    assert resident(pixels) <= 4  # the header's page
    reader = ChunkReader(pixels, CPU)
    parts = draw_order(2048, 4096, torch.Generator().manual_seed(0))
    reader.expect([part.numpy() for part in parts])
    for where in torch.cat(parts).split(100):
        reader.read(where.numpy())
    assert resident(pixels) <= 4


def test_advice_is_for_whole_pages_of_spans(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, small_chunks: None
) -> None:
    pixels = mapped(tmp_path, 600)
    spans: list[tuple[int, int]] = []
    monkeypatch.setattr(chunks, "_advise", lambda pixels, wanted, advice: spans.extend(wanted))
    will_need(pixels, np.array([0, 1, 4, 7, 11, 12, 599]))  # gaps of 2 images are a block, of 3 more than one
    assert spans == [(0, 8), (11, 13), (599, 600)]
    will_need(pixels, np.array([], np.int64))
    assert len(spans) == 3
    monkeypatch.undo()
    for first, stop in ((0, 1), (63, 64), (500, 600), (0, 600)):  # up to the file's last byte
        release(pixels, first, stop)
        release(pixels[5:][:590], 0, 1)  # a part of the map
    np.testing.assert_array_equal(
        pixels[599], np.memmap(tmp_path / "pixels", np.uint8, "r")[-64:].reshape(8, 8, 1)
    )


def test_memory_that_no_file_can_give_back_is_left_alone(small_chunks: None, tmp_path: Path) -> None:
    """MADV_DONTNEED would empty it."""
    anonymous = np.frombuffer(mmap.mmap(-1, 64 * 64), np.uint8).reshape(64, 8, 8, 1)
    mapped(tmp_path, 64)
    copied = np.memmap(tmp_path / "pixels", np.uint8, "c", offset=128, shape=(64, 8, 8, 1))
    for pixels in (anonymous, copied, np.zeros((64, 8, 8, 1), np.uint8)):
        pixels[:] = 7
        assert (take(pixels, np.arange(64)) == 7).all()
        release(pixels, 0, len(pixels))
        assert (pixels == 7).all()


def test_a_gpu_gets_pinned_memory_without_waiting(
    small_chunks: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What CUDA does, done on the CPU: each chunk in new pinned memory, as the last copy may be under way."""
    pixels = mapped(tmp_path, 40)
    reader = ChunkReader(pixels, torch.device("cuda"))
    calls: list[str] = []
    empty, buffers = torch.empty, []

    def pinned(*shape: int, pin_memory: bool, dtype: torch.dtype) -> torch.Tensor:
        assert pin_memory
        buffers.append(empty(*shape, dtype=dtype))
        return buffers[-1]

    def move(tensor: torch.Tensor, device: torch.device, *, non_blocking: bool) -> torch.Tensor:
        calls.append(f"{device.type} {non_blocking}")
        return tensor

    monkeypatch.setattr(torch, "empty", pinned)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    monkeypatch.setattr(torch.Tensor, "to", move)
    reader.expect([np.array([5, 1]), np.array([7, 3])])
    rows = np.array([1, 5, 3, 7])
    np.testing.assert_array_equal(reader.read(rows).numpy(), pixels[rows])
    assert calls == ["cuda True"] * 4  # a chunk and a batch's places, twice
    assert len({buffer.data_ptr() for buffer in buffers}) == 2
