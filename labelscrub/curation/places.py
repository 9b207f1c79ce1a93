"""Where the files of decided rows go: which of them may be moved at all, and to which free name."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from labelscrub.curation.plan import RowChanges
from labelscrub.errors import DataError, UsageError
from labelscrub.records import Manifest

Place = Literal["data", "quarantine"]
_LONGEST_NAME = 255  # bytes, on nearly every file system


@dataclass(frozen=True)
class Step:
    """One file that is to be moved."""

    row: int
    source: str
    """Relative to the data set's root."""
    target: str
    """Relative to the root of `place`."""
    place: Place
    renamed: bool
    """Whether the name it would have there was taken."""


class _Tree:
    """The data set's folder as it is now, below which files are moved; looks at each folder once."""

    def __init__(self, root: Path) -> None:  # its real path
        self.root = root
        self._behind_link: dict[str, bool] = {"": False}

    def obstacle(self, file: str) -> str:
        """Why a file of a row can't be moved; "" if it can."""
        if file.startswith("/") or ".." in file.split("/"):
            return "it is outside the image root"
        if self.behind_link(file.rpartition("/")[0]):
            return "it is behind a link to a folder"
        try:
            mode = (self.root / file).lstat().st_mode
        except OSError as error:
            return f"{(error.strerror or 'gone').lower()}"
        if stat.S_ISLNK(mode):
            return "it is a link, not a file of its own"
        return "" if stat.S_ISREG(mode) else "it is not a regular file"

    def behind_link(self, folder: str) -> bool:
        """Whether a folder below the root is, or is in, a symbolic link."""
        if folder not in self._behind_link:
            parent = folder.rpartition("/")[0]
            self._behind_link[folder] = self.behind_link(parent) or (self.root / folder).is_symlink()
        return self._behind_link[folder]

    def real(self, file: str) -> str:
        """The real path that a row's file means."""
        return os.path.realpath(self.root / file)


def plan_moves(
    manifest: Manifest,
    choice: RowChanges,
    keep: NDArray[np.bool_],  # (R,) rows that stay in the data set
    quarantine: Path,
    class_depth: int | None,
) -> tuple[list[Step], list[tuple[str, str]]]:
    """Each decided file's new place; and the (path, reason) of each that stays, such as a link.

    class_depth: how many folders are above the class folders; then relabelled files go to their class's.
    None: they go to the quarantine like removed ones.
    """
    tree = _Tree(real_root(manifest))
    needed = _needed_by_links(manifest, keep, choice, tree)
    taken: dict[Place, set[str]] = {"data": set(), "quarantine": set()}
    roots: dict[Place, Path] = {"data": tree.root, "quarantine": quarantine}
    steps, left = [], []
    for row in sorted([*choice.remove, *choice.relabel]):
        file = manifest.files[row]
        reason = tree.obstacle(file)
        if not reason and str(tree.root / file) in needed:
            reason = "another row that stays means this file"
        place: Place = "quarantine"
        target = file
        if class_depth is not None and row in choice.relabel:
            place, target = "data", relabelled_path(manifest, row, choice.relabel[row], class_depth)
            if not reason and tree.behind_link(target.rpartition("/")[0]):
                reason = f"the folder of class '{manifest.classes[choice.relabel[row]]}' is a link"
        if not reason and below_a_file(roots[place] / target):
            reason = f"a file is where its new folder {roots[place] / target.rpartition('/')[0]} would be"
        if reason:
            left.append((manifest.paths[row], reason))
            continue
        free = free_name(target, taken[place], roots[place])
        taken[place].add(free)
        steps.append(Step(row, file, free, place, free != target))
    return steps, left


def real_root(manifest: Manifest) -> Path:
    """The real path of the folder that the manifest's files are relative to."""
    return Path(os.path.realpath(manifest.root))


def relabelled_path(manifest: Manifest, row: int, label: int, class_depth: int) -> str:
    """Where a file of an image folder belongs with another label: same split, same path below the class."""
    name = manifest.classes[label]
    if "/" in name or name.startswith(".") or "\0" in name:
        cause = f"class '{name}' can't be a folder of the data set"
        raise DataError(cause, "rename the class, or write a manifest: --action manifest")
    parts = manifest.files[row].split("/")
    given = manifest.classes[manifest.labels[row]]
    if len(parts) < class_depth + 2 or parts[class_depth] != given:
        raise DataError(
            f"{manifest.paths[row]} is not in the folder of its class '{given}'", "run detect again"
        )
    return "/".join([*parts[:class_depth], name, *parts[class_depth + 1 :]])


