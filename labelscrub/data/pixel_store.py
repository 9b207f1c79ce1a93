"""Decoded pixels on disk: one .npy of uint8 and one index, both hashed, both replaced whole or not at all.

A store is trusted only where the index's own hash and the pixels' hash hold; all else is decoded again.
The pixels are not hashed while their file's stat is what the index noted when the file was put in its
place: any later write to it shows, decay of the disk does not.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labelscrub.data.tasks import stat_of
from labelscrub.errors import EnvironmentProblem

HEADER = 128  # bytes of a .npy header for any shape we write
BLOCK = 1 << 23
TEMPORARY = ".tmp"
# A Writer's file, and no other: the folder may be the user's own. Not an index's: no lock says who writes it.
LEFTOVER = re.compile(r"images-[0-9a-f]{16}\.\d+\.[0-9a-f]{8}\.tmp")


@dataclass(frozen=True, eq=False)
class Stored:
    """What became of each of M images (decoded or not), and the N decoded ones' pixels."""

    keys: list[str]
    """(M,) which image, such as its path."""
    stat: NDArray[np.int64]
    """(M, 4) size, mtime_ns, ctime_ns, inode when it was read."""
    sha256: NDArray[np.uint8]
    """(M, 32) of the image's bytes; zeros where they could not be read."""
    traits: NDArray[np.uint8]
    """(M,) bits of decoding.Trait."""
    settled: NDArray[np.bool_]
    """(M,) whether an unchanged stat proves that this still holds."""
    failure: NDArray[np.int32]
    """(M,) index into `failures`, -1 where decoded."""
    failures: list[tuple[str, str]]
    """Kind and reason."""
    pixels: NDArray[np.uint8]
    """(N, S, S, C) memory-mapped, read-only, in the order of `keys`."""

    def positions(self) -> NDArray[np.int64]:
        """(M,) index into `pixels`, -1 where not decoded."""
        decoded = self.failure < 0
        return np.where(decoded, np.cumsum(decoded) - 1, -1)


def load(folder: Path, name: str) -> tuple[Stored | None, bool]:
    """The store of that name and whether one is there but damaged; (None, False) where there is none."""
    try:
        raw = (folder / f"{name}.index").read_bytes()
    except FileNotFoundError:
        return None, False
    except OSError:
        return None, True
    try:
        if hashlib.sha256(raw[:-32]).digest() != raw[-32:]:
            return None, True
        with np.load(BytesIO(raw[:-32]), allow_pickle=False) as index:
            about = json.loads(index["about"].tobytes())
            arrays = {key: index[key] for key in ("stat", "sha256", "traits", "settled", "failure")}
        failures = [(kind, reason) for kind, reason in about["failures"]]
        with (folder / about["pixels"]).open("rb") as stream:
            touched = list(stat_of(os.fstat(stream.fileno()))) != about["stat"]
            if touched and hashlib.file_digest(stream, "sha256").hexdigest() != about["sha256"]:
                return None, True
            pixels = _map(stream.fileno(), tuple(about["shape"]))
        return Stored(keys=about["keys"], failures=failures, pixels=pixels, **arrays), False
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None, True


def save(folder: Path, name: str, writer: Writer, stored: Stored, shape: tuple[int, int, int]) -> Stored:
    """Put the written pixels and the index in the store's place; `stored.pixels` is not looked at."""
    with _disk(folder):
        pixels, digest = writer.finish(stored.failure < 0, shape)
        # Named by content: an index never meets the pixels of another, whatever is interrupted in between.
        file = f"{name}-{digest[:16]}.npy"
        writer.path.replace(folder / file)
        stat = stat_of((folder / file).stat())  # no sooner: to be renamed changes it
        about = {
            "pixels": file,
            # A clock of whole seconds does not tell what came right after
            "stat": stat if stat[2] % 1_000_000_000 else None,
            "sha256": digest,
            "shape": pixels.shape,
            "keys": stored.keys,
            "failures": stored.failures,
        }
        buffer = BytesIO()
        np.savez(
            buffer,
            about=np.frombuffer(json.dumps(about).encode(), np.uint8),
            stat=stored.stat,
            sha256=stored.sha256,
            traits=stored.traits,
            settled=stored.settled,
            failure=stored.failure,
        )
        raw = buffer.getvalue()
        temporary = folder / f"{name}.index.{os.getpid()}{TEMPORARY}"
        try:
            with temporary.open("wb") as stream:
                stream.write(raw + hashlib.sha256(raw).digest())
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(folder / f"{name}.index")
        finally:
            temporary.unlink(missing_ok=True)
        _sync(folder)
        for other in folder.glob(f"{name}-*.npy"):
            if other.name != file:
                other.unlink(missing_ok=True)
    return replace(stored, pixels=pixels)


