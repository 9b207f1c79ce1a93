"""A clean copy of the data set: kept files under their right labels, there whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labelscrub.curation.clean import clean_suffix, is_listing
from labelscrub.curation.places import beside, free_name, relabelled_path, require_outside
from labelscrub.curation.plan import RowChanges
from labelscrub.errors import DataError, EnvironmentProblem, UsageError
from labelscrub.records import Event, Manifest, Progress, silent
from labelscrub.store import cannot_write, sync_files, sync_folder, sync_folders

_BLOCK = 1 << 20
_EVERY = 256  # files a report of progress
_NO_LINKS = {errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


@dataclass(frozen=True)
class Copied:
    """A file of the clean tree."""

    row: int
    source: str
    """Relative to the data set's root."""
    target: str
    """Relative to the copy's root."""
    renamed: bool = False
    """Whether the name it would have there was taken."""


def copy_target(manifest: Manifest, to: Path | None) -> Path:
    """Where the copy goes: `to`, or `<source>-clean` beside the source; UsageError where that can't be."""
    target = beside(manifest, "clean") if to is None else Path(os.path.realpath(to.parent)) / to.name
    if os.path.lexists(target):
        fix = "choose another name with --to, or move it away"
        raise UsageError(f"{target} exists already; it is never overwritten", fix)
    if not target.parent.is_dir():
        raise UsageError(f"there is no folder {target.parent} to put {target.name} into", "create it first")
    require_outside(manifest, target, "copy")
    return target


def plan_copy(
    manifest: Manifest,
    choice: RowChanges,
    keep: NDArray[np.bool_],  # (R,)
    class_depth: int | None,
) -> list[Copied]:
    """Each kept file and its place in the copy; of an image folder the relabelled ones in their new class.

    class_depth: how many folders are above the class folders; None where a table has the labels.
    """
    nowhere = Path(os.devnull)  # nothing is in the copy yet, so only planned names are taken
    rows = [row for row in np.flatnonzero(keep).tolist() if manifest.files[row]]
    moved = choice.relabel if class_depth is not None else {}
    for row in rows:
        file = manifest.files[row]
        if file.startswith("/") or ".." in file.split("/"):
            cause = f"{manifest.paths[row]} is outside the image root, so it has no place in a copy"
            raise UsageError(cause, "set --image-root to a folder that holds all images when you run detect")
    files = [Copied(row, manifest.files[row], manifest.files[row]) for row in rows if row not in moved]
    taken = {file.target for file in files}
    for row in rows:
        if row in moved:
            assert class_depth is not None
            wanted = relabelled_path(manifest, row, moved[row], class_depth)
            target = free_name(wanted, taken, nowhere)
            taken.add(target)
            files.append(Copied(row, manifest.files[row], target, target != wanted))
    return files


def manifest_name(manifest: Manifest) -> str:
    """Where in the copy the cleaned manifest belongs: under the name of the source's own."""
    if is_listing(manifest) or len(manifest.tables) > 1:
        return f"labels.{clean_suffix(manifest)}"
    table = manifest.tables[0]
    with contextlib.suppress(ValueError):
        if manifest.source.is_dir():
            return table.relative_to(manifest.source).as_posix()
    return table.name


def write_tree(
    manifest: Manifest,
    files: Sequence[Copied],
    target: Path,
    sha256: Mapping[int, str],
    *,
    link: bool = False,
    finish: Callable[[Path], Iterable[Path]] = lambda folder: (),
    progress: Progress = silent,
) -> bool:
    """Build the copy beside `target`, then rename it; gives whether any file had to be copied, not linked.

    Args:
        sha256: row -> hex digest that a copied file must have.
        link: hard links instead of copies, where the file system allows it.
        finish: writes what else belongs into the folder; gives the files of it that it did not sync.
    Raises:
        DataError: a file is not what the run saw.
        EnvironmentProblem: disk, permission; nothing is left of the copy.
    """
    root = Path(os.path.realpath(manifest.root))
    copied: list[Path] = []
    try:
        with _building(target) as folder:
            modes: dict[Path, int] = {folder: stat.S_IMODE(root.stat().st_mode) | stat.S_IRWXU}
            for number, file in enumerate(files, 1):
                source, place = root / file.source, folder / file.target
                _make_folders(place.parent, source.parent, modes)
                if not (link and _link(source, place)):
                    copied.append(place)
                    _copy(source, place, sha256.get(file.row, ""), manifest.paths[file.row])
                if number % _EVERY == 0:
                    progress(Event("copy", number, len(files), "files"))
            written = [*copied, *finish(folder)]
            sync_files(written)  # after all are written: the disk has had time for most of them
            sync_folders([Path(made) for made, _, _ in os.walk(folder)])  # also those of `finish`
            for made, mode in reversed(modes.items()):
                made.chmod(mode)
            if os.path.lexists(target):
                raise UsageError(f"{target} exists by now; it is never overwritten", "choose another --to")
            folder.rename(target)
            sync_folder(target.parent)
    except OSError as error:
        raise cannot_write(target, error) from error
    progress(Event("copy", len(files), len(files), "files"))
    return bool(copied)


@contextlib.contextmanager
def _building(target: Path) -> Iterator[Path]:
    """A folder of our own beside `target`, without what a killed copy left; gone where the block fails."""
    name = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]
    folder = target.with_name(f".labelscrub-{name}.tmp")
    with contextlib.suppress(FileExistsError):
        folder.mkdir(0o700)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fix = "wait for it to end, or choose another --to"
            raise EnvironmentProblem(f"another labelscrub is writing {target}", fix) from None
        except OSError:  # no locks on this file system: then nobody else's can be seen
            pass
        for entry in folder.iterdir():  # a killed copy's
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        try:
            yield folder
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    finally:
        os.close(descriptor)


def _make_folders(folder: Path, like: Path, modes: dict[Path, int]) -> None:
    """The folders above a file, to get the modes of those it comes from once all is in them."""
    if folder not in modes:
        _make_folders(folder.parent, like.parent, modes)
        folder.mkdir(0o700)
        modes[folder] = stat.S_IMODE(like.stat().st_mode) | stat.S_IRWXU


def _link(source: Path, place: Path) -> bool:
    """A hard link to the file itself, also where the row is a symbolic link; False where it can't be."""
    try:
        os.link(os.path.realpath(source), place)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return False
    return True


def _copy(source: Path, place: Path, sha256: str, path: str) -> None:
    """The file's bytes, mode and times; DataError where the bytes aren't those that the run saw."""
    digest = hashlib.sha256()
    with source.open("rb") as original, place.open("xb") as file:
        while block := original.read(_BLOCK):
            digest.update(block)
            file.write(block)
    if sha256 and digest.hexdigest() != sha256:
        raise DataError(f"{path} changed while it was copied", "run detect again, then prune")
    shutil.copystat(source, place)
