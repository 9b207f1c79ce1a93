"""Images found again in another process: by their file, or by a copy that leaves nothing behind."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from training_cases import images

from labelscrub.errors import EnvironmentProblem
from labelscrub.training.shared_pixels import SharedPixels, shared

PROC = pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="looks for files in /proc")


def mapped(path: Path, number: int = 90) -> np.ndarray:
    """As data.pixel_store maps it: by a descriptor that is closed again, after a header."""
    pixels, _ = images(number)
    path.write_bytes(bytes(128) + pixels.tobytes())
    with os.fdopen(os.open(path, os.O_RDONLY), "rb") as stream:
        return np.memmap(stream, np.uint8, "r", offset=128, shape=pixels.shape)


def inode(found: SharedPixels) -> int:
    return os.fstat(found.descriptor).st_ino


@PROC
@pytest.mark.parametrize("name", ["pixels.npy", "with a space", "d\udce4rk \\ ( deleted)"])
@pytest.mark.parametrize("change", ["", "renamed", "deleted"])
def test_a_map_is_shared_by_its_own_file(tmp_path: Path, name: str, change: str) -> None:
    pixels, number = mapped(tmp_path / name), (tmp_path / name).stat().st_ino
    if change == "renamed":
        (tmp_path / name).rename(tmp_path / "other")
    if change == "deleted":
        (tmp_path / name).unlink()
    with shared(pixels, tmp_path / "nowhere") as found:
        assert inode(found) == number and found.offset == 128
        np.testing.assert_array_equal(found.open(), pixels)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(found.descriptor)


@PROC
def test_part_of_a_map_is_found_in_the_midst_of_the_file(tmp_path: Path) -> None:
    """Over a page in, as the system maps whole pages."""
    pixels, number = mapped(tmp_path / "p", 900)[700:], (tmp_path / "p").stat().st_ino
    with shared(pixels, tmp_path / "nowhere") as found:
        assert inode(found) == number and found.offset == 128 + 700 * 64
        np.testing.assert_array_equal(found.open(), pixels)


@pytest.mark.parametrize("kind", ["array", "every other", "written to", "chosen"])
def test_all_else_is_copied_to_a_file_without_a_name(tmp_path: Path, kind: str) -> None:
    pixels = mapped(tmp_path / "p")
    if kind == "array":
        pixels = images()[0]
    elif kind == "every other":
        pixels = pixels[::2]
    elif kind == "written to":
        pixels = np.memmap(tmp_path / "p", np.uint8, "c", offset=128, shape=pixels.shape)
        pixels[5] += 1
    else:
        pixels = pixels[[3, 1, 2]]
    with shared(pixels, tmp_path) as found:
        assert inode(found) != (tmp_path / "p").stat().st_ino and found.offset == 0
        np.testing.assert_array_equal(found.open(), pixels)
        assert [path.name for path in tmp_path.iterdir()] == ["p"]


@PROC
@pytest.mark.parametrize("length", [0, 1])
def test_a_file_that_took_the_place_of_another_is_not_taken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    pixels = mapped(tmp_path / "p")
    other = tmp_path / "other"
    other.write_bytes(bytes(length * (tmp_path / "p").stat().st_size))
    with other.open("rb") as stream:
        monkeypatch.setattr(
            "labelscrub.training.shared_pixels._open_files",
            lambda: iter([(stream.fileno(), str(tmp_path / "p"))]),
        )
        with shared(pixels, tmp_path) as found:
            np.testing.assert_array_equal(found.open(), pixels)


def test_no_room_for_a_copy_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(dir: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with (
        pytest.raises(EnvironmentProblem, match=r"No space left[\s\S]*OMP_NUM_THREADS=1"),
        shared(images()[0], tmp_path),
    ):
        pass
