"""labelscrub.data.decoding and .formats: any image as a person would see it, or a short reason why not."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageFile, PngImagePlugin

from labelscrub.data.decoding import Trait, Unreadable, decode, header, open_image
from labelscrub.data.formats import is_misnamed, sniff

MANY = 100_000_000


def encode(image: Image.Image, format: str = "PNG", **options) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def photo(width: int = 96, height: int = 64, seed: int = 0) -> Image.Image:
    """Smooth colours, so that scaling and JPEG stay close to the original."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def reason_of(data: bytes, max_pixels: int = MANY) -> str:
    with pytest.raises(Unreadable) as caught:
        decode(data, 16, 3, max_pixels)
    return caught.value.reason


def plain(data: bytes, size: int, channels: int) -> np.ndarray:
    """The slow twin: decode in full, convert, resize."""
    image = Image.open(BytesIO(data)).convert("RGB" if channels == 3 else "L")
    pixels = np.asarray(image.resize((size, size), Image.Resampling.BICUBIC, reducing_gap=None))
    return pixels.reshape(size, size, channels)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM"])
@pytest.mark.parametrize("shape", [(96, 64), (500, 333), (32, 32), (20, 31)])
def test_agrees_with_a_plain_pipeline(format: str, shape: tuple[int, int], channels: int) -> None:
    data = encode(photo(*shape), format)
    ours = decode(data, 32, channels, MANY)
    assert ours.shape == (32, 32, channels) and ours.dtype == np.uint8
    difference = np.abs(ours.astype(int) - plain(data, 32, channels))
    assert difference.mean() < 2 and np.percentile(difference, 99) < 12


def test_an_image_of_the_right_size_keeps_its_very_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    np.testing.assert_array_equal(decode(encode(Image.fromarray(pixels)), 32, 3, MANY), pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_applied(format: str, orientation: int) -> None:
    # Upright: red top left, green top right, blue bottom left, white bottom right.
    upright = np.zeros((32, 32, 3), np.uint8)
    upright[:16, :16], upright[:16, 16:] = (255, 0, 0), (0, 255, 0)
    upright[16:, :16], upright[16:, 16:] = (0, 0, 255), (255, 255, 255)
    # EXIF 2.3, tag 0x0112: what row 0 and column 0 of the stored pixels are in the upright picture.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 95}, "WEBP": {"quality": 95}}.get(format, {})
    data = encode(Image.fromarray(np.ascontiguousarray(stored)), format, exif=exif, **options)
    seen = decode(data, 32, 3, MANY)[[8, 8, 24, 24], [8, 24, 8, 24]].astype(int)
    np.testing.assert_allclose(seen, [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)], atol=12)


def test_damaged_exif_is_ignored_and_told() -> None:
    image = photo()
    data = encode(image, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01broken")
    picture = open_image(data, MANY)
    assert picture.image.size == image.size
    assert picture.traits & Trait.BAD_EXIF


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_over_its_full_range(format: str) -> None:
    values = np.linspace(0, 65535, 16 * 16).astype(np.uint16).reshape(16, 16)
    picture = open_image(encode(Image.fromarray(values), format), MANY)
    assert picture.traits & Trait.DEEP and not picture.traits & Trait.COLOUR
    np.testing.assert_array_equal(np.asarray(picture.image), np.rint(values / 257).astype(np.uint8))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0.0, 1.0], [0.5, 0.25]], np.float32), [[0, 255], [128, 64]]),
        (np.array([[0.0, 200.0], [100.0, 7.0]], np.float32), [[0, 200], [100, 7]]),
        (np.array([[0.0, 65535.0], [257.0, 2570.0]], np.float32), [[0, 255], [1, 10]]),
        (np.array([[-1.0, 1.0], [0.0, 0.5]], np.float32), [[0, 255], [128, 191]]),
        (np.array([[np.nan, 1.0], [0.0, np.inf]], np.float32), [[0, 255], [0, 255]]),
        (np.array([[np.nan, np.nan], [np.nan, np.nan]], np.float32), [[0, 0], [0, 0]]),
        (np.array([[0, 65535], [257, 2570]], np.int32), [[0, 255], [1, 10]]),
        (np.array([[0, 9], [255, 3]], np.int32), [[0, 9], [255, 3]]),
        (np.array([[0, 1_000_000], [500_000, 0]], np.int32), [[0, 255], [128, 0]]),
        (np.array([[-5, -5], [-5, -5]], np.int32), [[0, 0], [0, 0]]),
    ],
)
def test_wide_grey_is_scaled_by_the_range_it_seems_to_have(values: np.ndarray, expected: list) -> None:
    image = Image.fromarray(values)
    seen = np.asarray(open_image(encode(image, "TIFF"), MANY).image).astype(int)
    np.testing.assert_allclose(seen, expected, atol=1)


