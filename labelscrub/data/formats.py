"""What a file is by its first bytes, and a short reason why it can't be decoded. No decoder is called."""

from __future__ import annotations

import struct

# Leading bytes of the formats that are decoded; where a name has several, any of them.
DECODED = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
)
NOT_DECODED = (
    (b"8BPS", "PSD"),
    (b"DDS ", "DDS"),
    (b"%!PS", "EPS"),
    (b"\xc5\xd0\xd3\xc6", "EPS"),
    (b"%PDF", "PDF"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\1\0", "ICO"),
    (b"\0\0\2\0", "CUR"),
    (b"icns", "ICNS"),
    (b"\x01\xda", "SGI"),
    (b"BLP1", "BLP"),
    (b"BLP2", "BLP"),
    (b"SIMPLE  =", "FITS"),
    (b"qoif", "QOI"),
    (b"v/1\x01", "EXR"),
    (b"#?RADIANCE", "HDR"),
    (b"FTEX", "FTEX"),
    (b"\xd7\xcd\xc6\x9a", "WMF"),
    (b"\x01\0\0\0", "EMF"),
    (b"/* XPM", "XPM"),
    (b"\x0a\x05\x01", "PCX"),
    (b"P7 332", "XV thumbnail"),
    (b"FUJIFILMCCD-RAW", "RAW"),
    (b"\x89HDF\r\n\x1a\n", "HDF5"),
    (b"\x93NUMPY", "NumPy"),
    (b"PK\x03\x04", "ZIP"),
    (b"\x1f\x8b", "gzip"),
    (b"\xd0\xcf\x11\xe0", "OLE document"),
)
# ISO media files name themselves at byte 4: "ftyp" and a brand.
BRANDS = {
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "HEIC"),
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
    b"crx ": "RAW",
}
POINTERS = (
    (b"version https://git-lfs", "Git LFS pointer, run git lfs pull"),
    (b"/annex/objects/", "git-annex pointer, run git annex get"),
    (b"outs:\n- md5:", "DVC pointer, run dvc pull"),
    (b"md5: ", "DVC pointer, run dvc pull"),
)
EXTENSIONS = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"), "JPEG"),
    **dict.fromkeys((".png", ".apng"), "PNG"),
    **dict.fromkeys((".ppm", ".pgm", ".pbm", ".pnm", ".pfm"), "PPM"),
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
    **dict.fromkeys((".bmp", ".dib"), "BMP"),
    ".webp": "WEBP",
    ".gif": "GIF",
}


def sniff(data: bytes) -> str:
    """Format name by leading bytes, "" where unknown; never by extension."""
    if data[:4] == b"RIFF":
        return "WEBP" if b"WEBP".startswith(data[8:12]) else "RIFF"  # also one that is cut short there
    if data[4:8] == b"ftyp":
        return BRANDS.get(data[8:12], "MP4")
    if data[:1] == b"P" and data[1:2] in b"123456fF" and data[2:3].isspace():
        return "PPM"
    for magic, name in DECODED + NOT_DECODED:
        if data.startswith(magic):
            return name
    head = data[:1024].lower()
    return "SVG" if b"<svg" in head and head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<") else ""


def pointer(data: bytes) -> str:
    """Reason where the file only stands for one kept elsewhere (Git LFS, git-annex, DVC), else ""."""
    head = data[:64]
    return next((reason for magic, reason in POINTERS if head.startswith(magic)), "")


def is_misnamed(path: str, name: str) -> bool:
    """Whether a path's extension is another known image format's than `name`; no extension is none."""
    dot = path.rfind(".")
    expected = EXTENSIONS.get(path[dot:].lower(), "") if dot >= 0 else ""
    return bool(expected) and expected != ("JPEG" if name == "MPO" else name)


def why_not(data: bytes, error: Exception) -> str:
    """Short reason why `data` did not decode, given what the decoder raised."""
    if not data:
        return "empty file"
    if reason := pointer(data):
        return reason
    if isinstance(error, MemoryError):
        return "needs more memory than there is"
    name = sniff(data)
    if name in {known for _, known in DECODED} | {"WEBP", "PPM"}:
        if _is_sizeless(data, name):
            return "too small"
        message = " ".join(str(error).split())
        if "truncated" in message.lower() or not _is_complete(data, name):
            return "truncated"
        opaque = not message or "cannot identify" in message or message.startswith("decoder error")
        return (
            f"damaged {name}" if opaque or not message.isprintable() else f"damaged {name} ({message[:80]})"
        )
    if name:
        return f"unsupported format {name}"
    kind = _kind_of_text(data[:512])
    return f"not an image (looks like {kind})" if kind else "not an image"


def _is_complete(data: bytes, name: str) -> bool:
    """Whether the mark or the length that ends this format is there; True where the format has none."""
    if name == "JPEG":
        return b"\xff\xd9" in data[-4096:]
    if name == "PNG":
        return b"IEND" in data[-4096:]
    if name == "GIF":
        return data.rstrip(b"\0").endswith(b";")
    if name in ("WEBP", "BMP"):
        offset, extra = (4, 8) if name == "WEBP" else (2, 0)
        return len(data) >= offset + 4 and len(data) >= struct.unpack_from("<I", data, offset)[0] + extra
    return True


def _is_sizeless(data: bytes, name: str) -> bool:
    """Whether the header says that a side has no pixels."""
    place, shape = {"PNG": (16, ">II"), "GIF": (6, "<HH"), "BMP": (18, "<ii")}.get(name, (0, ""))
    return bool(shape) and len(data) >= place + 8 and 0 in struct.unpack_from(shape, data, place)


def _kind_of_text(head: bytes) -> str:
    """HTML, XML, JSON, text, or "" for binary data."""
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # not just a character cut in two at the end
            return ""
        text = head[: error.start].decode("utf-8-sig")
    if any(ord(character) < 32 and character not in "\t\r\n\f\x1b" for character in text):
        return ""
    start = text.lstrip().lower()
    if start.startswith(("<html", "<!doctype html", "<head", "<body")) or "<html" in start:
        return "HTML"
    if start.startswith("<"):
        return "XML"
    return "JSON" if start.startswith(("{", "[")) else "text"
