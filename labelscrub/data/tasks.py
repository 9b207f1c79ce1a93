"""One image: read, hash, decode, all from the same bytes. Runs in a worker or in this process."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO

from labelscrub.data.decoding import Trait, Unreadable, square
from labelscrub.data.formats import is_misnamed

NO_STAT = (0, 0, 0, 0)


@dataclass(frozen=True)
class Job:
    """What every image is decoded to, and the limits."""

    size: int
    channels: int
    max_pixels: int
    max_bytes: int


@dataclass(frozen=True)
class Task:
    """One image: a file, or bytes already at hand, or neither. Decoded unless its content is `known`."""

    slot: int
    path: str = ""
    data: bytes | None = None
    known: str = ""
    """Hex sha256 of the content whose pixels the caller has."""


@dataclass(frozen=True)
class Outcome:
    """What came of a task."""

    slot: int
    kind: str = ""
    """"" decoded or known, else the SkipKind."""
    reason: str = ""
    sha256: str = ""
    """Hex; "" where the bytes could not be read."""
    stat: tuple[int, int, int, int] = NO_STAT
    """Size, mtime_ns, ctime_ns, inode of the file when it was read."""
    traits: int = 0
    pixels: bytes = b""
    """size * size * channels bytes; empty where known or failed."""


def stat_of(status: os.stat_result) -> tuple[int, int, int, int]:
    """What changes when a file's content does."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


@contextmanager
def open_regular(path: str, max_bytes: int) -> Iterator[FileIO]:
    """A regular file of at most `max_bytes`, open for reading; raises Unreadable, also while it is in use."""
    try:
        _check(os.stat(path), max_bytes)  # noqa: PTH116  (a Path costs as much as the reading)
        # NONBLOCK: should a pipe have taken the file's place since, opening it must not wait for a writer
        with FileIO(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)) as stream:
            _check(os.fstat(stream.fileno()), max_bytes)
            yield stream
    except OSError as error:
        raise Unreadable(*_why(error)) from None
    except ValueError:
        raise Unreadable("not a file name this system can have", "missing") from None


def read_file(path: str, max_bytes: int) -> tuple[bytes, tuple[int, int, int, int]]:
    """A regular file's bytes and its stat, which held before and after reading; raises Unreadable."""
    for _ in range(2):
        with open_regular(path, max_bytes) as stream:
            before = stat_of(os.fstat(stream.fileno()))
            data = stream.readall()
            after = stat_of(os.fstat(stream.fileno()))
        if before == after and len(data) == after[0]:
            return data, after
    raise Unreadable("changed during the run")


def _check(status: os.stat_result, max_bytes: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise Unreadable("not a regular file", "skipped")
    _check_length(status.st_size, max_bytes)


def _check_length(length: int, max_bytes: int) -> None:
    if length > max_bytes:
        raise Unreadable(f"{-(-length // (1 << 20))} MB exceeds --max-file-mb")


def _why(error: OSError) -> tuple[str, str]:
    """Reason and SkipKind of a failed read."""
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return "no longer there", "missing"
    if error.errno == errno.ELOOP:
        return "symbolic link leads in a circle", "missing"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "permission denied", "unreadable"
    return f"read error ({os.strerror(error.errno).lower() if error.errno else error})", "unreadable"


def carry_out(task: Task, job: Job) -> Outcome:
    """Read, hash and decode one image, all from the same bytes."""
    digest, status = "", NO_STAT
    try:
        if task.data is None and not task.path:
            raise Unreadable("no image in this row", "missing")
        if task.data is None:
            data, status = read_file(task.path, job.max_bytes)
        else:
            data = task.data
            _check_length(len(data), job.max_bytes)
        digest = hashlib.sha256(data).hexdigest()
        if task.known == digest:
            return Outcome(task.slot, sha256=digest, stat=status)
        pixels, picture = square(data, job.size, job.channels, job.max_pixels)
    except Unreadable as problem:
        return Outcome(task.slot, problem.kind, problem.reason, digest, status)
    traits = picture.traits | (Trait.MISNAMED if is_misnamed(task.path, picture.format) else Trait.NONE)
    return Outcome(task.slot, sha256=digest, stat=status, traits=int(traits), pixels=pixels.tobytes())
