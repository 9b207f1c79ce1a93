"""Many files or folders forced to the disk side by side: waiting for each in turn is what takes the time."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from labelscrub.store_files import sync_folder

_AT_ONCE = 16
_BATCH = 4096  # that wait in memory


def sync_files(files: Sequence[Path]) -> None:
    """All of them are on the disk when this returns; the first error is raised."""
    _side_by_side(_sync_file, files)


def sync_folders(folders: Sequence[Path]) -> None:
    """The names in all of them are on the disk when this returns; the first error is raised."""
    _side_by_side(sync_folder, folders)


def _side_by_side(sync: Callable[[Path], None], paths: Sequence[Path]) -> None:
    if len(paths) == 1:  # not worth a thread
        sync(paths[0])
        return
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for start in range(0, len(paths), _BATCH):
            for _ in pool.map(sync, paths[start : start + _BATCH]):
                pass


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
