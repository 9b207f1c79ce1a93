"""labelscrub.data.turbo: simplejpeg where it gives the very pixels and reasons that Pillow gives."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from labelscrub.data import filling, turbo
from labelscrub.data.decoding import Trait, Unreadable, open_image, square
from labelscrub.data.tasks import Job
from labelscrub.records import Manifest

MANY = 10**8
needs_simplejpeg = pytest.mark.skipif(not turbo.USABLE, reason="simplejpeg is not installed")


def jpeg(width: int, height: int, mode: str = "RGB", seed: int = 0, **options) -> bytes:
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 5 + 1, width // 5 + 1, 3), np.uint8)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).convert(mode)
    buffer = BytesIO()
    image.save(buffer, "JPEG", **options)
    return buffer.getvalue()


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def outcome(data: bytes, size: int, channels: int) -> tuple[object, ...]:
    try:
        return square(data, size, channels, MANY)
    except Unreadable as problem:
        return problem.kind, problem.reason


def both(data: bytes, size: int, channels: int) -> tuple[tuple[object, ...], tuple[object, ...]]:
    """With simplejpeg and by Pillow alone."""
    ours = outcome(data, size, channels)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(turbo, "USABLE", False)
        return ours, outcome(data, size, channels)


@needs_simplejpeg
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "shape", [(16, 16), (16, 17), (9, 16), (32, 32), (67, 41), (300, 129), (1, 1), (1, 90)]
)
@pytest.mark.parametrize(
    "options",
    [
        *({"quality": quality, "subsampling": way} for quality in (30, 95) for way in (0, 1, 2)),
        {"progressive": True},
        {"restart_marker_blocks": 2},
        {"mode": "L"},
        {"mode": "CMYK"},
        {"comment": b"hello"},
        {"exif": turned(6)},
        {"exif": b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01broken"},
    ],
)
def test_the_pixels_are_those_of_pillow(options: dict, shape: tuple[int, int], channels: int) -> None:
    ours, pillows = both(jpeg(*shape, **options), 16, channels)
    assert ours == pillows
    assert len(ours[0]) == 16 * 16 * channels


@needs_simplejpeg
def test_simplejpeg_is_asked_for_plain_and_for_scaled_ones_and_for_no_others() -> None:
    assert len(turbo.exact(jpeg(16, 16), 16, 3)) == 16 * 16 * 3
    assert len(turbo.exact(jpeg(16, 16, "L", progressive=True), 16, 1)) == 16 * 16
    assert turbo.exact(jpeg(16, 17), 16, 3) is None
    assert turbo.exact(jpeg(16, 16), 16, 1) is None, "how colours become grey is Pillow's to say"

    photo = Image.open(BytesIO(data := jpeg(200, 120)))
    photo.draft(None, (16, 16))
    assert photo.size == (50, 30)
    assert turbo.turbo(data, photo, (200, 120)).size == (50, 30)
    assert turbo.turbo(data[:-300], photo, (200, 120)) is None, "whether that is an error is Pillow's to say"
    inks = Image.open(BytesIO(data := jpeg(20, 20, "CMYK")))
    assert turbo.turbo(data, inks, inks.size) is None


@needs_simplejpeg
def test_a_huge_one_is_left_to_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    photo = Image.open(BytesIO(data := jpeg(20, 20)))
    monkeypatch.setattr(turbo, "MOST_PIXELS", 399)
    assert turbo.turbo(data, photo, photo.size) is None


@needs_simplejpeg
@pytest.mark.parametrize("shape", [(16, 16), (70, 45)])
def test_damage_has_the_same_outcome(shape: tuple[int, int]) -> None:
    """Cut, flipped, thrown-in and lost bytes, half of them in the headers."""
    rng = np.random.default_rng(0)
    kinds = set()
    for number in range(240):
        whole = jpeg(*shape, "L" if number % 5 == 0 else "RGB", number, progressive=number % 3 == 0)
        data, place = bytearray(whole), int(rng.integers(len(whole) if number % 2 else 180))
        match number % 4:
            case 0:
                del data[place:]
            case 1:
                data[place] ^= 1 << int(rng.integers(8))
            case 2:
                data[place:place] = rng.integers(0, 256, 3, np.uint8).tobytes()
            case 3:
                del data[place : place + 2]
        ours, pillows = both(bytes(data), 16, 3)
        assert ours == pillows, number
        kinds.add(ours[0] if ours[0] == "unreadable" else "decoded")
    assert kinds == {"unreadable", "decoded"}


def test_only_pixels_and_tables_are_plain() -> None:
    assert turbo.plain_shape(jpeg(16, 9)) == (9, 16, 3)
    assert turbo.plain_shape(jpeg(16, 9, "L", comment=b"hello", progressive=True)) == (9, 16, 1)
    several = BytesIO()
    Image.new("RGB", (8, 8)).save(several, "MPO", save_all=True, append_images=[Image.new("RGB", (8, 8))])
    deep = bytearray(jpeg(16, 9))
    frame = deep.index(b"\xff\xc0")
    deep[frame + 4] = 12  # bits
    twice = jpeg(16, 9)
    twice = twice[:20] + twice[frame : frame + 19] + twice[20:]
    others = [b"", b"\xff\xd8\xff\xe0", jpeg(16, 9)[:60], jpeg(16, 9, exif=turned(6)), jpeg(16, 9, "CMYK")]
    for data in (*others, several.getvalue(), bytes(deep), twice, jpeg(16, 9).replace(b"JFIF", b"JFXX")):
        assert turbo.plain_shape(data) is None


def test_max_pixels_holds_also_for_what_pillow_does_not_see() -> None:
    data = jpeg(16, 16)
    with pytest.raises(Unreadable, match="16x16 pixels exceeds"):
        square(data, 16, 3, 255)
    assert square(data, 16, 3, 256)[1:] == ("JPEG", Trait.COLOUR)


def test_without_simplejpeg_pillow_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turbo, "USABLE", False)
    monkeypatch.setattr(turbo, "simplejpeg", None)
    assert len(square(jpeg(16, 16), 16, 3, MANY)[0]) == 16 * 16 * 3
    assert open_image(jpeg(90, 60), MANY, lambda *_: (30, 20)).image.size == (30, 20)


def test_each_decoder_has_its_own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = Manifest(tmp_path, "folder", tmp_path, ("a", "b"), ["a"], ["a"], np.zeros(1, np.int32))
    names = set()
    for version in ("", "1.8.2", "1.9.0"):
        monkeypatch.setattr(filling, "TURBO_VERSION", version)
        names.add(filling.store_name(manifest, Job(8, 3, MANY, MANY)))
    assert len(names) == 3
