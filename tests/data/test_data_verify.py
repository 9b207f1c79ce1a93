"""verify_images: the digests and failures of load_images, without its store."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pictures import picture

from labelscrub.config import SourceSettings
from labelscrub.data import image_shape, load_images, read_source
from labelscrub.data.verify import verify_images
from labelscrub.records import Event

SETTINGS = SourceSettings()


def cells(folder):
    """Fifty images, every seventh cut off, one twice."""
    names = []
    for index in range(50):
        name = f"{index:02d}.png"
        picture("left", index % 49).save(folder / name)
        if index % 7 == 3:
            (folder / name).write_bytes((folder / name).read_bytes()[:60])
        names.append(name)
    return names


@pytest.fixture(params=["csv", "embedded"])
def manifest(request, tmp_path):
    names = cells(tmp_path)
    labels = [str(index % 2) for index in range(50)]
    if request.param == "csv":
        rows = [f"{name},{label}" for name, label in zip(names, labels, strict=True)]
        (tmp_path / "l.csv").write_text("\n".join(["path,label", *rows, "gone.png,0"]) + "\n")
        return read_source(tmp_path / "l.csv", SETTINGS)
    images = [{"bytes": (tmp_path / name).read_bytes(), "path": name} for name in names]
    pq.write_table(pa.table({"image": images, "label": labels}), tmp_path / "l.parquet", row_group_size=9)
    return read_source(tmp_path / "l.parquet", SETTINGS)


@pytest.mark.parametrize("workers", [0, 2])
def test_it_says_what_load_images_says(manifest, tmp_path, workers):
    seen: list[Event] = []
    found = verify_images(manifest, SETTINGS, workers=workers, progress=seen.append)
    shape = image_shape(manifest, SETTINGS, None)
    images = load_images(manifest, shape, SETTINGS, cache_dir=tmp_path / "cache", workers=0)
    assert found.rows.tolist() == images.rows.tolist()
    assert (found.sha256 == images.sha256).all() and found.sha256.dtype == np.uint8
    assert found.skipped == images.skipped and len(found.skipped) == 7
    file = tmp_path / manifest.paths[int(found.rows[5])]
    assert bytes(found.sha256[5]) == hashlib.sha256(file.read_bytes()).digest()
    assert seen and {event.stage for event in seen} == {"decode"}


def test_nothing_to_verify(tmp_path):
    (tmp_path / "l.csv").write_text("path,label\ngone.png,0\n")
    found = verify_images(read_source(tmp_path / "l.csv", SETTINGS), SETTINGS, workers=2)
    assert (len(found.rows), found.sha256.shape, found.skipped) == (0, (0, 32), ())
