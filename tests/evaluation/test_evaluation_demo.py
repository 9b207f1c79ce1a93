"""The demo's data: the same every time, and never over anything of the user's."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from labelscrub.errors import UsageError
from labelscrub.evaluation.demo import count_found, write_digits
from labelscrub.evaluation.metrics import Detected


def test_digits_and_their_planted_errors_are_the_same_every_time(tmp_path):
    data = write_digits(tmp_path / "demo")
    lines = data.manifest.read_text().splitlines()
    assert len(lines) == 1 + 1797
    cells = np.array([line.split(",") for line in lines[1:]])
    np.testing.assert_array_equal(cells[:, 1] != cells[:, 2], data.wrong)
    assert data.wrong.sum() == 180
    with Image.open(tmp_path / "demo" / cells[5, 0]) as image:
        assert (image.size, image.mode) == ((8, 8), "L")
    before = data.manifest.read_bytes()
    (tmp_path / "demo" / cells[5, 0]).unlink()
    assert write_digits(tmp_path / "demo").manifest.read_bytes() == before
    assert (tmp_path / "demo" / cells[5, 0]).exists()


@pytest.mark.parametrize("name", ["labels.csv", "notes.txt"])
def test_a_folder_with_anything_else_in_it_is_left_alone(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(UsageError, match="not an empty folder"):
        write_digits(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "demo").write_text("mine")
    with pytest.raises(UsageError):
        write_digits(tmp_path / "demo")


def test_suspects_are_counted_by_manifest_row():
    # three images, of rows 0, 2 and 3; the errors are in rows 1 (not used), 2 and 3
    report = SimpleNamespace(
        rows=np.array([0, 2, 3]), findings=SimpleNamespace(is_suspect=np.array([True, True, False]))
    )
    wrong = np.array([False, True, True, True])
    assert count_found(report, wrong) == Detected(planted=3, suspects=2, found=1, images=4)
