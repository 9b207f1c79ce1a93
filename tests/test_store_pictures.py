"""labelscrub.store_pictures: many small files beside the report page."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from labelscrub.errors import EnvironmentProblem
from labelscrub.store import RunDirectory
from labelscrub.store_pictures import PICTURES, remove_pictures, write_pictures


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_each_row_gets_its_file(tmp_path):
    assert write_pictures(tmp_path, iter([(7, b"seven"), (12, b"twelve")])) == [7, 12]
    assert names(tmp_path / PICTURES) == ["12.webp", "7.webp"]
    assert (tmp_path / PICTURES / "12.webp").read_bytes() == b"twelve"
    assert write_pictures(tmp_path, [(7, b"anew")]) == [7]
    assert (tmp_path / PICTURES / "7.webp").read_bytes() == b"anew"


def test_without_pictures_there_is_no_folder(tmp_path):
    assert write_pictures(tmp_path, []) == []
    assert names(tmp_path) == []
    remove_pictures(tmp_path)


def test_restart_removes_pictures_and_nothing_else(tmp_path):
    with RunDirectory.open(tmp_path / "run") as run:
        run.begin({"seed": 1})
        assert run.put_pictures([(1, b"one"), (2, b"two")]) == [1, 2]
        assert run.outputs() == {}
    folder = tmp_path / "run" / PICTURES
    (folder / ".labelscrub-picture.tmp").write_bytes(b"half a pict")
    (folder / "mine.webp").write_bytes(b"mine")
    (folder / "3.png").write_bytes(b"mine")
    (folder / "4.webp").mkdir()
    with RunDirectory.open(tmp_path / "run", restart=True) as run:
        run.begin({"seed": 2})
    assert names(folder) == ["3.png", "4.webp", "mine.webp"]
    for path in folder.iterdir():
        path.rmdir() if path.is_dir() else path.unlink()
    remove_pictures(tmp_path / "run")
    assert PICTURES not in names(tmp_path / "run")


def test_a_link_is_never_followed(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "1.webp").write_bytes(b"mine")
    run = tmp_path / "run"
    run.mkdir()
    for act in (remove_pictures, lambda path: write_pictures(path, [(1, b"ours")])):
        (run / PICTURES).symlink_to(tmp_path / "mine")
        act(run)
        assert not (run / PICTURES).is_symlink()
        assert (tmp_path / "mine" / "1.webp").read_bytes() == b"mine"
    assert (run / PICTURES / "1.webp").read_bytes() == b"ours"


def test_a_failed_write_leaves_no_half_picture(tmp_path, monkeypatch):
    write_pictures(tmp_path, [(1, b"one")])

    def full(self, data):
        with self.open("wb") as file:
            file.write(data[:1])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(tmp_path), "write_bytes", full)
    with pytest.raises(EnvironmentProblem, match="No space left on device"):
        write_pictures(tmp_path, [(1, b"two")])
    monkeypatch.undo()
    assert (tmp_path / PICTURES / "1.webp").read_bytes() == b"one"


def test_pictures_are_on_the_disk_before_the_page(tmp_path, monkeypatch):
    synced = []
    real = os.fsync

    def fsync(descriptor):
        synced.append(os.fspath(Path(f"/proc/self/fd/{descriptor}").readlink()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    write_pictures(tmp_path, [(1, b"one"), (2, b"two")])
    folder = os.fspath(tmp_path / PICTURES)
    assert sorted(synced[:2]) == [f"{folder}/1.webp", f"{folder}/2.webp"]
    assert synced[2:] == [folder, os.fspath(tmp_path)]
