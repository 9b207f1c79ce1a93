"""Pictures for the review: the image that the run saw, upright and without metadata, or none."""

from __future__ import annotations

import hashlib
import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from labelscrub.config import SourceSettings
from labelscrub.data import pictures as pictures_module
from labelscrub.data import read_source
from labelscrub.data.pictures import EXACT_SIDE, LARGEST, Pictures

ORIENTATION, GPS, COPYRIGHT = 0x0112, 0x8825, 0x8298


def encoded(image, kind="PNG", **more):
    buffer = io.BytesIO()
    image.save(buffer, kind, **more)
    return buffer.getvalue()


def noise(width, height, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def shown(data):
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "images"


def pictures_of(folder, images, settings=SourceSettings(), digests=None):  # noqa: B008  (frozen)
    """`images`: bytes, which become the rows 0, 1, ... of an image folder."""
    for number, data in enumerate(images):
        path = folder / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    manifest = read_source(folder, settings)
    saw = {row: hashlib.sha256(manifest.path_of(row).read_bytes()).digest() for row in range(len(manifest))}
    return Pictures(manifest, settings, (digests or saw).get), manifest


def test_a_small_image_keeps_each_pixel(folder):
    image = noise(32, 20)
    pictures, _ = pictures_of(folder, [encoded(image), encoded(noise(EXACT_SIDE, 9, 1))])
    assert np.array_equal(shown(pictures.image(0)).convert("RGB"), image)
    assert shown(pictures.image(1)).size == (EXACT_SIDE, 9)


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [(2000, 1000, (1600, 800)), (500, 2400, (333, 1600)), (1600, 300, (1600, 300)), (16_000, 2, (1600, 1))],
)
def test_a_large_one_is_made_smaller(folder, width, height, expected):
    red = Image.new("RGB", (width, height), "red")
    pictures, _ = pictures_of(folder, [encoded(red), encoded(noise(4, 4))])
    picture = shown(pictures.image(0))
    assert picture.size == expected
    assert max(picture.size) <= LARGEST
    assert np.abs(np.asarray(picture.convert("RGB"), int) - (255, 0, 0)).max() < 12