def free_name(path: str, taken: set[str], root: Path) -> str:
    """The path itself, or with " (2)", " (3)" ... before its extension where a file has that name."""
    folder, _, name = path.rpartition("/")
    stem, suffix = os.path.splitext(name)  # noqa: PTH122  (no Path: it would lose what makes two texts differ)
    number, candidate = 1, path
    while candidate in taken or os.path.lexists(root / candidate):
        number += 1
        ending = f" ({number}){suffix}"
        while stem and len(os.fsencode(stem + ending)) > _LONGEST_NAME:
            stem = stem[:-1]
        candidate = f"{folder}/{stem}{ending}" if folder else stem + ending
    return candidate


def below_a_file(path: Path) -> bool:
    """Whether what is, of the folders above a path, ends in something that is no folder."""
    while not os.path.lexists(path := path.parent):
        pass
    return not path.is_dir()


def quarantine_folder(manifest: Manifest, to: Path | None) -> Path:
    """The real path of the folder that files are moved to: `to`, or beside the data set.

    Raises:
        UsageError: it is inside an image folder, where the next scan would see it, or it is a file.
    """
    place = beside(manifest, "quarantine") if to is None else Path(os.path.realpath(to))
    require_outside(manifest, place, "quarantine")
    if os.path.lexists(place) and not place.is_dir():
        raise UsageError(f"{place} is not a folder", "choose another one with --to")
    if place.is_symlink():  # the default one; moved files go through no link that nobody named
        raise UsageError(f"{place} is a link to another folder", "name that folder with --to")
    if place == real_root(manifest):
        cause = f"{place} is where the images are, so they would only get other names there"
        raise UsageError(cause, "choose another folder with --to")
    if not place.parent.is_dir():
        raise UsageError(f"there is no folder {place.parent} to put {place.name} into", "create it first")
    return place


def beside(manifest: Manifest, what: str) -> Path:
    """`<source>-<what>` beside the source, in its real place."""
    source = Path(os.path.realpath(manifest.source))
    return source.with_name(f"{source.name if source.is_dir() else source.stem}-{what}")


def require_outside(manifest: Manifest, place: Path, what: str) -> None:
    """UsageError where `place` is in the scanned folder: the next scan would see what is in it."""
    source = Path(os.path.realpath(manifest.source))
    if source.is_dir() and (place == source or source in place.parents):
        raise UsageError(f"the {what} {place} is inside the data set {source}", "choose another --to")


def require_one_device(root: Path, steps: list[Step], quarantine: Path) -> None:
    """UsageError where a file would have to be moved to another file system."""
    if not any(step.place == "quarantine" for step in steps):
        return
    there = quarantine if quarantine.exists() else quarantine.parent
    device = there.stat().st_dev
    for folder in {step.source.rpartition("/")[0] for step in steps if step.place == "quarantine"}:
        if (root / folder).stat().st_dev != device:
            cause = (
                f"{quarantine} is on another file system than {root / folder}, so files can't be moved there"
            )
            raise UsageError(cause, "choose a --to on the same file system, or --action copy")


def require_files(manifest: Manifest, used: NDArray[np.bool_], action: str) -> None:
    """UsageError where images of used (R,) rows are no files that could be moved or copied."""
    if all(manifest.files[row] for row in np.flatnonzero(used).tolist()):
        return
    what = "its images are inside the Parquet file" if manifest.image_column else "it has labels alone"
    raise UsageError(f"--action {action} needs image files, but {what}", "use --action manifest")


def _needed_by_links(
    manifest: Manifest, keep: NDArray[np.bool_], choice: RowChanges, tree: _Tree
) -> frozenset[str]:
    """Real paths of files that rows which stay where they are reach through symbolic links."""
    leaving = choice.leaving(len(manifest))
    return frozenset(tree.real(file) for file in _links(manifest, np.flatnonzero(keep & ~leaving), tree))


def _links(manifest: Manifest, rows: NDArray[np.int64], tree: _Tree) -> Iterator[str]:
    for row in rows.tolist():
        file = manifest.files[row]
        if file and tree.obstacle(file):
            yield file
