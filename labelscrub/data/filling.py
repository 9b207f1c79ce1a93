"""Filling a pixel store: what is unchanged comes from the old store, the rest from the images themselves."""

from __future__ import annotations

import hashlib
import json
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
from labelscrub.data.tasks import Job, Outcome, Task, stat_of
from labelscrub.data.workers import run
from labelscrub.records import Event, Manifest, Progress

STORE_VERSION = 1  # of the index and of the decoder: pixels of another version are decoded again
BATCH_IMAGES, BATCH_BYTES = 32, 1 << 21
# A file whose change time is younger than this when it is read could change again without that showing.
SETTLING_NS = 2_000_000_000
PASSING = ("decoder crashed", "took longer", "needs more memory", "changed during")  # worth another try


def store_name(manifest: Manifest, job: Job) -> str:
    """Name of the store for these images decoded this way; rows may come and go."""
    identity = [STORE_VERSION, PIL.__version__, *vars(job).values()]
    identity += [str(manifest.source.absolute()), str(manifest.root.absolute())]
    return "images-" + hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]


def image_keys(manifest: Manifest, rows: NDArray[np.int64]) -> list[str]:
    """What names each row's image: its file, or its table's content and the row in there."""
    keys = []
    for row in rows.tolist():
        key = manifest.files[row]
        if not key and manifest.table_of is not None and manifest.spans is not None:
            table = int(manifest.table_of[row])
            key = f"\0{manifest.table_sha256[table]}:{int(manifest.spans[row, 0])}"
        keys.append(key or f"\0{row}")
    return keys


def unchanged(manifest: Manifest, rows: NDArray[np.int64], keys: list[str], old: Stored) -> NDArray[np.int64]:
    """(M,) index into the old store of each row's image where that surely still holds, else -1."""
    where = {key: i for i, key in enumerate(old.keys)}
    kept = np.full(len(rows), -1, np.int64)
    for slot, (row, key) in enumerate(zip(rows.tolist(), keys, strict=True)):
        index = where.get(key, -1)
        if index < 0 or not old.settled[index]:
            continue
        if path := manifest.path_of(row):
            try:
                same = stat_of(path.stat()) == tuple(old.stat[index].tolist())
            except OSError:
                same = False
        else:
            same = bool(manifest.table_sha256)  # the key holds the table's hash
        if same:
            kept[slot] = index
    return kept


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
        self.known: dict[int, int] = {}
        self.positions = np.empty(0, np.int64)
        if self.old is not None:
            self.positions = self.old.positions()
            where = {key: i for i, key in enumerate(self.old.keys) if self.old.failure[i] < 0}
            self.known = {
                slot: where[self.keys[slot]] for slot in self.todo.tolist() if self.keys[slot] in where
            }

    def carry_out(self, cache_dir: Path, name: str, workers: int, progress: Progress) -> Stored:
        """Fill the store and put it in its place."""
        job, count = self.job, len(self.rows)
        image_bytes = job.size**2 * job.channels
        per_batch = max(1, min(BATCH_IMAGES, BATCH_BYTES // image_bytes))
        workers = min(workers, -(-len(self.todo) // per_batch))
        tell = Teller(progress, "decode", count, count - len(self.todo))
        with Writer(cache_dir, name, count, image_bytes) as writer:
            self._copy(writer, np.flatnonzero(self.kept >= 0), self.kept[self.kept >= 0])
            with closing(run(self._batches(per_batch), job, workers)) as batches:
                for outcomes in batches:
                    for outcome in outcomes:
                        self._take(writer, outcome)
                    tell(len(outcomes))
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
        for run_of in np.split(np.arange(len(slots)), np.flatnonzero(np.diff(slots) != 1) + 1):
            for first in range(0, len(run_of), step):
                part = run_of[first : first + step]
                writer.write(int(slots[part[0]]), self.old.pixels[positions[part]].tobytes())

    def _batches(self, per_batch: int) -> Iterator[list[Task]]:
        """Tasks for what is to do, files first, a few at a time."""
        batch: list[Task] = []
        held = 0
        for task in self._tasks():
            batch.append(task)
            held += len(task.data or b"")
            if len(batch) == per_batch or held > BATCH_BYTES:
                yield batch
                batch, held = [], 0
        if batch:
            yield batch

    def _tasks(self) -> Iterator[Task]:
        embedded: dict[int, int] = {}
        for slot in self.todo.tolist():
            row = int(self.rows[slot])
            if path := self.manifest.path_of(row):
                yield Task(slot, str(path), known=self._known_content(slot))
            else:
                embedded[row] = slot
        for row, data in read_rows(self.manifest, list(embedded)):
            yield Task(embedded[row], data=data, known=self._known_content(embedded[row]))

    def _known_content(self, slot: int) -> str:
        return (
            self.old.sha256[self.known[slot]].tobytes().hex()
            if self.old is not None and slot in self.known
            else ""
        )

    def _take(self, writer: Writer, outcome: Outcome) -> None:
        slot, new = outcome.slot, self.new
        if outcome.kind:
            failure = (outcome.kind, outcome.reason)
            new.failure[slot] = self.failures.setdefault(failure, len(self.failures))
        elif outcome.pixels:
            writer.write(slot, outcome.pixels)
            new.traits[slot] = outcome.traits
        else:  # touched, moved or rewritten, but the same bytes
            self._copy(writer, np.array([slot]), np.array([self.known[slot]]))
        new.stat[slot] = outcome.stat
        if outcome.sha256:
            new.sha256[slot] = np.frombuffer(bytes.fromhex(outcome.sha256), np.uint8)
        quiet = outcome.stat[2] < writer.clock - SETTLING_NS  # an embedded image has 0 there
        new.settled[slot] = bool(outcome.sha256) and quiet and not outcome.reason.startswith(PASSING)


def read_rows(manifest: Manifest, rows: Sequence[int]) -> Iterator[tuple[int, bytes | None]]:
    """The bytes of images embedded in a Parquet manifest, by ascending row."""
    if rows:
        from labelscrub.data.parquet import (
            read_embedded,
        )  # pyarrow is slow to load, and workers never need it

        yield from read_embedded(manifest, sorted(rows))
