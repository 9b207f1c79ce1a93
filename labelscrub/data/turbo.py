"""JPEGs by libjpeg-turbo without Pillow's detours, where simplejpeg is installed: the very same pixels."""

from __future__ import annotations

import struct
from contextlib import suppress

from PIL import Image, features

try:
    import simplejpeg
except ImportError:  # no wheel for this machine: Pillow decodes
    simplejpeg = None

# Pillow may be built with another libjpeg, whose pixels differ
USABLE = simplejpeg is not None and bool(features.check_feature("libjpeg_turbo"))
VERSION = str(simplejpeg.__version__) if USABLE else ""
"""Part of a store's name; "" where Pillow decodes."""
COLOURS = {"L": "GRAY", "RGB": "RGB"}
# JFIF, quantisation, Huffman, restart interval, comment
TABLES = frozenset({0xFFE0, 0xFFDB, 0xFFC4, 0xFFDD, 0xFFFE})
# Above it Pillow decodes, which needs no second copy
MOST_PIXELS = 4_000_000


def turbo(data: bytes, image: Image.Image, full: tuple[int, int]) -> Image.Image | None:
    """What `image.load()` would give for a JPEG of `full` size opened (and drafted) by Pillow.

    None where that is Pillow's to say: not L or RGB, huge, or anything but perfect, for a warning of libjpeg
    may or may not be an error to Pillow.
    """
    if not USABLE or image.mode not in COLOURS or image.width * image.height > MOST_PIXELS:
        return None
    least = (0, 0) if image.size == full else image.size
    with suppress(ValueError):
        pixels = simplejpeg.decode_jpeg(
            data,
            COLOURS[image.mode],
            fastdct=False,
            fastupsample=False,
            min_width=least[0],
            min_height=least[1],
        )
        if pixels.shape[1::-1] == image.size:  # else Pillow scales by another factor
            return Image.frombuffer(image.mode, image.size, pixels, "raw", image.mode, 0, 1)
    return None


def exact(data: bytes, size: int, channels: int) -> bytes | None:
    """The pixels of a JPEG that is size x size, has these channels, and nothing but pixels; else None.

    Pillow's reading of the headers takes longer than the decoding of a small image.
    """
    if USABLE and plain_shape(data) == (size, size, channels):
        with suppress(ValueError, MemoryError):
            colours = "GRAY" if channels == 1 else "RGB"
            return bytes(simplejpeg.decode_jpeg(data, colours, fastdct=False, fastupsample=False))
    return None


def plain_shape(data: bytes) -> tuple[int, int, int] | None:
    """Height, width and components of a JPEG with a JFIF header and tables only; None for any other.

    So none with EXIF data, another colour space than JFIF's, more images than one, or a broken header.
    """
    if data[:4] != b"\xff\xd8\xff\xe0" or data[6:11] != b"JFIF\0":
        return None
    place, shape = 2, None
    with suppress(struct.error):
        while True:
            marker, length = struct.unpack_from(">HH", data, place)
            if marker == 0xFFDA:  # the pixels start
                return shape
            if marker in (0xFFC0, 0xFFC2) and shape is None:  # a frame, sequential or progressive
                precision, height, width, components = struct.unpack_from(">BHHB", data, place + 4)
                if precision != 8:
                    return None
                shape = (height, width, components)
            elif marker not in TABLES or length < 2:
                return None
            place += 2 + length
    return None
