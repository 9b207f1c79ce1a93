"""Files that are there whole or not at all: written beside their place, forced to the disk, then renamed."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from labelscrub.errors import EnvironmentProblem, UsageError

TEMPORARY = ".labelscrub-*.tmp"

_NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EBADF}  # folders that can't be opened or synced
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
_FIXES = {
    errno.ENOSPC: "free some space there and run the same command again: it goes on where it stopped",
    errno.EDQUOT: "your quota there is used up: free some space and run the same command again",
    errno.EMFILE: "raise the limit of open files (ulimit -n) and run the same command again",
}


def sha256_file(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomic(path: Path, data: bytes) -> None:
    """Replace `path` by `data`: afterwards, also after a power cut, it has the old bytes or the new ones."""
    with writing(path) as file:
        file.write(data)


def write_new(path: Path, data: bytes) -> None:
    """As `write_atomic`, but a UsageError where `path` exists."""
    with writing(path, overwrite=False) as file:
        file.write(data)


@contextlib.contextmanager
def writing(path: Path, *, overwrite: bool = True) -> Iterator[BinaryIO]:
    """A binary file (readable too) that becomes `path` when the block ends well; else nothing is left of it.

    An OSError in the block becomes an EnvironmentProblem that names `path`.
    """
    if not overwrite and os.path.lexists(path):
        raise _exists(path)
    temporary = path.with_name(TEMPORARY.replace("*", secrets.token_hex(8)))
    try:
        require_folder(path)
        with temporary.open("x+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            temporary.replace(path)
        else:
            _rename_new(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _rename_new(temporary: Path, path: Path) -> None:
    """Rename without overwriting: a hard link does that in one step, where the file system has them."""
    try:
        try:
            path.hardlink_to(temporary)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            path.open("xb").close()  # the name is ours from here on
            temporary.replace(path)
    except FileExistsError:
        raise _exists(path) from None


def sync_folder(folder: Path) -> None:
    """A rename lasts through a power cut only once its folder is on the disk."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


def _exists(path: Path) -> UsageError:
    return UsageError(
        f"{path} exists already; it is never overwritten", "choose another name, or move it away"
    )


def require_folder(path: Path) -> None:
    """EnvironmentProblem where the folder that `path` is to be in does not exist."""
    if not path.parent.is_dir():
        cause = f"cannot write {path}: there is no folder {path.parent}"
        raise EnvironmentProblem(cause, "create it, or name another one")


def cannot_write(path: Path, error: OSError) -> EnvironmentProblem:
    fix = _FIXES.get(error.errno or 0, "make the folder writable, or choose another place")
    return EnvironmentProblem(f"cannot write {path}: {error.strerror or error}", fix)
