"""One run at a time in a folder: a kernel lock, or where there is none a file that only one can create."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import platform
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from labelscrub.errors import EnvironmentProblem

LOCK = "lock"
HELD = "lock.held"  # only where `flock` does not work
WAIT = 0.5  # seconds: time for an interrupted run to be gone, well below the 2 s a second run may hang

_NO_FLOCK = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS}
_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}

_held: set[int] = set()  # descriptors of the locks this process holds
_watching_forks = False


@contextlib.contextmanager
def locked(folder: Path, *, read_only: bool = False) -> Iterator[None]:
    """Keep every other labelscrub out of `folder` during the block; EnvironmentProblem if one is in there.

    The kernel frees the lock however this process ends, kill included; what the file says is for people only.
    With `read_only` a folder that can't be written to is taken as it is: no run can be under way in it.
    """
    with contextlib.ExitStack() as stack:
        try:
            _acquire(folder, read_only, stack)
        except OSError as error:
            cause = f"cannot lock {folder / LOCK}: {error.strerror}"
            fix = "make the folder writable, with space left" + _or_another(read_only)
            raise EnvironmentProblem(cause, fix) from error
        yield


def _acquire(folder: Path, read_only: bool, stack: contextlib.ExitStack) -> None:
    path = folder / LOCK
    descriptor = _open(path, read_only)
    if descriptor is None:
        return
    stack.enter_context(_closing(descriptor))
    try:
        taken = _take(descriptor)
    except OSError as error:
        if error.errno not in _NO_FLOCK:
            raise
        stack.enter_context(_exclusive_file(folder, read_only))
        return
    if not taken:
        raise _busy(folder, _read(path), "wait for it to end" + _or_another(read_only))
    with contextlib.suppress(OSError):  # only for people to read
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, _signature(), 0)


def _open(path: Path, read_only: bool) -> int | None:
    """The lock file's descriptor; None where a read-only folder is fine and has none."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        if not read_only or error.errno not in _READ_ONLY:
            raise
    try:
        return os.open(path, os.O_RDONLY)
    except (FileNotFoundError, PermissionError):
        return None


@contextlib.contextmanager
def _closing(descriptor: int) -> Iterator[None]:
    """Close at the end; in forked children at once, so that a worker outliving its parent holds no lock."""
    global _watching_forks
    if not _watching_forks:
        os.register_at_fork(after_in_child=_close_in_child)
        _watching_forks = True
    _held.add(descriptor)
    try:
        yield
    finally:
        if descriptor in _held:
            _held.remove(descriptor)
            os.close(descriptor)


def _close_in_child() -> None:
    while _held:
        os.close(_held.pop())


def _take(descriptor: int) -> bool:
    deadline = time.monotonic() + WAIT
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.05)


@contextlib.contextmanager
def _exclusive_file(folder: Path, read_only: bool) -> Iterator[None]:
    """The lock of file systems without `flock` (some NFS and FUSE mounts); notices a file left by a kill."""
    path, mine = folder / HELD, _signature()
    if _is_stale(path):
        path.unlink(missing_ok=True)
    try:
        with path.open("xb") as file:
            file.write(mine)
    except FileExistsError:
        fix = f"wait for it to end; if none is running, delete {path}"
        raise _busy(folder, _read(path), fix) from None
    time.sleep(
        0.05
    )  # another one that saw the same stale file may have removed ours: the last to write has it
    if _read(path) != mine:
        raise _busy(folder, _read(path), "wait for it to end" + _or_another(read_only))
    try:
        yield
    finally:
        if _read(path) == mine:
            path.unlink(missing_ok=True)


def _or_another(read_only: bool) -> str:
    """The way out that a command has which writes; one that reads a run has no --out."""
    return "" if read_only else ", or choose another --out"


def _is_stale(path: Path) -> bool:
    """Whether the process that wrote a HELD file ran on this machine and is gone."""
    words = _read(path).split()
    if len(words) != 4 or not words[1].isdigit() or words[2] != _host():
        return False
    try:
        os.kill(int(words[1]), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    return False


def _signature() -> bytes:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return b"labelscrub %d %s %s\n" % (os.getpid(), _host(), now.encode())


def _host() -> bytes:
    return "".join(platform.node().split()).encode(errors="replace") or b"-"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()[:1000]
    except OSError:
        return b""


def _busy(folder: Path, signature: bytes, fix: str) -> EnvironmentProblem:
    words = signature.decode(errors="replace").split()
    who = ""
    if len(words) == 4:
        where = "" if words[2].encode(errors="replace") == _host() else f" on {words[2]}"
        who = f" (PID {words[1]}{where}, since {words[3]})"
    return EnvironmentProblem(f"another labelscrub{who} is working in {folder}", fix)