def test_it_is_upright_and_tells_nothing_else(folder):
    """Left half black, turned by EXIF so that a viewer shows it on top; with a place and an owner."""
    image = Image.new("RGB", (40, 20), "white")
    image.paste("black", (0, 0, 20, 20))
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    exif[COPYRIGHT] = "SECRET OWNER"
    exif[GPS] = {1: "N", 2: (52.0, 31.0, 0.0)}
    data = encoded(image, "JPEG", exif=exif, icc_profile=b"SECRET PROFILE", comment=b"SECRET COMMENT")
    pictures, _ = pictures_of(folder, [data, encoded(noise(4, 4))])
    for made in (pictures.image(0), pictures.thumbnail(0)):
        picture = shown(made)
        assert picture.format == "WEBP"
        assert picture.height == 2 * picture.width
        pixels = np.asarray(picture.convert("L"))
        assert pixels[: len(pixels) // 2 - 4].max() < 60
        assert pixels[len(pixels) // 2 + 4 :].min() > 200
        assert b"SECRET" in data
        assert b"SECRET" not in made
        assert not {"exif", "icc_profile", "xmp"} & set(picture.info)


@pytest.mark.parametrize("kind", ["thumbnail", "image"])
def test_what_is_not_the_image_of_the_run_is_not_shown(folder, kind):
    pictures, manifest = pictures_of(folder, [encoded(noise(8, 8, seed)) for seed in range(4)])
    show = getattr(pictures, kind)
    manifest.path_of(0).write_bytes(encoded(noise(8, 8, 9)))
    manifest.path_of(1).unlink()
    assert show(0) is None
    assert show(1) is None
    assert show(2)
    for row in (4, 99, 10**12, -1):
        assert show(row) is None


@pytest.mark.parametrize("kind", ["thumbnail", "image"])
def test_the_bytes_that_were_checked_are_the_ones_shown(folder, monkeypatch, kind):
    """Nothing is read a second time: it could be another image by then."""
    red, blue = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
    pictures, _ = pictures_of(folder, [encoded(red), encoded(noise(8, 8))])
    read = pictures_module._content

    def read_and_change(manifest, row, max_bytes):
        data = read(manifest, row, max_bytes)
        manifest.path_of(row).write_bytes(encoded(blue))
        return data

    monkeypatch.setattr(pictures_module, "_content", read_and_change)
    assert shown(getattr(pictures, kind)(0)).convert("RGB").getpixel((4, 4)) == (255, 0, 0)


def test_an_image_put_back_is_shown(folder):
    pictures, manifest = pictures_of(folder, [encoded(noise(8, 8, seed)) for seed in range(2)])
    data = manifest.path_of(0).read_bytes()
    manifest.path_of(0).unlink()
    assert pictures.image(0) is None
    manifest.path_of(0).write_bytes(data)
    assert pictures.image(0)


@pytest.mark.parametrize("kind", ["thumbnail", "image"])
def test_broken_and_oversized_images_have_none(folder, kind):
    limits = SourceSettings(max_pixels=1000)
    pictures, _ = pictures_of(folder, [encoded(noise(8, 8))[:-30], encoded(noise(40, 40)), b"GIF89a"], limits)
    assert [getattr(pictures, kind)(row) for row in range(3)] == [None] * 3


def test_a_file_over_the_limit_has_none(folder):
    limits = SourceSettings(max_file_mb=1)
    pictures, _ = pictures_of(folder, [encoded(noise(8, 8)) + bytes(1 << 20), encoded(noise(8, 8))], limits)
    assert pictures.image(0) is None
    assert pictures.image(1)


def test_images_inside_parquet(tmp_path):
    images = [encoded(noise(30, 20, seed)) for seed in range(3)]
    table = pa.table(
        {
            "image": [{"bytes": data, "path": None} for data in images],
            "label": ["a", "b", "a"],
        }
    )
    pq.write_table(table, tmp_path / "images.parquet", row_group_size=2)
    manifest = read_source(tmp_path / "images.parquet", SourceSettings())
    digests = {row: hashlib.sha256(data).digest() for row, data in enumerate(images)}
    digests[1] = bytes(32)
    pictures = Pictures(manifest, SourceSettings(), digests.get)
    assert np.array_equal(shown(pictures.image(2)).convert("RGB"), noise(30, 20, 2))
    assert shown(pictures.thumbnail(0)).width
    assert pictures.image(1) is None


def test_what_was_shown_is_kept_and_no_more_than_a_few(folder, monkeypatch):
    monkeypatch.setattr(pictures_module, "KEPT_IMAGES", 2)
    pictures, manifest = pictures_of(folder, [encoded(noise(8, 8, seed)) for seed in range(4)])
    assert all(pictures.image(row) for row in (0, 1, 2))
    for row in range(3):
        manifest.path_of(row).unlink()
    assert [bool(pictures.image(row)) for row in (0, 1, 2)] == [False, True, True]


def test_many_threads_read_one_after_the_other(folder, monkeypatch):
    """A table's row group may be hundreds of MB: a page that asks for 40 pictures must not hold 40."""
    pictures, _ = pictures_of(folder, [encoded(noise(8, 8, seed)) for seed in range(6)])
    read, under_way, most = pictures_module._content, [], []

    def slow(manifest, row, max_bytes):
        under_way.append(row)
        most.append(len(under_way))
        time.sleep(0.01)
        under_way.remove(row)
        return read(manifest, row, max_bytes)

    monkeypatch.setattr(pictures_module, "_content", slow)
    with ThreadPoolExecutor(12) as pool:
        made = list(pool.map(pictures.image, range(6))) + list(pool.map(pictures.thumbnail, range(6)))
    assert all(made) and most == [1] * 12


def test_many_threads_get_the_right_pictures(folder):
    """The decoder alone is not made for them."""
    images = [noise(40, 30, seed) for seed in range(8)]
    pictures, manifest = pictures_of(folder, [encoded(image, "TIFF") for image in images])
    rows = {int(path.split("/")[1].removesuffix(".png")): row for row, path in enumerate(manifest.paths)}
    wrong = []

    def look(number):
        picture = pictures.image(rows[number])
        if picture is None or not np.array_equal(shown(picture).convert("RGB"), images[number]):
            wrong.append(number)

    threads = [threading.Thread(target=look, args=(number,)) for number in range(8) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
