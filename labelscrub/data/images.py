"""Every usable image decoded once to a memory-mapped store; later runs decode only what changed."""

from __future__ import annotations

import hashlib
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from labelscrub.config import SourceSettings
from labelscrub.data import pixel_store
from labelscrub.data.decoding import Trait, Unreadable, header
from labelscrub.data.filling import Filling, Teller, image_keys, read_rows, store_name, unchanged
from labelscrub.data.formats import POINTERS
from labelscrub.data.labels import visible
from labelscrub.data.pixel_store import Stored
from labelscrub.data.tasks import Job, open_regular
from labelscrub.records import Event, Images, Manifest, Progress, SkipKind, Skipped, silent

SAMPLE = 512  # images looked at for the shape
SMALLEST, LARGEST = 8, 64  # sides chosen unasked
SHOWN_CLASSES = 5  # in a note
TRAIT_NOTES = (
    (
        Trait.MISNAMED,
        "file whose extension does not match its content",
        "files whose extension does not match their content",
    ),
    (
        Trait.ANIMATED,
        "animation or multi-page image: first frame used",
        "animations or multi-page images: first frame used",
    ),
    (Trait.DEEP, "16-bit image scaled to 8 bit", "16-bit images scaled to 8 bit"),
    (
        Trait.BAD_EXIF,
        "image with damaged EXIF data, which was ignored",
        "images with damaged EXIF data, which was ignored",
    ),
    (Trait.COLOUR, "colour image read as grey", "colour images read as grey"),
)


@dataclass(frozen=True)
class ImageShape:
    """What every image is decoded to."""

    size: int
    """Side of the square, in pixels."""
    channels: int
    """1 grey, 3 RGB."""


def image_shape(manifest: Manifest, settings: SourceSettings, image_size: int | None) -> ImageShape:
    """Shape for training, from the headers of at most 512 usable images, evenly spaced (so always the same).

    The side is `image_size`, else the median of the images' longest sides, at least 8 and at most 64. One
    channel where every image looked at is grey by its mode.
    """
    rows = usable_rows(manifest)
    chosen = rows[np.linspace(0, len(rows) - 1, min(len(rows), SAMPLE)).round().astype(np.int64)]
    headers = list(_headers(manifest, chosen, settings))
    if not headers:
        return ImageShape(image_size or LARGEST, 3)
    median = int(np.median([max(width, height) for width, height, _ in headers]))
    size = image_size or min(max(median, SMALLEST), LARGEST)
    return ImageShape(size, 1 if all(grey for _, _, grey in headers) else 3)


def usable_rows(manifest: Manifest) -> NDArray[np.int64]:
    """Rows that the source did not skip, ascending."""
    usable = np.ones(len(manifest), np.bool_)
    usable[[skipped.row for skipped in manifest.skipped]] = False
    return np.flatnonzero(usable)


def load_images(
    manifest: Manifest,
    shape: ImageShape,
    settings: SourceSettings,
    *,
    cache_dir: Path,
    workers: int,
    progress: Progress = silent,
) -> Images:
    """Decode every usable row to (S, S, C) uint8, or read it from the store in `cache_dir` where unchanged.

    `workers` processes decode; 0 decodes in this one. What can't be decoded is in `Images.skipped`.
    """
    rows = usable_rows(manifest)
    keys = image_keys(manifest, rows)
    job = Job(shape.size, shape.channels, settings.max_pixels, settings.max_file_mb << 20)
    name = store_name(manifest, job)
    stored, damaged = pixel_store.load(cache_dir, name)
    kept = np.full(len(rows), -1, np.int64) if stored is None else unchanged(manifest, rows, keys, stored)
    if stored is None or stored.keys != keys or (kept < 0).any():
        stored = Filling(manifest, rows, keys, job, stored, kept).carry_out(
            cache_dir, name, workers, progress
        )
    progress(Event("decode", len(rows), len(rows), "images"))
    decoded = stored.failure < 0
    return Images(
        pixels=stored.pixels,
        rows=rows[decoded],
        sha256=stored.sha256[decoded],
        skipped=tuple(_skipped(manifest, rows, stored)),
        notes=(*_notes(stored, shape, damaged), *_lost_classes(manifest, rows[decoded])),
    )


