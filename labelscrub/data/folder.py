"""Image folder: a class a first-level folder, whatever lies below it. A million files cost their names."""

from __future__ import annotations

import errno
import os
import stat
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from labelscrub.config import SourceSettings
from labelscrub.data.filenames import (
    IMAGE_EXTENSIONS,
    extension,
    is_ignored,
    not_an_image,
    unsupported_format,
)
from labelscrub.data.labels import read_classes, reject_ids, similar_names, visible
from labelscrub.data.pace import EVERY, Pace
from labelscrub.errors import DataError, EnvironmentProblem
from labelscrub.records import Manifest, SkipKind, Skipped

_SHOWN = 5
_NO_CLASS = "not in a class folder"


@dataclass(frozen=True)
class Listing:
    """What one folder holds, by name in byte order."""

    files: list[str]
    """Regular files, links to them, and whatever else is a row; see `problems`."""
    folders: list[str]
    links: frozenset[str]
    """Those of `folders` that are symbolic links."""
    problems: dict[str, tuple[SkipKind, str]]
    """Those of `files` that must not be opened, and why."""
    ignored: int
    """Hidden and system files."""


@dataclass
class _Scan:
    """What the walk has gathered."""

    pace: Pace
    roots: Sequence[str]
    """Real paths of the parts to be read."""
    paths: list[str] = field(default_factory=list)
    runs: list[tuple[str | None, int]] = field(default_factory=list)
    """(class, number of rows) of each folder read, in row order; None for files outside a class folder."""
    images: Counter[str] = field(default_factory=Counter)
    """Class -> files with an image's extension."""
    skipped: list[Skipped] = field(default_factory=list)
    ignored: int = 0
    seen: set[tuple[int, int]] = field(default_factory=set)
    """Device and inode of the folders read."""
    unfollowed: list[str] = field(default_factory=list)
    """Links to folders that are read anyway."""
    look_alikes: list[str] = field(default_factory=list)
    """Files beside one whose name is the same text in another Unicode form."""
    subfolders: Counter[str] = field(default_factory=Counter)
    """Class -> folders directly in it."""


def list_folder(path: str, pace: Pace | None = None, before: int = 0) -> Listing:
    """Read one folder without opening anything in it. `before`: files scanned already, for the pace."""
    files: list[str] = []
    folders: list[str] = []
    links: list[str] = []
    problems: dict[str, tuple[SkipKind, str]] = {}
    ignored = 0
    with os.scandir(path) as entries:
        for entry in entries:
            name = entry.name
            if is_ignored(name):
                ignored += 1
            elif entry.is_file(follow_symlinks=False):
                files.append(name)
                if pace and len(files) % EVERY == 0:
                    pace.tick(before + len(files))
            elif entry.is_dir(follow_symlinks=False):
                folders.append(name)
            elif (behind := _behind(entry)) == "folder":
                folders.append(name)
                links.append(name)
            else:
                files.append(name)
                if behind != "file":
                    problems[name] = ("missing" if entry.is_symlink() else "skipped"), behind
    # by bytes, so that neither locale nor hash seed has a say
    files.sort(key=os.fsencode)
    folders.sort(key=os.fsencode)
    return Listing(files, folders, frozenset(links), problems, ignored)


def read_folder(source: Path, parts: Sequence[str], settings: SourceSettings, pace: Pace) -> Manifest:
    """The rows of an image folder.

    parts: the folders, relative to the source and with '/', whose sub-folders are the classes: ("",), or with
    splits ("train/", "val/").
    """
    scan = _Scan(pace, [os.path.realpath(source / part) for part in parts])
    for part in parts:
        _walk(source, part, scan)
    pace.finish(len(scan.paths))
    empty = sorted(name for name, count in scan.images.items() if not count)
    scan.images = +scan.images
    if not scan.images:
        raise _no_classes(source, scan)
    if len(scan.images) == 1 and scan.subfolders[only := next(iter(scan.images))] > 1:
        raise DataError(
            f"{source}: only one class folder, {visible(only)}; need at least 2 classes",
            f"if the classes are the folders in it, use {source / parts[0] / only} as the source",
        )
    classes = tuple(sorted(scan.images))
    listed = read_classes(settings)
    if listed is None:
        reject_ids(len(classes), sum(scan.images.values()), has_columns=False)
    else:
        if missing := [name for name in classes if name not in listed]:
            raise DataError(
                f"{source}: class folder {visible(missing[0])} is not in {settings.classes}",
                "add it to the class list or take the folder out",
            )
        classes = listed
    place = {name: index for index, name in enumerate(classes)}
    indices = [-1 if name is None else place.get(name, -1) for name, _ in scan.runs]
    labels = np.repeat(np.array(indices, np.int32), [count for _, count in scan.runs])
    files = scan.paths
    if scan.skipped:
        files = list(files)
        for item in scan.skipped:
            files[item.row] = ""
    return Manifest(
        source=source,
        kind="folder",
        root=source,
        classes=classes,
        paths=scan.paths,
        files=files,
        labels=labels,
        skipped=tuple(scan.skipped),
        notes=(*_notes(scan, empty), *similar_names(classes)),
    )


