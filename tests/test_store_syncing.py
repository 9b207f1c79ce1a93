"""Forced to the disk side by side: each of them, however many, and an error is not lost in a thread."""

from __future__ import annotations

import errno
import os

import pytest

from labelscrub import store_syncing
from labelscrub.store import sync_files, sync_folders


@pytest.fixture
def synced(monkeypatch):
    seen = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: seen.append(os.fstat(descriptor).st_ino))
    return seen


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7])
def test_each_is_synced_once(tmp_path, synced, monkeypatch, count):
    monkeypatch.setattr(store_syncing, "_BATCH", 3)
    files = [tmp_path / f"{n}.png" for n in range(count)]
    folders = [tmp_path / str(n) for n in range(count)]
    for file, folder in zip(files, folders, strict=True):
        file.touch()
        folder.mkdir()
    sync_files(files)
    sync_folders(folders)
    assert sorted(synced) == sorted(path.stat().st_ino for path in [*files, *folders])


@pytest.mark.parametrize("count", [1, 5])
def test_an_error_is_raised(tmp_path, monkeypatch, count):
    def fsync(descriptor):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fsync)
    files = [tmp_path / f"{n}.png" for n in range(count)]
    for file in files:
        file.touch()
    with pytest.raises(OSError, match="Input/output"):
        sync_files(files)
