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
from labelscrub.data import each_thumbnail, thumbnails
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
        ((28, 28), (28, 28)),
        ((48, 20), (48, 20)),
        ((49, 20), (98, 40)),
        ((64, 64), (128, 128)),
        ((64, 10), (128, 20)),
        ((1, 1), (1, 1)),
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


@pytest.mark.parametrize("channels", [1, 3])
def test_small_images_keep_their_very_pixels(tmp_path: Path, channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (28, 48, channels), np.uint8)
    manifest = write(tmp_path, {"a.png": Image.fromarray(pixels.squeeze())})
    seen = np.asarray(opened(thumbnails(manifest, [0], SETTINGS)[0]).convert("RGB"))
    assert (seen == pixels).all()


def test_images_of_a_middle_size_show_their_pixels_as_blocks(tmp_path: Path) -> None:
    pixels = np.kron(np.array([[0, 255], [255, 0]]), np.ones((30, 30))).astype(np.uint8)
    manifest = write(tmp_path, {"a.png": Image.fromarray(pixels)})
    image = np.asarray(opened(thumbnails(manifest, [0], SETTINGS)[0]).convert("L")).astype(int)
    assert image.shape == (120, 120)
    assert np.abs(image - np.kron(pixels, np.ones((2, 2)))).mean() < 4


@pytest.mark.parametrize("wide", [300, 40])
def test_no_metadata_and_upright(tmp_path: Path, wide: int) -> None:
    image = Image.new("RGB", (wide, wide // 2), "red")
    image.paste("blue", (0, 0, wide // 2, wide // 2))
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "secret place"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    manifest = write(tmp_path, {"a.jpg": image}, exif=exif, icc_profile=profile, quality=95)
    data = thumbnails(manifest, [0], SETTINGS)[0]
    seen = opened(data)
    assert not {"exif", "icc_profile", "xmp"} & set(seen.info) and b"secret" not in data
    assert seen.size == ((64, 128) if wide == 300 else (20, 40))
    red, _, blue = seen.getpixel((10, 10))  # a quarter turn clockwise: left becomes top
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
    assert sorted(pictures) == [1, 2] and opened(pictures[1]).size == (28, 28)


def test_many_come_one_by_one_in_order_and_the_same_as_alone(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (60, 80, 80, 3), np.uint8)
    images: dict[str, Image.Image | bytes] = {f"{i:02d}.png": Image.fromarray(p) for i, p in enumerate(noise)}
    images["30.png"] = b"junk"
    manifest = write(tmp_path, images)
    rows = [*range(59, -1, -1)]
    made = list(each_thumbnail(manifest, rows, SETTINGS))
    assert [row for row, _ in made] == [row for row in rows if row != 30]
    assert all(data == thumbnails(manifest, [row], SETTINGS)[row] for row, data in made)


def test_a_photo_is_a_few_kilobytes(tmp_path: Path) -> None:
    coarse = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    manifest = write(
        tmp_path, {"a.png": Image.fromarray(coarse).resize((640, 480), Image.Resampling.BICUBIC)}
    )
    assert len(thumbnails(manifest, [0], SETTINGS)[0]) < 8000