def _walk(source: Path, part: str, scan: _Scan) -> None:
    """Add every file below source/part; depth first, without recursion, so that no nesting is too deep."""
    todo: list[tuple[str, str | None, bool]] = [
        (part, None, False)
    ]  # folder with '/', its class, is it a link
    while todo:
        prefix, label, is_link = todo.pop()
        folder = f"{os.fspath(source)}/{prefix}"
        try:
            here = os.stat(folder)  # noqa: PTH116  (a Path a folder is slow)
            if is_link and ((here.st_dev, here.st_ino) in scan.seen or _is_read_anyway(folder, scan.roots)):
                scan.unfollowed.append(prefix[:-1])
                continue
            scan.seen.add((here.st_dev, here.st_ino))
            listing = list_folder(folder, scan.pace, len(scan.paths))
        except OSError as error:
            if prefix == part:
                raise EnvironmentProblem(f"{folder}: {_reason(error)}", "make the folder readable") from error
            scan.skipped.append(
                Skipped(len(scan.paths), prefix[:-1], "unreadable", f"folder: {_reason(error)}")
            )
            scan.paths.append(prefix[:-1])
            scan.runs.append((label, 1))
            continue
        _add_files(listing, prefix, label, scan)
        if label is not None and prefix == f"{part}{label}/":
            scan.subfolders[label] += len(listing.folders)
        for name in reversed(listing.folders):
            todo.append((f"{prefix}{name}/", name if label is None else label, name in listing.links))


def _add_files(listing: Listing, prefix: str, label: str | None, scan: _Scan) -> None:
    """A row for each file of one folder."""
    images = 0
    for name in listing.files:
        path = prefix + name
        suffix = extension(name)
        problem: tuple[SkipKind, str] | None = listing.problems.get(name)
        if suffix in IMAGE_EXTENSIONS:
            images += 1
            if label is None and problem is None:
                problem = "skipped", _NO_CLASS
        elif problem is None:
            unsupported = unsupported_format(suffix)
            problem = ("unreadable", unsupported) if unsupported else ("skipped", not_an_image(suffix))
            images += bool(unsupported)
        if problem is not None:
            scan.skipped.append(Skipped(len(scan.paths), path, *problem))
        scan.paths.append(path)
    scan.runs.append((label, len(listing.files)))
    scan.ignored += listing.ignored
    if label is not None:
        scan.images[label] += images
    scan.look_alikes += [prefix + name for name in _other_unicode_form(listing.files)]
    scan.pace.tick(len(scan.paths))


def _other_unicode_form(names: Sequence[str]) -> list[str]:
    """Names that are decomposed and have their composed twin beside them."""
    decomposed = [n for n in names if not n.isascii() and not unicodedata.is_normalized("NFC", n)]
    if not decomposed:
        return []
    present = set(names)
    return [name for name in decomposed if unicodedata.normalize("NFC", name) in present]


def _behind(entry: os.DirEntry[str]) -> str:
    """What a link, pipe or the like leads to: "file", "folder", or why there is nothing to read."""
    try:
        mode = entry.stat().st_mode
    except OSError as error:
        return "broken link" if error.errno == errno.ENOENT else _reason(error)
    return "file" if stat.S_ISREG(mode) else "folder" if stat.S_ISDIR(mode) else "not a regular file"


def _is_read_anyway(link: str, roots: Sequence[str]) -> bool:
    """Whether a link leads to a folder that the walk meets by itself, or back above one of its roots."""
    real = os.path.realpath(link)
    for root in roots:
        if root == real or root.startswith(real.rstrip("/") + "/"):
            return True
        inside = real.startswith(root.rstrip("/") + "/")
        if inside and not any(is_ignored(part) for part in real[len(root) :].split("/") if part):
            return True
    return False


def _reason(error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.EPERM):
        return "permission denied"
    if error.errno == errno.ELOOP:
        return "a link that leads to itself"
    return (error.strerror or type(error).__name__).lower()


def _no_classes(source: Path, scan: _Scan) -> DataError:
    """Why no class folder was found, and what to do about it."""
    loose = sum(item.reason == _NO_CLASS for item in scan.skipped)
    if not loose:
        listed = f"none among {len(scan.paths):,} files" if scan.paths else "no files"
        return DataError(
            f"{source}: no images found ({listed})",
            "give a folder with a sub-folder of images for each class",
        )
    tables = [path for path in scan.paths if extension(path) in (".csv", ".tsv", ".jsonl", ".parquet")]
    table = f", such as {source / tables[0]}" if tables else ""
    return DataError(
        f"{source} holds images, but no class folders",
        f"put the images into one folder a class, or give a CSV with paths and labels as the source{table}",
    )


def _notes(scan: _Scan, empty: Sequence[str]) -> list[str]:
    notes = []
    if scan.ignored:
        notes.append(f"hidden or system files ignored: {scan.ignored:,}")
    if empty:
        notes.append(f"class folders without images: {_some(empty)}")
    if scan.unfollowed:
        notes.append(f"links to folders that are read anyway, not followed: {_some(scan.unfollowed)}")
    if scan.look_alikes:
        notes.append(
            f"files whose names differ only in their Unicode form, kept as two: {_some(scan.look_alikes)}"
        )
    return notes


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(map(visible, names[:_SHOWN])) + more
