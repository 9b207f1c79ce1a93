"""Filling a pixel store: what is unchanged comes from the old store, the rest from the images themselves."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import PIL
from numpy.typing import NDArray

from labelscrub.data import pixel_store
from labelscrub.data.pixel_store import BLOCK, Stored, Writer
from labelscrub.data.tasks import DECODED, FAILED, KNOWN, Job, Outcomes, Task, stat_of
from labelscrub.data.turbo import VERSION as TURBO_VERSION
from labelscrub.data.workers import run
from labelscrub.records import Event, Manifest, Progress

STORE_VERSION = 2  # of the index and of the decoder: pixels of another version are decoded again
FEWEST_IMAGES, BATCH_IMAGES, BATCH_BYTES = 16, 128, 1 << 21  # in a batch
# A file whose change time is younger than this when it is read could change again without that showing.
SETTLING_NS = 2_000_000_000
PASSING = ("decoder crashed", "took longer", "needs more memory", "changed during")  # worth another try


def store_name(manifest: Manifest, job: Job) -> str:
    """Name of the store for these images decoded this way; rows may come and go."""
    identity = [STORE_VERSION, PIL.__version__, TURBO_VERSION, *vars(job).values()]
    identity += [str(manifest.source.absolute()), str(manifest.root.absolute())]
    return "images-" + hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]


def image_keys(manifest: Manifest, rows: NDArray[np.int64]) -> list[str]:
    """What names each row's image: its file, or its table's content and the row in there."""
    files, table_of, spans = manifest.files, manifest.table_of, manifest.spans
    keys = []
    for row in rows.tolist():
        key = files[row]
        if not key and table_of is not None and spans is not None:
            key = f"\0{manifest.table_sha256[table_of[row]]}:{spans[row, 0]}"
        keys.append(key or f"\0{row}")
    return keys


def unchanged(manifest: Manifest, rows: NDArray[np.int64], keys: list[str], old: Stored) -> NDArray[np.int64]:
    """(M,) index into the old store of each row's image where that surely still holds, else -1."""
    kept = _places(keys, old.keys, old.settled)
    found = np.flatnonzero(kept >= 0)
    files, root = manifest.files, os.fspath(manifest.root)
    stats = [_stat(root, file) for row in rows[found].tolist() if (file := files[row])]
    is_file = np.array([bool(files[row]) for row in rows[found].tolist()], np.bool_)
    same = np.full(len(found), bool(manifest.table_sha256))  # an embedded one's key holds the table's hash
    same[is_file] = (np.array(stats, np.int64).reshape(-1, 4) == old.stat[kept[found[is_file]]]).all(axis=1)
    kept[found[~same]] = -1
    return kept


