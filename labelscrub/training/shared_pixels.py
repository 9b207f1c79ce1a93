"""Images that several processes read: from the file that they are mapped from, never a copy each."""

from __future__ import annotations

import contextlib
import mmap
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labelscrub.errors import EnvironmentProblem

PIECE = 8 << 20  # bytes written at a time


@dataclass(frozen=True)
class SharedPixels:
    """Where a child finds the images, JSON-ready as its fields are."""

    descriptor: int
    """Of the open file."""
    offset: int
    """Bytes before the first image."""
    shape: tuple[int, ...]
    """(N, S, S, C)"""

    def open(self) -> NDArray[np.uint8]:
        """(N, S, S, C) mapped read-only."""
        with os.fdopen(os.dup(self.descriptor), "rb") as stream:
            return np.memmap(stream, np.uint8, "r", offset=self.offset, shape=self.shape)


@contextlib.contextmanager
def shared(
    pixels: NDArray[np.uint8],  # (N, S, S, C)
    folder: Path,  # with room for them
) -> Iterator[SharedPixels]:
    """The images' own file where they are mapped from one, else one without a name, which holds a copy."""
    found = _own_file(pixels)
    if found is None:
        descriptor, offset = _copied(pixels, folder), 0
    else:
        descriptor, offset = os.dup(found[0]), found[1]
    try:
        yield SharedPixels(descriptor, offset, pixels.shape)
    finally:
        os.close(descriptor)


def _own_file(
    pixels: NDArray[np.uint8],  # (N, S, S, C)
) -> tuple[int, int] | None:
    """Descriptor and offset of the file that all pixels are mapped from, be it renamed or deleted since.

    A map keeps a descriptor of its own but does not tell it: the system lists which file lies at the pixels'
    address, and which files are open. None where that does not lead to these very pixels.
    """
    base: object = pixels
    while isinstance(base, np.ndarray):
        base = base.base
    if not isinstance(base, mmap.mmap) or not memoryview(base).readonly or not pixels.flags.c_contiguous:
        return None  # what may be written to need not be as the file is
    with contextlib.suppress(OSError, ValueError, StopIteration):  # not found, or another file, too short
        address = pixels.ctypes.data
        start, skipped, name = next(
            (start, offset, name)
            for start, stop, offset, name in _maps()
            if start <= address and address + pixels.nbytes <= stop
        )
        descriptor = next(number for number, other in _open_files() if other == name)
        offset = skipped + address - start
        seen = SharedPixels(descriptor, offset, pixels.shape).open()
        if all(np.array_equal(seen[i], pixels[i]) for i in (0, len(pixels) // 2, -1)):
            return descriptor, offset
    return None


def _maps() -> Iterator[tuple[int, int, int, str]]:
    """Start and end address, offset in the file and name of each file mapped into this process."""
    for line in Path("/proc/self/maps").read_bytes().split(b"\n"):
        fields = line.split(maxsplit=5)
        if len(fields) == 6:
            start, stop = fields[0].split(b"-")
            yield int(start, 16), int(stop, 16), int(fields[2], 16), os.fsdecode(fields[5])


def _open_files() -> Iterator[tuple[int, str]]:
    """Number and name of each open file of this process."""
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # closed since, as the one that listed them will be
            yield int(entry.name), str(entry.readlink())


def _copied(
    pixels: NDArray[np.uint8],  # (N, S, S, C)
    folder: Path,
) -> int:
    """Descriptor of a file with nothing but these pixels, which is gone when the last process closes it."""
    step = max(1, PIECE // pixels[:1].nbytes)
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            for first in range(0, len(pixels), step):
                file.write(np.ascontiguousarray(pixels[first : first + step]).data)
            file.flush()
            return os.dup(file.fileno())
    except OSError as error:
        raise EnvironmentProblem(
            f"{folder}: no room for the images that several processes train on: {error.strerror}",
            "free some space, choose another --out, or set OMP_NUM_THREADS=1 to train in one process",
        ) from error
