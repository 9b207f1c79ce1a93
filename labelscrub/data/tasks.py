"""One image: read, hash, decode, all from the same bytes. Runs in a worker or in this process."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO

import numpy as np
from numpy.typing import NDArray

from labelscrub.data.decoding import Trait, Unreadable, square
from labelscrub.data.formats import is_misnamed

NO_STAT = (0, 0, 0, 0)
NO_HASH = bytes(32)
DECODED, KNOWN, FAILED = range(3)
# One image's outcome without its pixels and reason, as struct packs it and NumPy reads a batch of them
RECORD = struct.Struct("<BB4q32s")
RECORDS = np.dtype(
    [("state", "u1"), ("traits", "u1"), ("stat", "<i8", (4,)), ("sha256", "u1", (32,))], align=False
)


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
    known: bytes = b""
    """sha256 of the content whose pixels the caller has."""


@dataclass(frozen=True)
class Outcome:
    """What came of a task."""

    slot: int
    kind: str = ""
    """"" decoded or known, else the SkipKind."""
    reason: str = ""
    sha256: bytes = NO_HASH
    """NO_HASH where the bytes could not be read."""
    stat: tuple[int, int, int, int] = NO_STAT
    """Size, mtime_ns, ctime_ns, inode of the file when it was read."""
    traits: int = 0
    pixels: bytes = b""
    """size * size * channels bytes; empty where known or failed."""


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What came of n tasks, in their order."""

    slots: NDArray[np.int64]
    """(n,)"""
    records: NDArray[np.void]
    """(n,) RECORDS"""
    failures: list[tuple[str, str]]
    """Kind and reason of each failed one."""
    pixels: bytes
    """Of the decoded ones."""


def pack(outcomes: Sequence[Outcome]) -> tuple[bytes, list[tuple[str, str]], bytes]:
    """Records, failures and pixels of `Outcomes`."""
    records, failures = [], []
    for outcome in outcomes:
        state = FAILED if outcome.kind else DECODED if outcome.pixels else KNOWN
        records.append(RECORD.pack(state, outcome.traits, *outcome.stat, outcome.sha256))
        if outcome.kind:
            failures.append((outcome.kind, outcome.reason))
    return b"".join(records), failures, b"".join([outcome.pixels for outcome in outcomes])


def unpack(slots: Sequence[int], records: bytes, failures: list[tuple[str, str]], pixels: bytes) -> Outcomes:
    """What `pack` made of the outcomes for these slots."""
    return Outcomes(np.array(slots, np.int64), np.frombuffer(records, RECORDS), failures, pixels)


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
            fd = stream.fileno()
            before = stat_of(os.fstat(fd))
            # One byte more than there should be: a file that has grown is seen, and one call is enough
            data = os.read(fd, before[0] + 1)
            while len(data) < before[0] and (more := os.read(fd, before[0] + 1 - len(data))):
                data += more
            after = stat_of(os.fstat(fd))
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
    digest, status = NO_HASH, NO_STAT
    try:
        if task.data is None and not task.path:
            raise Unreadable("no image in this row", "missing")
        if task.data is None:
            data, status = read_file(task.path, job.max_bytes)
        else:
            data = task.data
            _check_length(len(data), job.max_bytes)
        digest = hashlib.sha256(data).digest()
        if task.known == digest:
            return Outcome(task.slot, sha256=digest, stat=status)
        pixels, name, traits = square(data, job.size, job.channels, job.max_pixels)
    except Unreadable as problem:
        return Outcome(task.slot, problem.kind, problem.reason, digest, status)
    if is_misnamed(task.path, name):
        traits |= Trait.MISNAMED
    return Outcome(task.slot, sha256=digest, stat=status, traits=traits, pixels=pixels)