def transparent(mode: str) -> Image.Image:
    """Left half opaque mid-grey or red, right half transparent over a hidden black."""
    image = Image.new("RGBA", (16, 16), (200, 0, 0, 255))
    image.paste((0, 0, 0, 0), (8, 0, 16, 16))
    if mode == "LA":
        return image.convert("LA")
    if mode == "P":
        palette = Image.new("P", (16, 16), 1)
        palette.putpalette([0, 0, 0, 200, 0, 0])
        palette.paste(0, (8, 0, 16, 16))
        palette.info["transparency"] = 0
        return palette
    return image


@pytest.mark.parametrize(
    ("mode", "format"), [("RGBA", "PNG"), ("LA", "PNG"), ("P", "PNG"), ("P", "GIF"), ("RGBA", "WEBP")]
)
def test_alpha_is_composited_on_white(mode: str, format: str) -> None:
    options = {"lossless": True} if format == "WEBP" else {}
    seen = decode(encode(transparent(mode), format, **options), 16, 3, MANY)
    assert (seen[:, 8:] == 255).all()
    expected = (60, 60, 60) if mode == "LA" else (200, 0, 0)
    np.testing.assert_allclose(seen[4, 4].astype(int), expected, atol=1)


def test_the_one_transparent_colour_of_an_rgb_png_is_white() -> None:
    image = Image.new("RGB", (8, 8), (10, 20, 30))
    image.paste((1, 2, 3), (4, 0, 8, 8))
    seen = decode(encode(image, transparency=(1, 2, 3)), 8, 3, MANY)
    assert seen[0, 0].tolist() == [10, 20, 30] and seen[0, 7].tolist() == [255, 255, 255]


@pytest.mark.parametrize("mode", ["CMYK", "LAB", "YCbCr", "P", "1", "L", "RGB"])
def test_every_colour_mode_is_converted(mode: str) -> None:
    image = Image.new("RGB", (8, 8), (255, 255, 255))
    image.paste((0, 0, 0), (0, 0, 4, 8))
    if mode == "LAB":
        stored = Image.merge("LAB", [image.convert("L"), *[Image.new("L", (8, 8), 128)] * 2])
    else:
        stored = image.convert(mode)
    seen = decode(encode(stored, "TIFF"), 8, 3, MANY).astype(int)
    np.testing.assert_allclose(seen[:, :4], 0, atol=3)
    np.testing.assert_allclose(seen[:, 4:], 255, atol=3)


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_frame_of_many_is_used(format: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    options = {"lossless": True} if format == "WEBP" else {}
    data = encode(frames[0], format, save_all=True, append_images=frames[1:], **options)
    picture = open_image(data, MANY)
    assert picture.traits & Trait.ANIMATED
    assert picture.image.getpixel((4, 4)) == (255, 0, 0)


def test_an_mpo_is_its_first_image_and_no_animation() -> None:
    data = encode(photo(64, 64, 0), "MPO", save_all=True, append_images=[photo(64, 64, 1)])
    picture = open_image(data, MANY, lambda *_: (64, 64))
    assert picture.format == "MPO" and not picture.traits & Trait.ANIMATED
    assert np.abs(np.asarray(picture.image).astype(int) - np.asarray(photo(64, 64, 0))).mean() < 6


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 1), (2, 2)])
def test_tiny_and_extreme_shapes_decode(shape: tuple[int, int]) -> None:
    for format in ("PNG", "JPEG"):
        assert (decode(encode(Image.new("RGB", shape, (9, 9, 9)), format), 16, 3, MANY) == 9).all()


