"""labelscrub.data.thumbnails: small, bare WebP pictures of rows."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from labelscrub.config import SourceSettings
from labelscrub.data import thumbnails
from labelscrub.records import Manifest

SETTINGS = SourceSettings(max_pixels=1_000_000)


def write(folder: Path, images: dict[str, Image.Image | bytes], **options) -> Manifest:
    for name, image in images.items():
        if isinstance(image, bytes):
            (folder / name).write_bytes(image)
        else:
            image.save(folder / name, **options)
    names = list(images)
    return Manifest(folder, "folder", folder, ("a",), names, names, np.zeros(len(names), np.int32))


def opened(data: bytes) -> Image.Image:
    image = Image.open(BytesIO(data))
    assert image.format == "WEBP"
    image.load()
    return image


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((400, 200), (128, 64)),
        ((200, 401), (64, 128)),
        ((128, 128), (128, 128)),
        ((100, 90), (100, 90)),
        ((28, 28), (112, 112)),
        ((64, 10), (128, 20)),
        ((1, 1), (128, 128)),
        ((3000, 2), (128, 1)),
    ],
)
@pytest.mark.parametrize("extension", ["png", "jpg"])
def test_the_longest_side_fits_and_the_aspect_is_kept(
    tmp_path: Path, extension: str, shape: tuple[int, int], expected: tuple[int, int]
) -> None:
    manifest = write(tmp_path, {f"a.{extension}": Image.new("RGB", shape, "red")})
    image = opened(thumbnails(manifest, [0], SETTINGS)[0])
    assert image.size == expected
    assert max(thumbnails(manifest, [0], SETTINGS, size=32)) == 0
    assert max(opened(thumbnails(manifest, [0], SETTINGS, size=32)[0]).size) <= 32


def test_small_images_show_their_very_pixels(tmp_path: Path) -> None:
    pixels = np.kron(np.array([[0, 255], [255, 0]]), np.ones((14, 14))).astype(np.uint8)
    manifest = write(tmp_path, {"a.png": Image.fromarray(pixels)})
    image = np.asarray(opened(thumbnails(manifest, [0], SETTINGS)[0]).convert("L")).astype(int)
    assert image.shape == (112, 112)
    assert np.abs(image - np.kron(pixels, np.ones((4, 4)))).mean() < 4


def test_no_metadata_and_upright(tmp_path: Path) -> None:
    image = Image.new("RGB", (300, 150), "red")
    image.paste("blue", (0, 0, 150, 150))
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "secret place"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    manifest = write(tmp_path, {"a.jpg": image}, exif=exif, icc_profile=profile, quality=95)
    data = thumbnails(manifest, [0], SETTINGS)[0]
    seen = opened(data)
    assert not {"exif", "icc_profile", "xmp"} & set(seen.info) and b"secret" not in data
    assert seen.size == (64, 128)
    red, _, blue = seen.getpixel((32, 10))  # a quarter turn clockwise: left becomes top
    assert blue > 200 and red < 60


def test_rows_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    good = Image.new("RGB", (30, 30))
    manifest = write(
        tmp_path, {"a.png": good, "b.png": b"junk", "c.png": good, "d.png": Image.new("1", (2000, 2000))}
    )
    (tmp_path / "c.png").unlink()
    assert list(thumbnails(manifest, [0, 1, 2, 3], SETTINGS)) == [0]
    assert thumbnails(manifest, [], SETTINGS) == {}
    assert list(thumbnails(manifest, [0, 0], SETTINGS)) == [0]


def test_embedded_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = BytesIO()
    Image.new("L", (28, 28), 200).save(buffer, "PNG")

    def rows_of(manifest: Manifest, rows: list[int]) -> Iterator[tuple[int, bytes | None]]:
        yield from ((row, buffer.getvalue() if row else None) for row in sorted(rows))

    # The package names the function like this module, so the module is asked for by name.
    monkeypatch.setattr(import_module("labelscrub.data.thumbnails"), "read_rows", rows_of)
    manifest = Manifest(tmp_path, "parquet", tmp_path, ("a",), ["x"] * 3, [""] * 3, np.zeros(3, np.int32))
    pictures = thumbnails(manifest, [2, 0, 1], SETTINGS)
    assert sorted(pictures) == [1, 2] and opened(pictures[1]).size == (112, 112)


def test_a_photo_is_a_few_kilobytes(tmp_path: Path) -> None:
    coarse = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    manifest = write(
        tmp_path, {"a.png": Image.fromarray(coarse).resize((640, 480), Image.Resampling.BICUBIC)}
    )
    assert len(thumbnails(manifest, [0], SETTINGS)[0]) < 8000
