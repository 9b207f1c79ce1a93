"""Which files of a folder are images, judged by name alone; what a file really is, decoding finds out."""

from __future__ import annotations

_IMAGES = ".jpg .jpeg .jpe .jfif .png .apng .ppm .bmp .pgm .pnm .pbm .tif .tiff .webp .gif .mpo"
IMAGE_EXTENSIONS = frozenset(_IMAGES.split())

_UNSUPPORTED = {
    "AVIF": ".avif .avifs",
    "BLP": ".blp",
    "CUR": ".cur",
    "DDS": ".dds",
    "DICOM": ".dcm",
    "EMF": ".emf",
    "EPS": ".eps .ps",
    "EXR": ".exr",
    "FITS": ".fits .fit",
    "FLI": ".fli .flc",
    "HDR": ".hdr",
    "HEIC": ".heic .heif .hif",
    "ICNS": ".icns",
    "ICO": ".ico",
    "IM": ".im",
    "JPEG 2000": ".jp2 .j2k .j2c .jpc .jpx",
    "JPEG XL": ".jxl",
    "JPEG XR": ".jxr",
    "MSP": ".msp",
    "PCD": ".pcd",
    "PCX": ".pcx",
    "PDF": ".pdf",
    "PSD": ".psd .psb",
    "QOI": ".qoi",
    "RAW": ".raw .arw .cr2 .cr3 .dng .nef .orf .raf .rw2",
    "SGI": ".sgi .rgb .rgba .bw",
    "SVG": ".svg .svgz",
    "TGA": ".tga",
    "WMF": ".wmf",
    "XBM": ".xbm",
    "XPM": ".xpm",
}
UNSUPPORTED_FORMATS = {
    extension: name for name, extensions in _UNSUPPORTED.items() for extension in extensions.split()
}
"""Extension of a known image type outside the decoders' allow-list -> its name."""

SYSTEM_NAMES = frozenset({"Thumbs.db", "thumbs.db", "ehthumbs.db", "desktop.ini", "Desktop.ini", "__MACOSX"})
"""What operating systems leave behind; like names that begin with a dot, never data."""

_LONGEST_SHOWN_EXTENSION = 10


def extension(name: str) -> str:
    """Last extension with its dot, in lower case: "A.b.JPG" -> ".jpg"; "" where there is none."""
    dot = name.rfind(".")
    return name[dot:].lower() if dot > name.rfind("/") + 1 else ""


def is_ignored(name: str) -> bool:
    """Hidden files and system droppings: no rows, only counted."""
    return name[0] == "." or name in SYSTEM_NAMES


def unsupported_format(suffix: str) -> str:
    """Reason for a file of a known but unsupported type, "" for all others."""
    return f"unsupported format {UNSUPPORTED_FORMATS[suffix]}" if suffix in UNSUPPORTED_FORMATS else ""


def not_an_image(suffix: str) -> str:
    """Reason for a file whose extension is no image's. Odd extensions stay out of it: reasons are counted."""
    if not suffix:
        return "not an image: no extension"
    shown = suffix[1:].isascii() and suffix[1:].isalnum() and len(suffix) <= _LONGEST_SHOWN_EXTENSION
    return f"not an image extension ({suffix})" if shown else "not an image extension"
