"""From a manifest's path texts to files: what may be read, what exists, which rows mean the same file."""

from __future__ import annotations

import errno
import os
import re
import stat
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from labelscrub.config import SourceSettings
from labelscrub.data.filenames import IMAGE_EXTENSIONS, extension, is_ignored, unsupported_format
from labelscrub.data.labels import shorten
from labelscrub.data.lines import is_unicode, not_utf8
from labelscrub.data.pace import EVERY
from labelscrub.data.rows import Rows
from labelscrub.errors import DataError, UsageError
from labelscrub.records import SkipKind, Skipped

_UNUSUAL = re.compile(r"[\\~:\0]|^/|\.\.|(?:^|/)\.(?:/|$)|//|^\s*$")
"""Cheap first look: texts without any of this are plain relative paths."""
_OUTSIDE = re.compile(r"^[/\\]|^[A-Za-z]:[/\\]|^~[^/\\]*[/\\]|(?:^|[/\\])\.\.(?:[/\\]|$)")
"""Absolute (also on Windows), a home directory, or with a step up."""


class Problem(NamedTuple):
    """Why a row has no file."""

    kind: SkipKind
    reason: str


class Found(NamedTuple):
    """A regular file: its path relative to the root (or absolute), and a number that its inode hashes to."""

    file: str
    inode: int


class Locator:
    """Looks up one row at a time below `root`; remembers what the look-ups have in common."""

    def __init__(self, root: Path, settings: SourceSettings) -> None:
        self._root = os.fspath(root)
        self._allow_outside = settings.allow_outside
        self._stems: dict[str, dict[str, list[str]]] = {}
        self.probed = 0
        """Rows found by adding an extension."""
        self.backslashes = 0
        """Rows found by reading backslashes as slashes."""

    def find(self, text: str, prefix: str, where: str) -> Found | Problem:
        """The file that a path means, or why there is none.

        prefix: folder of the row's table, relative to the root, with '/'; where: the row, for messages.
        """
        if _UNUSUAL.search(text):
            if not text.strip():
                return Problem("skipped", "no path")
            text = self._checked(text, where)
        file = text if text.startswith("/") else prefix + text
        found = self._stat(file)
        if isinstance(found, Problem) and "\\" in file:
            slashed = file.replace("\\", "/")
            if not isinstance(again := self._stat(slashed), Problem):
                self.backslashes += 1
                file, found = slashed, again
        absent = isinstance(found, Problem) or stat.S_ISDIR(found.st_mode)
        if absent and extension(file) not in IMAGE_EXTENSIONS:
            names = self._with_extension(file)
            if len(names) > 1:
                return Problem("skipped", "more than one file with this id")
            if names:
                self.probed += 1
                file = file[: file.rfind("/") + 1] + names[0]
                found = self._stat(file)
        if isinstance(found, Problem):
            return found
        if not stat.S_ISREG(found.st_mode):
            is_folder = stat.S_ISDIR(found.st_mode)
            return Problem("skipped", "a folder, not a file" if is_folder else "not a regular file")
        if unsupported := unsupported_format(extension(file)):
            return Problem("unreadable", unsupported)
        return Found(file, hash((found.st_dev, found.st_ino)))

    def _checked(self, text: str, where: str) -> str:
        """The path without detours, or an error where it may not be read."""
        if "\0" in text:
            raise DataError(f"{where}: a NUL character in the path", "write the manifest anew without NUL")
        if "://" in text:
            raise UsageError(
                f"{where}: {shorten(text)}: remote paths are not supported", "download the images first"
            )
        if _OUTSIDE.search(text):
            if not self._allow_outside:
                raise DataError(
                    f"{where}: {shorten(text)} is absolute or leaves the image root",
                    "set --image-root to the folder that holds all images and write paths relative to it, "
                    "or allow it with --allow-outside",
                )
            text = os.path.expanduser(text)  # noqa: PTH111  (Path would lose what makes two texts differ)
        # a step up is not shortened: behind a symbolic link it leads elsewhere than the text says
        return text if ".." in text else os.path.normpath(text)

    def _stat(self, file: str) -> os.stat_result | Problem:
        try:
            return os.stat(file if file.startswith("/") else f"{self._root}/{file}")  # noqa: PTH116  (a Path a row is slow)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EPERM):
                return Problem("unreadable", "permission denied")
            if error.errno == errno.ELOOP:
                return Problem("missing", "a link that leads to itself")
            if error.errno == errno.ENAMETOOLONG:
                return Problem("missing", "the path is too long")
            return Problem("missing", "no such file")
        except ValueError:  # a lone surrogate that stands for no byte
            return Problem("missing", "no such file")

    def _with_extension(self, file: str) -> list[str]:
        """Image files whose name without extension is the last part of `file`."""
        folder, _, name = file.rpartition("/")
        folder = "/" if file.startswith("/") and not folder else folder
        if folder not in self._stems:
            self._stems[folder] = self._index(folder)
        return self._stems[folder].get(name, [])

    def _index(self, folder: str) -> dict[str, list[str]]:
        """Name without extension -> image files of a folder; one scan instead of fifteen look-ups a row."""
        stems: dict[str, list[str]] = {}
        try:
            with os.scandir(folder if folder.startswith("/") else f"{self._root}/{folder}") as entries:
                for entry in entries:
                    suffix = extension(entry.name)
                    if suffix in IMAGE_EXTENSIONS and not is_ignored(entry.name):
                        stems.setdefault(entry.name[: -len(suffix)], []).append(entry.name)
        except (OSError, ValueError):
            return {}
        for names in stems.values():
            names.sort(key=os.fsencode)
        return stems


