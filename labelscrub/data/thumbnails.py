"""Small WebP pictures of single rows, for the report page."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from io import BytesIO

from PIL import Image

from labelscrub.config import SourceSettings
from labelscrub.data.decoding import Unreadable, open_image
from labelscrub.data.filling import read_rows
from labelscrub.data.tasks import read_file
from labelscrub.processes import cores
from labelscrub.records import Manifest

QUALITY = 75
EXACT_SIDE = 48  # up to here a picture keeps its very pixels: it is no larger so, and the page enlarges it
WAITING = 4  # pictures a thread that may wait to be fetched


def thumbnail(data: bytes, max_pixels: int, size: int = 128) -> bytes:
    """WebP bytes of one image without metadata, longest side at most `size`; raises Unreadable."""
    return _encoded(open_image(data, max_pixels, _fit(size)).image, size)


def thumbnails(
    manifest: Manifest, rows: Sequence[int], settings: SourceSettings, size: int = 128
) -> dict[int, bytes]:
    """Row -> WebP bytes without metadata, longest side at most `size`; what no longer decodes is left out."""
    return dict(each_thumbnail(manifest, rows, settings, size))


def each_thumbnail(
    manifest: Manifest, rows: Sequence[int], settings: SourceSettings, size: int = 128
) -> Iterator[tuple[int, bytes]]:
    """As `thumbnails`, one after another: of many no more than a few are held at a time.

    Images are decoded here, for the decoder is not made for threads, and encoded in threads meanwhile.
    """
    workers = cores()
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[tuple[int, Future[bytes]]] = deque()
        for row, image in _images(_contents(manifest, rows, settings.max_file_mb << 20), settings, size):
            waiting.append((row, pool.submit(_encoded, image, size)))
            if len(waiting) > WAITING * workers:
                first, picture = waiting.popleft()
                yield first, picture.result()
        for row, picture in waiting:
            yield row, picture.result()


def _images(
    contents: Iterable[tuple[int, bytes]], settings: SourceSettings, size: int
) -> Iterator[tuple[int, Image.Image]]:
    for row, data in contents:
        try:
            yield row, open_image(data, settings.max_pixels, _fit(size)).image
        except Unreadable:
            continue


def _encoded(image: Image.Image, size: int) -> bytes:
    """Small images exactly, those of a middle size enlarged by a whole factor: 64 px become 128."""
    exact = max(image.size) <= EXACT_SIDE
    image = image if exact else _enlarged(image, size)
    image.info = {}  # a colour profile would be written along
    buffer = BytesIO()
    # libwebp's usual effort, 4, saves 8 % of small ones and 4 % of photos, and takes 12 and 2 times as long.
    effort = {"lossless": True, "method": 0} if exact else {"quality": QUALITY, "method": 2}
    image.save(buffer, "WEBP", **effort)
    return buffer.getvalue()


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
