"""Pictures of single rows, made when somebody asks: as thumbnails, and large enough to judge a label."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from functools import lru_cache
from io import BytesIO

from labelscrub.config import SourceSettings
from labelscrub.data.decoding import Unreadable, open_image
from labelscrub.data.filling import read_rows
from labelscrub.data.tasks import read_file
from labelscrub.data.thumbnails import thumbnail
from labelscrub.records import Manifest

LARGEST = 1600  # pixels of the longest side
EXACT_SIDE = 256  # up to here each pixel stays as it is: a person sees it enlarged
QUALITY = 85
KEPT_IMAGES, KEPT_THUMBNAILS = 64, 4096  # some 10 MB each


class Pictures:
    """Pictures of the images that a run saw, for several threads; None where that image is not there now.

    An image whose bytes have changed since is not shown: a decision about it would be one about another.
    """

    def __init__(
        self, manifest: Manifest, settings: SourceSettings, digest: Callable[[int], bytes | None]
    ) -> None:
        """`digest`: row -> sha256 of the bytes that the run saw, or None where it saw none."""
        self._manifest, self._settings, self._digest = manifest, settings, digest
        # The decoder is not made for threads; and a table is read a row group, maybe 100s of MB, at a time
        self._alone = threading.Lock()
        self._thumbnail = lru_cache(KEPT_THUMBNAILS)(self._make_thumbnail)
        self._image = lru_cache(KEPT_IMAGES)(self._make_image)

    def thumbnail(self, row: int) -> bytes | None:
        """WebP bytes, as on the report page."""
        return self._or_none(self._thumbnail, row)

    def image(self, row: int) -> bytes | None:
        """WebP bytes without metadata, upright, longest side at most LARGEST."""
        return self._or_none(self._image, row)

    @staticmethod
    def _or_none(make: Callable[[int], bytes], row: int) -> bytes | None:
        try:
            return make(row)
        except Unreadable:  # not kept: it may be put back
            return None

    def _make_thumbnail(self, row: int) -> bytes:
        with self._alone:
            return thumbnail(self._unchanged(row), self._settings.max_pixels)

    def _make_image(self, row: int) -> bytes:
        with self._alone:
            image = open_image(self._unchanged(row), self._settings.max_pixels, _fit).image
        image.info = {}  # a colour profile would be written along
        buffer = BytesIO()
        image.save(buffer, "WEBP", lossless=max(image.size) <= EXACT_SIDE, quality=QUALITY, method=2)
        return buffer.getvalue()

    def _unchanged(self, row: int) -> bytes:
        """The bytes of the image that the run saw in this row; raises Unreadable."""
        digest = self._digest(row)
        if digest is None or not 0 <= row < len(self._manifest):
            raise Unreadable("no image in this row", "missing")
        data = _content(self._manifest, row, self._settings.max_file_mb << 20)
        if hashlib.sha256(data).digest() != digest:
            raise Unreadable("changed since the run")
        return data


def _content(manifest: Manifest, row: int, max_bytes: int) -> bytes:
    if (path := manifest.path_of(row)) is not None:
        return read_file(str(path), max_bytes)[0]
    data = next(read_rows(manifest, [row]), (row, None))[1]
    if data is None or len(data) > max_bytes:
        raise Unreadable("no longer there", "missing")
    return data


def _fit(width: int, height: int) -> tuple[int, int]:
    share = min(1.0, LARGEST / max(width, height))
    return max(1, round(width * share)), max(1, round(height * share))
