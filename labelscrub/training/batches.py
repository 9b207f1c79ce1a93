"""Uint8 images to normalised, augmented batches on the training device. No DataLoader, no worker process."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from labelscrub.training.chunks import ChunkReader, draw_order, in_chunks, release, take

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # torchvision's published weights were trained with these
IMAGENET_STD = (0.229, 0.224, 0.225)
STATISTICS_SAMPLE = 10_000  # images that mean and deviation are computed from: 28 px grey is 8 million pixels
CHUNK = 256  # images read at a time


@dataclass(frozen=True, eq=False)
class Batches:
    """The images, on the device where they fill at most half of its free memory, else read batch by batch.

    Of a store too large for that (`chunks.IN_CHUNKS_ABOVE`), chunk by chunk.
    """

    pixels: NDArray[np.uint8]
    """(N, S, S, C), usually memory-mapped."""
    resident: Tensor | None
    """(N, S, S, C) uint8 on the device, or None. The CPU reads the map itself: the system caches it."""
    reader: ChunkReader | None
    """What reads a store in chunks; None where it is resident or small."""
    device: torch.device
    scale: Tensor
    """(C, 1, 1) on the device: image = pixels * scale + shift."""
    shift: Tensor

    @classmethod
    def on(
        cls,
        device: torch.device,
        pixels: NDArray[np.uint8],  # (N, S, S, C)
        train: NDArray[np.int64],  # (n,) images that mean and deviation are taken from
        *,
        imagenet: bool,
    ) -> Batches:
        """Normalised by the training images' own mean and deviation, or by ImageNet's for its weights."""
        if imagenet:
            mean, std = np.array(IMAGENET_MEAN), np.array(IMAGENET_STD)
        else:
            mean, std = channel_statistics(pixels, train)
        scale, shift = 1 / (255 * std), -mean / std
        resident = _resident(pixels, device)
        return cls(
            pixels=pixels,
            resident=resident,
            reader=_reader(pixels, device, resident),
            device=device,
            scale=torch.tensor(scale, dtype=torch.float32, device=device).reshape(-1, 1, 1),
            shift=torch.tensor(shift, dtype=torch.float32, device=device).reshape(-1, 1, 1),
        )

    def of(
        self,
        pixels: NDArray[np.uint8],  # (M, S, S, C)
    ) -> Batches:
        """Batches of other images, normalised as these are."""
        resident = _resident(pixels, self.device)
        return replace(self, pixels=pixels, resident=resident, reader=_reader(pixels, self.device, resident))

    def order(
        self,
        index: Tensor,  # (n,) int64 on the CPU: images to train on
        generator: torch.Generator,  # on the CPU
    ) -> Tensor:  # (n,) int64 positions 0..n-1
        """An epoch's random order of `index`; of a large store such that `read` can go chunk by chunk."""
        if not in_chunks(self.pixels):
            return torch.randperm(len(index), generator=generator)
        parts = draw_order(len(index), self.pixels[:1].nbytes, generator)
        if self.reader is not None:
            self.reader.expect([index[part].numpy() for part in parts])
        return torch.cat(parts)

    def read(
        self,
        index: Tensor,  # (B,) int64; on the device where the images are resident, else on the CPU
        moves: Tensor | None = None,  # (3, B) of `draw_moves`, on the device
    ) -> Tensor:  # (B, C, S, S) float32, channels_last
        """One batch, augmented where there are moves."""
        if self.resident is not None:
            images = self.resident.index_select(0, index)
        elif self.reader is not None:
            images = self.reader.read(index.numpy())
        else:
            images = torch.from_numpy(np.asarray(self.pixels[index.numpy()]))
            pinned = self.device.type == "cuda"  # so that the copy does not wait for the last batch's end
            images = (images.pin_memory() if pinned else images).to(self.device, non_blocking=pinned)
        if moves is not None:
            images = shift_and_flip(images, moves)
        return images.permute(0, 3, 1, 2).float() * self.scale + self.shift

    def place(self, index: Tensor) -> Tensor:
        """Indices where `read` wants them: moved once an epoch, not once a batch."""
        return index if self.resident is None else index.to(self.device)


def channel_statistics(
    pixels: NDArray[np.uint8],  # (N, S, S, C)
    index: NDArray[np.int64],  # (n,)
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:  # (C,), (C,) of values in 0..1
    """Mean and deviation of each channel, from an even sample; a blank channel deviates by one level."""
    sample = index[:: -(-len(index) // STATISTICS_SAMPLE)]
    channels = pixels.shape[3]
    histogram = np.zeros((channels, 256), np.int64)
    for start in range(0, len(sample), CHUNK):
        chunk = take(pixels, sample[start : start + CHUNK])
        for c in range(channels):
            histogram[c] += np.bincount(chunk[..., c].ravel(), minlength=256)
    levels = np.arange(256) / 255
    share = histogram / histogram.sum(axis=1, keepdims=True)
    mean = share @ levels
    variance = share @ levels**2 - mean**2
    return mean, np.sqrt(variance.clip(min=0)).clip(min=1 / 255)


def draw_moves(
    number: int,
    side: int,
    generator: torch.Generator,  # on the CPU: the same draws on every device
) -> Tensor:  # (3, number) int64: rows down, columns right, flipped or not
    """Random crops of images padded by an eighth of their side (2 to 4 px), and horizontal flips."""
    reach = min(4, max(2, side // 8))
    shifts = torch.randint(-reach, reach + 1, (2, number), generator=generator)
    flips = torch.randint(0, 2, (1, number), generator=generator)
    return torch.cat([shifts, flips])


def shift_and_flip(
    images: Tensor,  # (B, S, S, C)
    moves: Tensor,  # (3, B)
) -> Tensor:  # (B, S, S, C)
    """Each image flipped or not, then moved by its shift, mirrored at the border: one gather a batch."""
    side = images.shape[1]
    line = torch.arange(side, device=images.device)
    rows = _mirror(line + moves[0, :, None], side)  # (B, S)
    columns = _mirror(line + moves[1, :, None], side)
    columns = torch.where(moves[2, :, None] == 1, side - 1 - columns, columns)
    first = torch.arange(len(images), device=images.device)[:, None, None]
    return images[first, rows[:, :, None], columns[:, None, :]]


def _mirror(position: Tensor, side: int) -> Tensor:
    """Positions outside 0..side-1, by less than a side, reflected at the border pixel."""
    return side - 1 - (side - 1 - position.abs()).abs()


def _resident(pixels: NDArray[np.uint8], device: torch.device) -> Tensor | None:
    """All images on an accelerator, copied in pieces; None where they would fill over half of its memory."""
    if device.type == "cpu" or pixels.nbytes > free_memory(device) // 2:
        return None
    resident = torch.empty(pixels.shape, dtype=torch.uint8, device=device)
    for start in range(0, len(pixels), CHUNK * 16):
        piece = np.array(pixels[start : start + CHUNK * 16])
        resident[start : start + len(piece)] = torch.from_numpy(piece)
        release(pixels, start, start + len(piece))
    return resident


def _reader(
    pixels: NDArray[np.uint8],  # (N, S, S, C)
    device: torch.device,
    resident: Tensor | None,
) -> ChunkReader | None:
    return ChunkReader(pixels, device) if resident is None and in_chunks(pixels) else None


def free_memory(device: torch.device) -> int:
    """Bytes that a tensor could take on an accelerator."""
    if device.type == "cuda":
        # What torch keeps for reuse counts as taken for the driver: after the first fold, nearly all of it.
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