def _places(keys: list[str], old: list[str], wanted: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(len(keys),) where each is among the `wanted` (len(old),) of the old ones, -1 where it is not."""
    if keys == old:
        return np.where(wanted, np.arange(len(old)), -1)
    where = {key: i for i, key in enumerate(old) if wanted[i]}
    return np.array([where.get(key, -1) for key in keys], np.int64)


def _path(root: str, file: str) -> str:
    """As `Manifest.path_of`, for many: a Path costs more than the look at the file."""
    return file if file.startswith("/") else f"{root}/{file}"


def _stat(root: str, file: str) -> tuple[int, int, int, int]:
    """The file's `stat_of`, one that no file has where there is none."""
    try:
        return stat_of(os.stat(_path(root, file)))  # noqa: PTH116  (a Path a file is slow)
    except (OSError, ValueError):
        return -1, -1, -1, -1


class Teller:
    """Progress events of one stage over images, at most 20 a second."""

    def __init__(self, progress: Progress, stage: str, total: int, done: int = 0) -> None:
        self.progress, self.stage, self.total, self.done, self.before = progress, stage, total, done, done
        self.began = time.monotonic()
        self.told = -1.0

    def __call__(self, more: int) -> None:
        self.done += more
        now = time.monotonic()
        if now - self.told >= 0.05:
            self.told = now
            rate = (self.done - self.before) / max(now - self.began, 1e-9)
            self.progress(Event(self.stage, self.done, self.total, "images", images_per_second=rate))


@dataclass(eq=False)
class Filling:
    """A new store under way, for M images."""

    manifest: Manifest
    rows: NDArray[np.int64]
    """(M,)"""
    keys: list[str]
    job: Job
    old: Stored | None
    kept: NDArray[np.int64]
    """(M,) from `unchanged`."""

    def __post_init__(self) -> None:
        count, side, channels = len(self.rows), self.job.size, self.job.channels
        self.new = Stored(
            keys=self.keys,
            stat=np.zeros((count, 4), np.int64),
            sha256=np.zeros((count, 32), np.uint8),
            traits=np.zeros(count, np.uint8),
            settled=np.zeros(count, np.bool_),
            failure=np.full(count, -1, np.int32),
            failures=[],
            pixels=np.empty((0, side, side, channels), np.uint8),
        )
        self.todo = np.flatnonzero(self.kept < 0)
        self.failures = (
            {} if self.old is None else {failure: i for i, failure in enumerate(self.old.failures)}
        )
        self.known = np.full(count, -1, np.int64)
        """(M,) index into the old store of the image of the same name, -1 where that was not decoded."""
        self.positions = np.empty(0, np.int64)
        if self.old is not None:
            self.positions = self.old.positions()
            self.known = _places(self.keys, self.old.keys, self.positions >= 0)

    def carry_out(self, cache_dir: Path, name: str, workers: int, progress: Progress) -> Stored:
        """Fill the store and put it in its place."""
        job, count = self.job, len(self.rows)
        image_bytes = job.size**2 * job.channels
        share = -(-len(self.todo) // max(1, 4 * workers))  # no process is long alone with the last batch
        per_batch = max(1, min(max(share, FEWEST_IMAGES), BATCH_IMAGES, BATCH_BYTES // image_bytes))
        workers = min(workers, -(-len(self.todo) // per_batch))
        tell = Teller(progress, "decode", count, count - len(self.todo))
        with Writer(cache_dir, name, count, image_bytes) as writer:
            self._copy(writer, np.flatnonzero(self.kept >= 0), self.kept[self.kept >= 0])
            with closing(run(batches_of(self._tasks(), per_batch), job, workers)) as batches:
                for outcomes in batches:
                    self._take(writer, outcomes)
                    tell(len(outcomes.slots))
            new = replace(self.new, failures=list(self.failures))
            return pixel_store.save(cache_dir, name, writer, new, (job.size, job.size, job.channels))

    def _copy(self, writer: Writer, slots: NDArray[np.int64], indices: NDArray[np.int64]) -> None:
        """Take over the old store's entries `indices` (n,) as the new one's `slots` (n,), ascending."""
        if self.old is None:
            return
        for name in ("stat", "sha256", "traits", "settled", "failure"):
            getattr(self.new, name)[slots] = getattr(self.old, name)[indices]
        positions = self.positions[indices]
        slots, positions = slots[positions >= 0], positions[positions >= 0]
        step = max(1, BLOCK // writer.image_bytes)
        for start, stop in _in_a_row(slots):
            for first in range(start, stop, step):
                part = positions[first : min(first + step, stop)]
                writer.write(int(slots[first]), self.old.pixels[part].tobytes())

    def _tasks(self) -> Iterator[Task]:
        """For what is to do, files first."""
        embedded: dict[int, int] = {}
        files, root = self.manifest.files, os.fspath(self.manifest.root)
        for slot in self.todo.tolist():
            row = int(self.rows[slot])
            if file := files[row]:
                yield Task(slot, _path(root, file), known=self._known_content(slot))
            else:
                embedded[row] = slot
        for row, data in read_rows(self.manifest, list(embedded)):
            yield Task(embedded[row], data=data, known=self._known_content(embedded[row]))

    def _known_content(self, slot: int) -> bytes:
        known = self.known[slot]
        return b"" if self.old is None or known < 0 else self.old.sha256[known].tobytes()

    def _take(self, writer: Writer, outcomes: Outcomes) -> None:
        slots, records, new = outcomes.slots, outcomes.records, self.new
        state = records["state"]
        decoded = slots[state == DECODED]
        for start, stop in _in_a_row(decoded):
            size = writer.image_bytes
            writer.write(int(decoded[start]), memoryview(outcomes.pixels)[start * size : stop * size])
        new.traits[slots] = records["traits"]
        same = slots[state == KNOWN]  # touched, moved or rewritten, but the same bytes
        if len(same):
            self._copy(writer, same, self.known[same])
        new.stat[slots], new.sha256[slots] = records["stat"], records["sha256"]
        quiet = records["stat"][:, 2] < writer.clock - SETTLING_NS  # an embedded image has 0 there
        new.settled[slots] = quiet & records["sha256"].any(axis=1)
        for slot, failure in zip(slots[state == FAILED].tolist(), outcomes.failures, strict=True):
            new.failure[slot] = self.failures.setdefault(failure, len(self.failures))
            new.settled[slot] &= not failure[1].startswith(PASSING)


def batches_of(tasks: Iterator[Task], per_batch: int) -> Iterator[list[Task]]:
    """Tasks a few at a time: fewer than `per_batch` where they hold many bytes."""
    batch: list[Task] = []
    held = 0
    for task in tasks:
        batch.append(task)
        held += len(task.data or b"")
        if len(batch) == per_batch or held > BATCH_BYTES:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


def _in_a_row(slots: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Start and stop within `slots` (n,), ascending, of each run without gaps."""
    edges = np.flatnonzero(np.diff(slots) != 1) + 1
    yield from itertools.pairwise([0, *edges.tolist(), len(slots)] if len(slots) else ())


def read_rows(manifest: Manifest, rows: Sequence[int]) -> Iterator[tuple[int, bytes | None]]:
    """The bytes of images embedded in a Parquet manifest, by ascending row."""
    if rows:
        from labelscrub.data.parquet import (
            read_embedded,
        )  # pyarrow is slow to load, and workers never need it

        yield from read_embedded(manifest, sorted(rows))