def test_bands_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(photo(70, 50).convert("RGBA"))
    deep = encode(Image.fromarray(np.random.default_rng(0).integers(0, 65536, (50, 70), np.uint16)))
    whole = [decode(item, 12, 3, MANY).tobytes() for item in (data, deep)]
    monkeypatch.setattr("labelscrub.data.decoding.BAND_PIXELS", 200)
    assert [decode(item, 12, 3, MANY).tobytes() for item in (data, deep)] == whole


def test_a_huge_jpeg_is_decoded_small() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    data = encode(Image.fromarray(pixels).resize((8000, 6000), Image.Resampling.NEAREST), "JPEG")
    # In full size 192 MB; ru_maxrss is in KiB on Linux, in bytes on macOS.
    script = (
        "import resource, sys; from labelscrub.data.decoding import decode\n"
        "data, unit = sys.stdin.buffer.read(), 20 if sys.platform == 'darwin' else 10\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> unit\n"
        "before = peak(); decode(data, 64, 3, 10**8); print(peak() - before)"
    )
    done = subprocess.run([sys.executable, "-c", script], input=data, capture_output=True, check=True)
    assert int(done.stdout) < 30


# Bad input. The numbers are those of bad_inputs.csv.


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_f02_truncated(format: str, share: float) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    data = encode(noise, format)
    assert reason_of(data[: int(len(data) * share)]) == "truncated"


def test_f02_cut_within_the_first_bytes() -> None:
    assert reason_of(encode(photo(), "WEBP")[:6]) == "truncated"


def test_f02_never_lenient_even_where_the_process_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    data = encode(photo(), "JPEG")
    assert reason_of(data[: len(data) // 2]) == "truncated"
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"<html><body>404</body></html>", "not an image (looks like HTML)"),
        (b"\n<!DOCTYPE html>\n<title>x</title>", "not an image (looks like HTML)"),
        (b'{"error": "not found"}', "not an image (looks like JSON)"),
        (b"<?xml version='1.0'?><Error/>", "not an image (looks like XML)"),
        ("Zugriff verweigert für alle".encode(), "not an image (looks like text)"),
        (b"\x00\x01\x02\x03 nothing known", "not an image"),
        (b"version https://git-lfs.github.com/spec/v1\noid x", "Git LFS pointer, run git lfs pull"),
        (b"/annex/objects/SHA256E-s12--abc.jpg\n", "git-annex pointer, run git annex get"),
        (b"outs:\n- md5: d41d8cd98f\n  path: a.jpg\n", "DVC pointer, run dvc pull"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "unsupported format HEIC"),
        (b"\0\0\0\x18ftypavif\0\0\0\0", "unsupported format AVIF"),
        (b"8BPS\0\1", "unsupported format PSD"),
        (b"DDS |\0\0\0", "unsupported format DDS"),
        (b"<?xml version='1.0'?>\n<svg xmlns='x'/>", "unsupported format SVG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "unsupported format EPS"),
        (b"BLP2\0\0\0\1", "unsupported format BLP"),
        (b"\0\0\0\x0cjP  \r\n", "unsupported format JPEG 2000"),
    ],
)
def test_what_is_not_an_image_says_what_it_looks_like(data: bytes, reason: str) -> None:
    assert reason_of(data) == reason


