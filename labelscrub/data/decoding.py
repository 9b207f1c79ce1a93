"""One image's bytes -> its pixels as a person would see them. No files, no processes, no torch."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from io import BytesIO, FileIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, MpoImagePlugin, TiffImagePlugin, WebPImagePlugin

from labelscrub.data.formats import sniff, why_not
from labelscrub.data.turbo import exact, turbo

# The allow-list keeps out every decoder known to be slow or hungry (RELIABILITY.md, fact 1).
# MPO comes with JPEG: Pillow opens it as a JPEG and then finds the second image.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
# Pillow registers these late; imported here, the first image is as quick as the rest.
LATE_PLUGINS = (MpoImagePlugin, TiffImagePlugin, WebPImagePlugin)
GREY_MODES = frozenset({"1", "L", "LA", "La", "I;16", "I;16L", "I;16B", "I;16N", "I", "F"})
DEEP_MODES = frozenset({"I;16", "I;16L", "I;16B", "I;16N", "I", "F"})
Target = Callable[[int, int], tuple[int, int]]
BAND_PIXELS = 4_000_000  # converted at a time, so that a huge image has no second copy in full size
ORIENTATION = 0x0112  # the EXIF tag
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Unreadable(Exception):  # noqa: N818  (a state of the image, told to the user as such)
    """This image can't be used; `reason` is a few words a person understands."""

    def __init__(self, reason: str, kind: str = "unreadable") -> None:
        super().__init__(reason)
        self.reason = reason
        self.kind = kind


class Trait(IntEnum):
    """What was done to an image that its owner should hear of: bits; an IntFlag takes microseconds a use."""

    ANIMATED = 1
    DEEP = 2
    BAD_EXIF = 4
    COLOUR = 8
    """Has colours: worth a note where the training images are grey."""
    MISNAMED = 16


@dataclass(frozen=True, eq=False)
class Picture:
    """An image as seen: mode L or RGB, upright, on white."""

    image: Image.Image
    format: str
    traits: int
    """Bits of Trait."""


def decode(data: bytes, size: int, channels: int, max_pixels: int) -> NDArray[np.uint8]:
    """Image bytes -> (size, size, channels) uint8, channels 1 (grey) or 3 (RGB); raises Unreadable."""
    pixels = square(data, size, channels, max_pixels)[0]
    return np.frombuffer(pixels, np.uint8).reshape(size, size, channels)


def square(data: bytes, size: int, channels: int, max_pixels: int) -> tuple[bytes, str, int]:
    """Image bytes -> size * size * channels bytes, the format and the bits of Trait; raises Unreadable.

    Squashed: each side is scaled on its own. An image of the right size keeps its very pixels.
    """
    if size * size <= max_pixels and (pixels := exact(data, size, channels)) is not None:
        return pixels, "JPEG", Trait.COLOUR if channels == 3 else 0
    picture = open_image(data, max_pixels, lambda width, height: (size, size))
    mode = "L" if channels == 1 else "RGB"
    image = picture.image if picture.image.mode == mode else picture.image.convert(mode)
    return image.tobytes(), picture.format, picture.traits


def open_image(data: bytes, max_pixels: int, target: Target | None = None) -> Picture:
    """The first frame of an image, upright, alpha composited on white, 8 bit; raises Unreadable.

    `target` says for a width and height which size is wanted; it must treat both sides alike, for the image
    may still be turned. Scaled with antialiasing (JPEG's own scaling, box, bicubic), converted piece by piece
    where it is huge. Deep grey is scaled to 8 bit by the rule of `_range_of`.
    """
    seen: list[warnings.WarningMessage] = []
    try:
        with _alone_with_pillow(data, seen):
            picture = _open(data, max_pixels, target)
    except Unreadable:
        raise
    except Exception as error:  # each decoder raises its own kinds: OSError, SyntaxError, struct.error ...
        raise Unreadable(why_not(data, error)) from None
    if any("EXIF" in str(warning.message) for warning in seen):
        return Picture(picture.image, picture.format, picture.traits | Trait.BAD_EXIF)
    return picture


def header(stream: BytesIO | FileIO, max_pixels: int) -> tuple[int, int, bool]:
    """Width, height and whether it is grey, from the header alone; raises Unreadable."""
    start = stream.read(4096)
    stream.seek(0)
    try:
        with _alone_with_pillow(start, []), Image.open(stream, formats=FORMATS) as image:
            _check_size(image.size, max_pixels)
            return (*image.size, image.mode in GREY_MODES)
    except Unreadable:
        raise
    except Exception as error:
        raise Unreadable(why_not(start, error)) from None


