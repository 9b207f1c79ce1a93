"""Whether every image decodes, by the very path that fills the pixel store, without one being kept."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from labelscrub.config import SourceSettings
from labelscrub.data.filling import BATCH_IMAGES, FEWEST_IMAGES, Teller, batches_of, read_rows
from labelscrub.data.images import image_shape, usable_rows
from labelscrub.data.tasks import DECODED, FAILED, Job, Task
from labelscrub.data.workers import run
from labelscrub.records import Manifest, Progress, SkipKind, Skipped, silent


@dataclass(frozen=True, eq=False)
class Verified:
    """Which usable rows have an image that decodes."""

    rows: NDArray[np.int64]
    """(N,) manifest rows of those that do, ascending."""
    sha256: NDArray[np.uint8]
    """(N, 32) digest of each one's bytes."""
    skipped: tuple[Skipped, ...]
    """Those that don't, ascending."""


def verify_images(
    manifest: Manifest, settings: SourceSettings, *, workers: int, progress: Progress = silent
) -> Verified:
    """Decode every usable row once, in `workers` processes (0: in this one), and keep its digest alone."""
    rows = usable_rows(manifest)
    shape = image_shape(manifest, settings, None)  # detect's own: a decoder's rules depend on the size asked
    job = Job(shape.size, shape.channels, settings.max_pixels, settings.max_file_mb << 20)
    share = -(-len(rows) // max(1, 4 * workers))  # no process is long alone with the last batch
    per_batch = min(max(share, FEWEST_IMAGES), BATCH_IMAGES)
    decoded = np.zeros(len(rows), np.bool_)
    sha256 = np.zeros((len(rows), 32), np.uint8)
    skipped: list[Skipped] = []
    tell = Teller(progress, "decode", len(rows))
    batches = batches_of(_tasks(manifest, rows), per_batch)
    with closing(run(batches, job, min(workers, -(-len(rows) // per_batch)))) as done:
        for outcomes in done:
            state = outcomes.records["state"]
            decoded[outcomes.slots] = state == DECODED
            sha256[outcomes.slots] = outcomes.records["sha256"]
            for slot, (kind, reason) in zip(
                outcomes.slots[state == FAILED].tolist(), outcomes.failures, strict=True
            ):
                row = int(rows[slot])
                skipped.append(Skipped(row, manifest.paths[row], cast(SkipKind, kind), reason))
            tell(len(outcomes.slots))
    skipped.sort(key=lambda item: item.row)
    return Verified(rows[decoded], sha256[decoded], tuple(skipped))


def _tasks(manifest: Manifest, rows: NDArray[np.int64]) -> Iterator[Task]:
    """A task a row; slots count `rows` (N,). Files first, then what is embedded."""
    embedded: dict[int, int] = {}
    files, root = manifest.files, os.fspath(manifest.root)
    for slot, row in enumerate(rows.tolist()):
        if file := files[row]:
            yield Task(slot, file if file.startswith("/") else f"{root}/{file}")
        else:
            embedded[row] = slot
    for row, data in read_rows(manifest, list(embedded)):
        yield Task(embedded[row], data=data)
