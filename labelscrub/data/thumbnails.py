"""Small WebP pictures of single rows, for the report page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from io import BytesIO

from PIL import Image

from labelscrub.config import SourceSettings
from labelscrub.data.decoding import Unreadable, open_image
from labelscrub.data.filling import read_rows
from labelscrub.data.tasks import read_file
from labelscrub.records import Manifest

QUALITY = 75


def thumbnails(
    manifest: Manifest, rows: Sequence[int], settings: SourceSettings, size: int = 128
) -> dict[int, bytes]:
    """Row -> WebP bytes without metadata, longest side at most `size`; what no longer decodes is left out.

    Small images are enlarged by a whole factor, so that each of their pixels is seen: 28 px become 112.
    """
    pictures = {}
    for row, data in _contents(manifest, rows, settings.max_file_mb << 20):
        try:
            image = open_image(data, settings.max_pixels, _fit(size)).image
        except Unreadable:
            continue
        buffer = BytesIO()
        image = _enlarged(image, size)
        image.info = {}  # a colour profile would be written along
        image.save(buffer, "WEBP", quality=QUALITY)
        pictures[row] = buffer.getvalue()
    return pictures


def _contents(manifest: Manifest, rows: Sequence[int], max_bytes: int) -> Iterator[tuple[int, bytes]]:
    """The bytes of each row's image; rows that can't be read are left out."""
    embedded = []
    for row in dict.fromkeys(rows):
        if not (path := manifest.path_of(row)):
            embedded.append(row)
            continue
        try:
            yield row, read_file(str(path), max_bytes)[0]
        except Unreadable:
            continue
    for row, data in read_rows(manifest, embedded):
        if data is not None and len(data) <= max_bytes:
            yield row, data


def _fit(size: int) -> Callable[[int, int], tuple[int, int]]:
    """The shape with a longest side of at most `size`, aspect kept."""

    def fit(width: int, height: int) -> tuple[int, int]:
        share = min(1.0, size / max(width, height))
        return max(1, round(width * share)), max(1, round(height * share))

    return fit


def _enlarged(image: Image.Image, size: int) -> Image.Image:
    if (factor := size // max(image.size)) < 2:
        return image
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