def _skipped(manifest: Manifest, rows: NDArray[np.int64], stored: Stored) -> Iterator[Skipped]:
    for slot in np.flatnonzero(stored.failure >= 0).tolist():
        kind, reason = stored.failures[stored.failure[slot]]
        row = int(rows[slot])
        yield Skipped(row, manifest.paths[row], cast(SkipKind, kind), reason)


def _notes(stored: Stored, shape: ImageShape, damaged: bool) -> Iterator[str]:
    """What the user should know, a sentence each."""
    if damaged:
        yield "the stored pixels were damaged: all images were decoded again"
    failed = Counter(stored.failure[stored.failure >= 0].tolist())
    for index, count in sorted(failed.items()):
        reason = stored.failures[index][1]
        if reason in {told for _, told in POINTERS}:
            yield _many(count, f"{reason}", reason.replace("pointer", "pointers"))
    traits = stored.traits[stored.failure < 0]
    for trait, one, many in TRAIT_NOTES:
        if (trait is not Trait.COLOUR or shape.channels == 1) and (
            count := int(np.sum((traits & trait) != 0))
        ):
            yield _many(count, one, many)
    contents = np.ascontiguousarray(stored.sha256[stored.failure < 0]).view("V32")
    if copies := len(contents) - len(np.unique(contents)):
        yield _many(copies, "image is an exact copy of another", "images are exact copies of others")


def _lost_classes(manifest: Manifest, rows: NDArray[np.int64]) -> Iterator[str]:
    """A note on the classes of which images are listed, but none is among the decoded `rows`."""
    listed = np.unique(manifest.labels[manifest.labels >= 0])
    lost = [manifest.classes[k] for k in np.setdiff1d(listed, manifest.labels[rows])]
    if lost:
        more = f" and {len(lost) - SHOWN_CLASSES:,} more" if len(lost) > SHOWN_CLASSES else ""
        yield f"classes without a usable image: {', '.join(map(visible, lost[:SHOWN_CLASSES]))}{more}"


def _many(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"


def _headers(
    manifest: Manifest, rows: NDArray[np.int64], settings: SourceSettings
) -> Iterator[tuple[int, int, bool]]:
    """Width, height and greyness of each row's image; what can't be read is left out."""
    embedded = []
    for row in rows.tolist():
        if not (path := manifest.path_of(row)):
            embedded.append(row)
            continue
        with suppress(Unreadable), open_regular(str(path), settings.max_file_mb << 20) as stream:
            yield header(stream, settings.max_pixels)
    for _, data in read_rows(manifest, embedded):
        with suppress(Unreadable):
            yield header(BytesIO(data or b""), settings.max_pixels)


def hash_images(manifest: Manifest, rows: Sequence[int], progress: Progress = silent) -> NDArray[np.uint8]:
    """(len(rows), 32) sha256 of each row's image, fresh from disk; zeros where it can't be read."""
    digests = np.zeros((len(rows), 32), np.uint8)
    tell = Teller(progress, "verify", len(rows))
    files = [i for i, row in enumerate(rows) if manifest.files[row]]
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for start in range(0, len(files), 1024):
            block = files[start : start + 1024]
            for i, digest in zip(
                block, pool.map(_digest, [str(manifest.path_of(rows[i])) for i in block]), strict=True
            ):
                digests[i] = np.frombuffer(digest, np.uint8)
                tell(1)
    places: dict[int, list[int]] = {}
    for i, row in enumerate(rows):
        if not manifest.files[row] and manifest.image_column:  # without one, the file is gone
            places.setdefault(int(row), []).append(i)
    for row, data in read_rows(manifest, sorted(places)):
        if data is not None:
            digests[places[row]] = np.frombuffer(hashlib.sha256(data).digest(), np.uint8)
        tell(len(places[row]))
    return digests


def _digest(path: str) -> bytes:
    """sha256 of a file, zeros where it can't be read."""
    try:
        with open_regular(path, sys.maxsize) as stream:
            return hashlib.file_digest(stream, "sha256").digest()
    except Unreadable:
        return bytes(32)