class Writer:
    """A pixel file under way: a slot for each image, in any order; use as a context manager.

    Written with pwrite, never through a memory map: on a full disk a map ends the process with SIGBUS.
    """

    def __init__(self, folder: Path, name: str, count: int, image_bytes: int) -> None:
        self.folder, self.image_bytes = folder, image_bytes
        self.path = folder / f"{name}.{os.getpid()}.{os.urandom(4).hex()}{TEMPORARY}"
        with _disk(folder):
            folder.mkdir(parents=True, exist_ok=True)
            _remove_leftovers(folder)
            self.fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            with contextlib.suppress(OSError):  # a file system without locks: leftovers stay there
                fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.clock = os.fstat(self.fd).st_ctime_ns
            """Now, by the clock that stamps files."""
            with _disk(folder):
                _reserve(self.fd, HEADER + count * image_bytes)
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)
        self.path.unlink(missing_ok=True)  # renamed by then if all went well

    def write(self, slot: int, pixels: bytes | memoryview) -> None:
        """One image's pixels, or those of several in a row from `slot` on."""
        with _disk(self.folder):
            _write_at(self.fd, pixels, HEADER + slot * self.image_bytes)

    def finish(
        self, decoded: NDArray[np.bool_], shape: tuple[int, int, int]
    ) -> tuple[NDArray[np.uint8], str]:
        """Close the gaps of what was not decoded; returns the (N, S, S, C) map and the file's hex sha256."""
        count, size = 0, self.image_bytes
        step = max(1, BLOCK // size)
        for start, stop in _runs(decoded):
            for first in range(start, stop, step):
                if count == start:  # no gap so far
                    break
                block = os.pread(self.fd, (min(first + step, stop) - first) * size, HEADER + first * size)
                _write_at(self.fd, block, HEADER + (count + first - start) * size)
            count += stop - start
        header = BytesIO()
        np.lib.format.write_array_header_1_0(
            header, {"descr": "|u1", "fortran_order": False, "shape": (count, *shape)}
        )
        assert len(header.getvalue()) == HEADER
        _write_at(self.fd, header.getvalue(), 0)
        os.ftruncate(self.fd, HEADER + count * size)
        os.fsync(self.fd)
        with os.fdopen(os.dup(self.fd), "rb") as stream:
            stream.seek(0)
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return _map(self.fd, (count, *shape)), digest


def _map(fd: int, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    if 0 in shape:
        empty = np.empty(shape, np.uint8)
        empty.flags.writeable = False
        return empty
    with os.fdopen(os.dup(fd), "rb") as stream:
        return np.memmap(stream, np.uint8, "r", offset=HEADER, shape=shape)


def _runs(chosen: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Start and stop of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], chosen, [False]]).astype(np.int8)))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def _write_at(fd: int, data: bytes | memoryview, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written


def _reserve(fd: int, length: int) -> None:
    """Take the disk space now, so that a full disk is known before the work, where the file system can."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(fd, 0, length)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENODEV, errno.ENOSYS):
                raise


def _remove_leftovers(folder: Path) -> None:
    """Delete what killed runs left; a file that a living run writes is locked."""
    for path in folder.glob(f"images-*{TEMPORARY}"):
        if not LEFTOVER.fullmatch(path.name):
            continue
        with contextlib.suppress(OSError), path.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def _disk(folder: Path) -> Iterator[None]:
    """What the disk refuses, as a problem that names the place."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        cause = "no space left" if full else (error.strerror or str(error)).lower()
        raise EnvironmentProblem(
            f"{folder}: decoded images can't be stored here: {cause}",
            "free some space or choose another place with --cache-dir"
            if full
            else "choose a place with --cache-dir",
        ) from None