def locate(
    rows: Rows, labels: NDArray[np.int32], classes: Sequence[str], root: Path, settings: SourceSettings
) -> tuple[list[str], list[Skipped], list[str]]:
    """Per row the file below `root` ("" where embedded or skipped), the rows that can't be used, and notes.

    labels: (R,) class index, -1 for none.
    """
    locator = Locator(root, settings)
    embedded = rows.is_embedded()
    files: list[str] = []
    skipped: list[Skipped] = []
    inodes, inode_rows = array("q"), array("q")
    for table, end in enumerate(rows.ends):
        prefix, name = rows.prefixes[table], str(rows.tables[table])
        for row in range(len(files), end):
            text, file = rows.paths[row], ""
            if labels[row] < 0:
                skipped.append(Skipped(row, text, "skipped", "no label"))
            elif not embedded[row]:
                found = locator.find(text, prefix, f"{name}, row {row}")
                if isinstance(found, Problem):
                    if not is_unicode(text):  # bytes are a name only where a file has it
                        raise not_utf8(f"{name}, row {row}", name)
                    skipped.append(Skipped(row, text, found.kind, found.reason))
                else:
                    file = found.file
                    inodes.append(found.inode)
                    inode_rows.append(row)
            files.append(file)
            if row % EVERY == 0:
                rows.pace.tick(row, len(rows))
    repeated = _same_files(files, root, inodes, inode_rows)
    for row, first in repeated.items():
        other = "" if labels[row] == labels[first] else f", which says {shorten(classes[labels[first]])}"
        skipped.append(
            Skipped(row, rows.paths[row], "skipped", f"same file as row {first}{other}", same_as=first)
        )
        files[row] = ""
    skipped.sort(key=lambda item: item.row)
    notes = []
    if locator.probed:
        notes.append(f"images found by adding the extension that the manifest leaves out: {locator.probed:,}")
    if locator.backslashes:
        notes.append(f"paths read with backslashes as folder separators: {locator.backslashes:,}")
    return files, skipped, notes


def _same_files(
    files: Sequence[str], root: Path, inodes: array[int], inode_rows: array[int]
) -> dict[int, int]:
    """Row -> first row that lists the same file under any spelling or link; hard links are other files.

    Rows that share an inode are few, so only these have their real paths compared.
    """
    _, group, counts = np.unique(np.array(inodes, np.int64), return_inverse=True, return_counts=True)
    first_rows: dict[str, int] = {}
    folders: dict[str, str] = {}
    repeated: dict[int, int] = {}
    for index in np.flatnonzero(counts[group] > 1):
        row = inode_rows[index]
        path = f"{root}/{files[row]}" if not files[row].startswith("/") else files[row]
        folder, _, name = path.rpartition("/")
        if folder not in folders:
            folders[folder] = os.path.realpath(folder or "/")
        real = f"{folders[folder]}/{name}"
        real = os.path.realpath(real) if os.path.islink(real) else real  # noqa: PTH114  (as above)
        first = first_rows.setdefault(real, row)
        if first != row:
            repeated[row] = first
    return repeated
