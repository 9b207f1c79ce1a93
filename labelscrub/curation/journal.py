"""The journal of `labelscrub review`: each decision is on the disk before anybody is told that it was made.

Several servers may share one: every append is one write of one whole line under the file's lock, and every
reading begins where the last one ended. The file is opened anew each time, so that a journal that somebody
moved away or put back is noticed, and no decision goes into a file without a name.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from labelscrub.curation.decisions import decision_line, parse_decisions
from labelscrub.errors import DataError, EnvironmentProblem
from labelscrub.review_records import Decision
from labelscrub.store import sync_folder

WAIT = 10.0  # seconds for another server's append, which takes milliseconds
_START = b'{"row": '  # of every line that `decision_line` writes
_NO_FLOCK = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS}
_FIXES = {
    errno.ENOSPC: "free some space there and decide again; earlier decisions are kept",
    errno.EDQUOT: "your quota there is used up: free some space and decide again; earlier ones are kept",
}
_MEND = "correct or delete that line in an editor, or move the file away to begin a new one"


class Journal:
    """The decisions in a file, in the order they were made, as far as they were read and as they come.

    Methods may be called by several threads.
    """

    def __init__(self, path: Path) -> None:
        """Use `Journal.open`."""
        self.path = path
        self.mended = ""
        """What was repaired in the file, a sentence; "" for nothing."""
        self._guard = threading.Lock()
        self._forget()

    @classmethod
    def open(cls, path: Path) -> Journal:
        """The journal at `path`, which comes to be with the first decision. A torn last line is repaired.

        Raises:
            DataError: a line that is no decision, by its number.
            EnvironmentProblem: the file or its folder can't be written to.
        """
        journal = cls(path)
        if os.path.lexists(path):
            with journal._locked() as descriptor:
                journal._catch_up(descriptor)
                journal._mend(descriptor)
        elif not os.access(path.parent, os.W_OK | os.X_OK):
            raise _cannot_write(path, OSError(errno.EACCES, "the folder is not writable"))
        return journal

    def append(self, decision: Decision) -> int:
        """Write a decision to the disk; returns how many entries the file has with it.

        Raises:
            EnvironmentProblem: it could not be written, as on a full disk; then none of it is in the file.
            DataError: somebody has damaged the file since.
        """
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = decision_line(decision, time=now).encode("ascii")
        with self._locked() as descriptor:
            self._catch_up(descriptor)
            self._mend(descriptor)
            _write_whole(descriptor, line)
            if self._read == 0:
                sync_folder(self.path.parent)
            self._catch_up(descriptor)
            return len(self._entries)

    def since(self, count: int) -> tuple[int, list[Decision]]:
        """How many entries the file has now, and those after the first `count`.

        All of them where it has fewer than `count`: then it is not the file it was.
        """
        with self._guard:
            try:
                descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
            except FileNotFoundError:
                self._forget()
                return 0, []
            except OSError as error:
                raise EnvironmentProblem(
                    f"cannot read {self.path}: {error.strerror}", "make it readable"
                ) from error
            try:
                self._catch_up(descriptor)
            finally:
                os.close(descriptor)
            return len(self._entries), self._entries[count if count <= len(self._entries) else 0 :]

    def _forget(self, file: tuple[int, int] = (0, 0)) -> None:
        self._entries: list[Decision] = []
        self._read = 0  # bytes of whole lines that `_entries` come from
        self._lines = 0
        self._file = file  # device and inode

    def _catch_up(self, descriptor: int) -> None:
        """Read the whole lines that are new; a last one without its end may still be under way."""
        status = os.fstat(descriptor)
        file = (status.st_dev, status.st_ino)
        if file != self._file or status.st_size < self._read:
            self._forget(file)
        try:
            self._take(_bytes_from(descriptor, self._read))
        except DataError:
            if not self._read:
                raise
            self._forget(file)  # edited in place, or damaged: from the start its line has the right number
            self._take(_bytes_from(descriptor, 0))

    def _take(self, data: bytes) -> None:
        whole = data[: data.rfind(b"\n") + 1]
        try:
            text = whole.decode()
        except UnicodeDecodeError as error:
            line = self._lines + whole.count(b"\n", 0, error.start) + 1
            raise DataError(f"{self.path}, line {line}: not UTF-8 text", _MEND) from None
        self._entries += parse_decisions(text, str(self.path))
        self._read += len(whole)
        self._lines += whole.count(b"\n")

    def _mend(self, descriptor: int) -> None:
        """End a last line that lacks only that; cut one off that was torn while we, or another, wrote it.

        Nobody was told that a torn entry was made. What can't be one is somebody's text, and stays.
        """
        tail = _bytes_from(descriptor, self._read)
        if not tail:
            return
        where = f"{self.path}, line {self._lines + 1}"
        if _is_whole(tail):
            os.write(descriptor, b"\n")
            self._catch_up(descriptor)
        elif tail.startswith(_START) or _START.startswith(tail) or not tail.strip(b"\0 \t\r"):
            os.ftruncate(descriptor, self._read)
            self.mended = f"{where}: an entry that a crash had left half-written was removed"
        else:
            raise DataError(f"{where}: not a decision", _MEND)
        os.fsync(descriptor)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        """A descriptor to append with while nobody else does; an OSError is an EnvironmentProblem."""
        with self._guard:
            try:
                deadline = time.monotonic() + WAIT
                while True:
                    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK
                    descriptor = os.open(self.path, flags, 0o666)
                    try:
                        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                            raise OSError(errno.EINVAL, "it is not a regular file")
                        _take_lock(descriptor, deadline)
                        if _is_at(self.path, descriptor):
                            yield descriptor
                            return
                    finally:
                        os.close(descriptor)
            except OSError as error:
                raise _cannot_write(self.path, error) from error


def _take_lock(descriptor: int, deadline: float) -> None:
    """The file's lock; without one where the file system has none, for an append is one write in any case."""
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise OSError(errno.EAGAIN, "another program keeps it locked") from None
            time.sleep(0.005)
        except OSError as error:
            if error.errno in _NO_FLOCK:
                return None
            raise


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether the open file still is the one at `path`: it may have been moved while we waited."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _write_whole(descriptor: int, line: bytes) -> None:
    """Append and force to the disk, or leave the file as it was."""
    before = os.fstat(descriptor).st_size
    try:
        while line:  # once, unless the disk gets full: the second write says so
            line = line[os.write(descriptor, line) :]
        os.fsync(descriptor)
    except BaseException:
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, before)
        raise


def _bytes_from(descriptor: int, start: int) -> bytes:
    parts = []
    while part := os.pread(descriptor, 1 << 20, start):
        parts.append(part)
        start += len(part)
    return b"".join(parts)


def _is_whole(tail: bytes) -> bool:
    try:
        return bool(parse_decisions(tail.decode() + "\n", ""))
    except (UnicodeDecodeError, DataError):
        return False


def _cannot_write(path: Path, error: OSError) -> EnvironmentProblem:
    fix = _FIXES.get(error.errno or 0, "make the file and its folder writable, with space left")
    return EnvironmentProblem(f"cannot write {path}: {error.strerror or error}", fix)