def _open(data: bytes, max_pixels: int, target: Target | None) -> Picture:
    if not data:
        raise Unreadable("empty file")
    image: Image.Image = Image.open(BytesIO(data), formats=FORMATS)
    name, traits = image.format or "", 0
    _check_size(image.size, max_pixels)
    drafted, loaded = None, None
    if name in ("JPEG", "MPO"):
        full = image.size
        if target is not None:
            drafted = image.draft(None, target(*full))
        loaded = turbo(data, image, full)
    if loaded is None:
        image.load()
    turn = None
    try:
        turn = TURNS.get(image.getexif().get(ORIENTATION, 1))
    except Exception:  # damaged metadata is no reason to lose the pixels
        traits |= Trait.BAD_EXIF
    if image.mode in DEEP_MODES:
        traits |= Trait.DEEP
    # The image's own part of a scaled JPEG, whose last row and column may stick out
    width, height = drafted[1][2:] if drafted is not None else image.size
    pixels = image if loaded is None else loaded
    seen = _flatten(pixels, 1) if target is None else _scaled(pixels, width, height, target(*image.size))
    if seen.mode != "L":
        traits |= Trait.COLOUR
    if name != "MPO" and _is_animated(image):  # an MPO's second image is for the other eye
        traits |= Trait.ANIMATED
    return Picture(seen if turn is None else seen.transpose(turn), name, traits)


def _scaled(image: Image.Image, width: float, height: float, goal: tuple[int, int]) -> Image.Image:
    """The image's (width, height) part at its top left, as seen, scaled to the goal."""
    # Bicubic still halves at least, so that its filter decides how the result looks, not the box's
    factor = max(1, int(min(width // goal[0], height // goal[1])) // 2)
    seen = _flatten(image, factor)
    box = (0, 0, width / factor, height / factor)
    return seen if box[2:] == goal else seen.resize(goal, Image.Resampling.BICUBIC, box)


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise Unreadable("too small")
    if width * height > max_pixels:
        raise Unreadable(f"{width}x{height} pixels exceeds --max-pixels")


def _flatten(image: Image.Image, factor: int) -> Image.Image:
    """Any mode -> a new L or RGB image without alpha, `factor` times smaller (box filter), band by band."""
    mode = "L" if image.mode in GREY_MODES else "RGB"
    if image.mode == mode and not image.has_transparency_data:
        return image.copy() if factor == 1 else image.reduce(factor)
    low, high = _range_of(image) if image.mode in DEEP_MODES else (0.0, 0.0)
    rows = max(1, BAND_PIXELS // (image.width * factor)) * factor
    flat = Image.new(mode, (-(-image.width // factor), -(-image.height // factor)))
    for top in range(0, image.height, rows):
        band = image
        if rows < image.height:
            band = image.crop((0, top, image.width, min(top + rows, image.height)))
        if image.mode in DEEP_MODES:
            band = _to_8_bit(band, low, high)
        elif band.has_transparency_data:
            coloured = band.convert("RGBA")
            band = Image.new("RGBA", coloured.size, "white")
            band.alpha_composite(coloured)
        band = band.convert(mode)
        flat.paste(band if factor == 1 else band.reduce(factor), (0, top // factor))
    return flat


def _range_of(image: Image.Image) -> tuple[float, float]:
    """Which values of a deep grey image are black and white.

    16-bit (I;16): 0 and 65535. Wider ones (I, F) don't say: 0 and 1 for fractions between these, 0 and 255
    or 0 and 65535 where all values lie there, else the image's own least and greatest finite value.
    """
    if image.mode.startswith("I;16"):
        return 0.0, 65535.0
    low, high = np.inf, -np.inf
    rows = max(1, BAND_PIXELS // image.width)
    for top in range(0, image.height, rows):
        values = np.asarray(image.crop((0, top, image.width, min(top + rows, image.height))))
        values = values[np.isfinite(values)]
        if values.size:
            low, high = min(low, float(values.min())), max(high, float(values.max()))
    if low >= 0:
        for ceiling in (255.0, 65535.0) if image.mode == "I" else (1.0, 255.0, 65535.0):
            if high <= ceiling:
                return 0.0, ceiling
    return (low, high) if low <= high else (0.0, 1.0)


def _to_8_bit(band: Image.Image, low: float, high: float) -> Image.Image:
    """Deep grey -> L: low is 0, high is 255, linear between; what is not a number is black."""
    values = np.nan_to_num(np.asarray(band).astype(np.float32), nan=low, posinf=high, neginf=low)
    scaled = (values - low) * (255.0 / (high - low) if high > low else 0.0)
    return Image.fromarray(np.rint(np.clip(scaled, 0, 255)).astype(np.uint8))


def _is_animated(image: Image.Image) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # a damaged second frame
        return True


@contextmanager
def _alone_with_pillow(data: bytes, seen: list[warnings.WarningMessage]) -> Iterator[None]:
    """Pillow never lenient, its warnings caught in `seen`, its own pixel limit off (ours names the size).

    libtiff writes to the process's stderr itself, over anybody's progress bar: sent to nowhere meanwhile.
    """
    limit, lenient = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
    Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = None, False
    kept = _mute_stderr() if sniff(data[:16]) == "TIFF" else -1
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                yield
            finally:
                seen += caught
    finally:
        Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = limit, lenient
        if kept >= 0:
            os.dup2(kept, 2)
            os.close(kept)


def _mute_stderr() -> int:
    """Point fd 2 at nowhere; returns a duplicate of what it was, or -1 where there is none."""
    try:
        if sys.stderr is not None:
            sys.stderr.flush()
        kept = os.dup(2)
    except (OSError, ValueError):
        return -1
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    return kept
