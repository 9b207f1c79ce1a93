"""The demo's data: the same every time, and never over anything of the user's."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from labelscrub.errors import UsageError
from labelscrub.evaluation.demo import Found, write_digits


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


def test_precision_and_recall():
    found = Found(planted=10, suspects=8, found=6)
    assert (found.precision, found.recall) == (0.75, 0.6)
    assert (Found(0, 0, 0).precision, Found(0, 0, 0).recall) == (0, 0)
