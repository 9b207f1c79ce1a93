"""Stores larger than memory: images read in chunks that fit, and an order of training that allows for it.

A batch of images from all over a file costs a disk access each. So each epoch cuts the images into small
blocks, one after the other in the file, shuffles the blocks, and fills a chunk of memory with as many as fit:
within the chunk images are shuffled one by one. The pages read never stay in this process's memory.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Bytes of pixels. By size alone, not by the memory that is free: the order must be the same on each machine.
IN_CHUNKS_ABOVE = 1 << 30
CHUNK_BYTES = 256 << 20
# Small, as the images of a folder come class by class. A chunk is a sample of about 4,000 blocks: of a class
# with the share p of all images its share deviates by sqrt(p (1 - p) / 4000), less than that of a batch does.
BLOCK_BYTES = 64 << 10
PIECE_BYTES = 8 << 20  # copied at a time: so much of the file is resident beside the chunk


def in_chunks(
    pixels: NDArray[np.uint8],  # (N, S, S, C)
) -> bool:
    """Whether these images are too many to be left to the system's cache."""
    return pixels.nbytes > IN_CHUNKS_ABOVE


def draw_order(number: int, image_bytes: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Random order of 0..number-1, in parts: each is one chunk's, (n,) int64.

    Chunks are of nearly one size, so that no small one of a few classes comes last.
    """
    size = max(1, BLOCK_BYTES // image_bytes)  # images a block
    blocks = -(-number // size)
    count = -(-blocks // max(1, CHUNK_BYTES // (size * image_bytes)))
    if count <= 1:
        return (torch.randperm(number, generator=generator),)
    parts = []
    for chosen in torch.randperm(blocks, generator=generator).tensor_split(count):
        positions = (chosen[:, None] * size + torch.arange(size)).flatten()
        positions = positions[positions < number]  # the last block may be short
        parts.append(positions[torch.randperm(len(positions), generator=generator)])
    return tuple(parts)


def take(
    pixels: NDArray[np.uint8],  # (N, S, S, C)
    rows: NDArray[np.int64],  # (n,)
    out: NDArray[np.uint8] | None = None,  # (n, S, S, C)
) -> NDArray[np.uint8]:  # (n, S, S, C)
    """These images, copied. Of a store read in chunks none of the map's pages stay resident."""
    if out is None:
        out = np.empty((len(rows), *pixels.shape[1:]), np.uint8)
    plain = np.asarray(pixels)
    if not in_chunks(pixels):
        return np.take(plain, rows, axis=0, out=out, mode="clip")  # unlike raise, clip writes in place
    # Else a page that the cache has lost brings the disk's whole read-ahead with it: up to 19 bytes for one.
    _advise(pixels, [(0, len(pixels))], mmap.MADV_RANDOM)
    will_need(pixels, np.sort(rows))
    step = max(1, PIECE_BYTES // pixels[:1].nbytes)
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        np.take(plain, part, axis=0, out=out[start : start + step], mode="clip")
        release(pixels, int(part.min()), int(part.max()) + 1)
    _advise(pixels, [(0, len(pixels))], mmap.MADV_NORMAL)  # whoever reads in order wants it
    return out


def will_need(
    pixels: NDArray[np.uint8],  # (N, S, S, C)
    rows: NDArray[np.int64],  # (n,) ascending
) -> None:
    """Have the system read these images into its cache, without waiting: those near each other as one."""
    if not len(rows):
        return
    apart = np.flatnonzero((np.diff(rows) - 1) * pixels[:1].nbytes > BLOCK_BYTES)
    first, last = rows[np.r_[0, apart + 1]], rows[np.r_[apart, len(rows) - 1]]
    _advise(pixels, zip(first.tolist(), (last + 1).tolist(), strict=True), mmap.MADV_WILLNEED)


def release(
    pixels: NDArray[np.uint8],  # (N, S, S, C)
    first: int,
    stop: int,
) -> None:
    """Images first..stop-1 of a map leave this process's memory; the system's cache may keep them."""
    _advise(pixels, [(first, stop)], mmap.MADV_DONTNEED)


def _advise(pixels: NDArray[np.uint8], spans: Iterable[tuple[int, int]], advice: int) -> None:
    """Nothing where the pixels are no map that is only read: such pages the system can't read again."""
    base: object = pixels
    while isinstance(base, np.ndarray):
        base = base.base
    if not isinstance(base, mmap.mmap) or not memoryview(base).readonly or not pixels.flags.c_contiguous:
        return
    origin = pixels.ctypes.data - np.frombuffer(base, np.uint8).ctypes.data
    image_bytes = pixels[:1].nbytes
    for first, stop in spans:
        start = (origin + first * image_bytes) // mmap.PAGESIZE * mmap.PAGESIZE
        base.madvise(advice, start, origin + stop * image_bytes - start)


class ChunkReader:
    """Images of one store. Those of an epoch's order come from a chunk in memory, all others from the file.

    Which images are asked for decides how fast they come, never what they are.
    """

    def __init__(self, pixels: NDArray[np.uint8], device: torch.device) -> None:
        self.pixels, self.device = pixels, device
        self.rows: list[NDArray[np.int64]] = []
        """Ascending, one array a chunk."""
        self.chunk_of = np.full(len(pixels), -1, np.int32)
        """(N,) which chunk of this epoch has the image; -1 is none."""
        self.slot_of = np.zeros(len(pixels), np.int32)
        """(N,) its place in there."""
        self.current = -1
        self.buffer: Tensor | None = None
        self.chunk: Tensor | None = None
        """(n, S, S, C) on the device, images of `rows[current]`."""

    def expect(
        self,
        parts: Sequence[NDArray[np.int64]],  # images of each chunk
    ) -> None:
        """What the coming epoch reads, chunk by chunk. A chunk that has all of it stays as it is."""
        rows = [np.sort(part) for part in parts]
        if len(rows) == len(self.rows) == 1 and np.array_equal(rows[0], self.rows[0]):
            return
        self.rows, self.current, self.chunk = rows, -1, None
        self.chunk_of[:] = -1
        for number, of_chunk in enumerate(rows):
            self.chunk_of[of_chunk] = number
            self.slot_of[of_chunk] = np.arange(len(of_chunk), dtype=np.int32)

    def read(
        self,
        index: NDArray[np.int64],  # (B,)
    ) -> Tensor:  # (B, S, S, C) uint8 on the device
        """These images: where it is their chunk's turn, that is loaded."""
        chunk = self.chunk_of[index]
        if not len(chunk) or chunk[0] < max(self.current, 0) or (np.diff(chunk) < 0).any():
            return self._move(torch.from_numpy(take(self.pixels, index)))
        images = []
        for number in np.unique(chunk).tolist():  # two where a batch reaches into the next chunk
            if number != self.current:
                self._load(number)
            images.append(self._gather(index[chunk == number]))
        return images[0] if len(images) == 1 else torch.cat(images)

    def _load(self, number: int) -> None:
        """Fill the chunk, and have the system fetch the next one while this one is trained on."""
        rows, shape = self.rows[number], self.pixels.shape[1:]
        self.chunk = None
        if self.device.type == "cuda":
            # Another one each time, which torch keeps and reuses when its copy is done: the last chunk's may
            # still be under way.
            buffer = torch.empty(len(rows), *shape, dtype=torch.uint8, pin_memory=True)
        else:
            if self.buffer is None or len(self.buffer) < len(rows):
                self.buffer = torch.empty(max(map(len, self.rows)), *shape, dtype=torch.uint8)
            buffer = self.buffer[: len(rows)]
        take(self.pixels, rows, buffer.numpy())
        if number + 1 < len(self.rows):
            will_need(self.pixels, self.rows[number + 1])
        self.chunk, self.current = buffer.to(self.device, non_blocking=self.device.type == "cuda"), number

    def _gather(self, index: NDArray[np.int64]) -> Tensor:
        assert self.chunk is not None
        slots = self.slot_of[index]
        if self.device.type == "cpu":  # NumPy copies whole images: a tenth of index_select's time
            return torch.from_numpy(self.chunk.numpy()[slots])
        return self.chunk.index_select(0, self._move(torch.from_numpy(slots)))

    def _move(self, tensor: Tensor) -> Tensor:
        """To the device; pinned for a GPU, so that the copy does not wait for the last batch's end."""
        pinned = self.device.type == "cuda"
        return (tensor.pin_memory() if pinned else tensor).to(self.device, non_blocking=pinned)