def test_f07_no_decoder_is_called_for_an_unsupported_format(monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = BytesIO()
    photo().save(buffer, "DDS")
    Image.init()
    called = []
    for name, (factory, accept) in list(Image.OPEN.items()):
        if name not in ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM"):
            spy = lambda *arguments, name=name: called.append(name)  # noqa: E731
            monkeypatch.setitem(Image.OPEN, name, (spy, accept))
        assert factory is not None
    assert reason_of(buffer.getvalue()) == "unsupported format DDS"
    assert called == []


def bomb_png(width: int, height: int) -> bytes:
    """A PNG header that promises more than there is."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    )


def test_i01_bombs_are_refused_by_size_in_words() -> None:
    assert reason_of(bomb_png(12000, 99999)) == "12000x99999 pixels exceeds --max-pixels"
    assert reason_of(encode(photo(20, 10)), max_pixels=199) == "20x10 pixels exceeds --max-pixels"
    assert decode(encode(photo(20, 10)), 8, 3, 200).shape == (8, 8, 3)
    limit = Image.MAX_IMAGE_PIXELS
    assert limit is not None, "Pillow's own limit is back afterwards"


def test_i03_text_chunk_bomb_is_unreadable() -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("comment", "x" * (PngImagePlugin.MAX_TEXT_CHUNK + 1), zip=True)
    assert reason_of(encode(photo(), pnginfo=text)).startswith("damaged PNG (Decompressed data too large")


def test_i05_whatever_a_decoder_raises_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(photo(), "PNG")
    for error in (
        OSError("x"),
        ValueError("x"),
        SyntaxError("x"),
        NotImplementedError("x"),
        struct.error("x"),
    ):

        def fail(*_: object, error: Exception = error, **__: object) -> None:
            raise error

        monkeypatch.setattr(Image, "open", fail)
        assert reason_of(data) == "damaged PNG (x)"
    monkeypatch.setattr(Image, "open", lambda *_, **__: (_ for _ in ()).throw(MemoryError()))
    assert reason_of(data) == "needs more memory than there is"


def test_i14_zero_width_is_too_small() -> None:
    assert reason_of(bomb_png(0, 5)) == "too small"


def test_i07_libtiff_prints_nothing_to_stderr() -> None:
    data = bytearray(encode(photo(), "TIFF", compression="tiff_deflate"))
    data[40:200] = bytes(160)

    def stderr_of(call: str) -> bytes:
        script = (
            "import sys; from io import BytesIO; from PIL import Image\n"
            "from labelscrub.data.decoding import decode\n"
            "data = sys.stdin.buffer.read()\n"
            f"try: {call}\n"
            "except Exception: print('still here', file=sys.stderr)"
        )
        command = [sys.executable, "-c", script]
        return subprocess.run(command, input=bytes(data), capture_output=True, check=True).stderr

    assert b"ecod" in stderr_of("Image.open(BytesIO(data)).load()"), "else this tests nothing"
    assert stderr_of("decode(data, 8, 3, 10**8)") == b"still here\n"


def test_header_reads_shape_and_greyness_alone() -> None:
    assert header(BytesIO(encode(photo(20, 10))), MANY) == (20, 10, False)
    assert header(BytesIO(encode(photo(20, 10).convert("LA"))), MANY) == (20, 10, True)
    with pytest.raises(Unreadable, match="exceeds"):
        header(BytesIO(bomb_png(12000, 99999)), MANY)


def test_f05_extension_against_content() -> None:
    assert is_misnamed("a/b.JPG", "PNG") and is_misnamed("x.tif", "JPEG")
    for path, name in [
        ("a.jpg", "JPEG"),
        ("a.jpeg", "MPO"),
        ("b", "PNG"),
        ("x.dat", "PNG"),
        ("d.jpg/b", "PNG"),
    ]:
        assert not is_misnamed(path, name)
    assert sniff(encode(photo(), "WEBP")) == "WEBP" and sniff(b"P6\n1 1 255\n") == "PPM"
