"""Which suspects go: what `labelscrub prune` reads from a report, narrows down, and refuses to work on.

R rows listed by the source, U of them used. A report is read once the run directory has checked its hash.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelscrub.errors import DataError, UsageError
from labelscrub.records import Manifest, Skipped

_LISTED = ["row", "path", "status", "reason", "same_as", "given_label"]
_FOUND = ["suggested_label", "is_suspect", "score", "rank", "conflict", "sha256"]
LARGE_SHARE = 0.5  # of a class: taking more of its images needs a yes


@dataclass(frozen=True, eq=False)
class SuspectTable:
    """The columns of report.parquet that pruning needs, one entry a listed row, in source order."""

    row: NDArray[np.int64]
    """(R,) 0, 1, 2, ..."""
    path: Sequence[str]
    """(R,) as the report shows it: bytes that aren't UTF-8 are written \\xe9."""
    used: NDArray[np.bool_]
    """(R,) whether the image was judged; what follows says something only there."""
    labels: tuple[str, ...]
    """Names that `given` and `suggested` count in."""
    given: NDArray[np.int32]
    """(R,) index into `labels`, -1 for none; also where a row is not used."""
    suggested: NDArray[np.int32]
    is_suspect: NDArray[np.bool_]
    score: NDArray[np.float64]
    """(R,) in 0..1, NaN where not used."""
    rank: NDArray[np.int64]
    """(R,) from 1; 0 where not used."""
    conflict: NDArray[np.int64]
    """(R,) group of same-bytes images with different labels, from 1; 0 is none."""
    sha256: NDArray[np.uint8]
    """(U, 32) content of each used image."""
    skipped: tuple[Skipped, ...]
    """The rows not used, and why."""


def read_report(path: Path) -> SuspectTable:
    """The table of a finished run's report.parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise UsageError(f"there is no report in {path.parent}", "run `labelscrub detect` first")
    try:
        return _suspect_table(pq.read_table(path, columns=_LISTED + _FOUND, page_checksum_verification=True))
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        cause = f"{path} is damaged: {' '.join(str(error).split())[:200]}"
        raise DataError(cause, "run the same detect command again: it writes the report anew") from error


def _suspect_table(table: Any) -> SuspectTable:
    import pyarrow as pa
    import pyarrow.compute as pc

    names = pc.unique(
        pa.chunked_array([*table["given_label"].chunks, *table["suggested_label"].chunks], pa.string())
    )
    names = names.drop_null()

    def numbers(name: str, missing: float) -> NDArray[Any]:
        return np.asarray(pc.fill_null(table[name], missing))

    def codes(name: str) -> NDArray[np.int32]:
        return np.asarray(pc.fill_null(pc.index_in(table[name], names), -1), np.int32)

    used = pc.equal(table["status"], "used")
    unused = table.filter(pc.invert(used)).select(_LISTED).to_pylist()
    rows = table["row"].to_numpy()
    if not np.array_equal(rows, np.arange(len(rows))):
        raise ValueError("rows are missing or not in order")
    return SuspectTable(
        row=rows,
        path=table["path"].to_pylist(),
        used=used.to_numpy(),
        labels=tuple(names.to_pylist()),
        given=codes("given_label"),
        suggested=codes("suggested_label"),
        is_suspect=numbers("is_suspect", False).astype(np.bool_),
        score=numbers("score", math.nan),
        rank=numbers("rank", 0),
        conflict=numbers("conflict", 0),
        sha256=_digests(table["sha256"].filter(used)),
        skipped=tuple(
            Skipped(
                u["row"],
                u["path"],
                u["status"],
                u["reason"] or "",
                -1 if u["same_as"] is None else u["same_as"],
            )
            for u in unused
        ),
    )


def _digests(column: Any) -> NDArray[np.uint8]:
    """(U, 32) from a column of U texts of 64 hexadecimal digits, a part at a time."""
    step = 1 << 18
    parts = [
        np.frombuffer(bytes.fromhex("".join(column.slice(start, step).to_pylist())), np.uint8).reshape(-1, 32)
        for start in range(0, len(column), step)
    ]
    return np.concatenate(parts) if parts else np.zeros((0, 32), np.uint8)


def select(
    table: SuspectTable,
    *,
    min_score: float | None = None,
    max_per_class: int | None = None,
    top: int | None = None,
) -> NDArray[np.bool_]:
    """(R,) the suspects to drop: all of them, or narrowed down one after the other.

    First to those of at least `min_score`; then to the `max_per_class` best ranked of each given label; then
    to the `top` best ranked.
    """
    if min_score is not None and not 0 <= min_score <= 1:
        raise UsageError(f"--min-score must be in 0..1, not {min_score}")
    for option, value in (("--max-per-class", max_per_class), ("--top", top)):
        if value is not None and value < 0:
            raise UsageError(f"{option} must be at least 0, not {value}")
    wanted = table.used & table.is_suspect
    if min_score is not None:
        wanted &= table.score >= min_score
    rows = np.flatnonzero(wanted)
    rows = rows[np.argsort(table.rank[rows], kind="stable")]
    if max_per_class is not None:
        rows = rows[_place_in_class(table.given[rows]) < max_per_class]
    chosen = np.zeros(len(table.row), np.bool_)
    chosen[rows[:top]] = True
    return chosen


def _place_in_class(
    given: NDArray[np.int32],  # (M,)
) -> NDArray[np.int64]:
    """(M,) how many entries before each have the same label."""
    order = np.argsort(given, kind="stable")
    counts = np.bincount(given) if len(given) else np.zeros(0, np.int64)
    first = np.cumsum(counts) - counts  # where each label begins in `order`
    place = np.empty(len(given), np.int64)
    place[order] = np.arange(len(given)) - first[given[order]]
    return place


def needs_confirmation(
    table: SuspectTable,
    chosen: NDArray[np.bool_],  # (R,)
) -> str | None:
    """A sentence where the chosen rows, removed or relabelled, are over half of a class; else None."""
    classes = len(table.labels)
    before = np.bincount(table.given[table.used], minlength=classes)
    gone = np.bincount(table.given[chosen], minlength=classes)
    # Not only whole classes: confident learning always leaves a few images of each
    if len(shrunk := np.flatnonzero(gone > LARGE_SHARE * before)):
        shown = ", ".join(f"'{table.labels[k]}' ({gone[k]:,} of {before[k]:,})" for k in shrunk[:3])
        more = f" and {len(shrunk) - 3} more" if len(shrunk) > 3 else ""
        return f"this takes most images out of {'class' if len(shrunk) == 1 else 'classes'} {shown}{more}"
    return None


def changed_rows(
    manifest: Manifest,
    table: SuspectTable,
    fresh: NDArray[np.uint8]
    | None,  # (U, 32) digests, as of now, of the rows that the report used; 0 is gone
) -> list[tuple[int, str, str]]:
    """(row, path, "changed" | "gone" | "new") of what is not as the run saw it; a "new" row is today's row.

    Without `fresh` only paths and labels are compared: do that first, for where these differ the report's
    rows are not the manifest's, and there is nothing to take digests of.
    """
    paths = [as_reported(path) for path in manifest.paths]
    if paths != list(table.path):
        return _other_paths(list(table.path), paths)
    place = {as_reported(name): index for index, name in enumerate(manifest.classes)}
    label_now = np.array([*(place.get(name, -2) for name in table.labels), -1])[table.given]
    changed = dict.fromkeys(np.flatnonzero(label_now != manifest.labels).tolist(), "changed")
    still_skipped = {skip.row for skip in manifest.skipped}
    appeared = [s.row for s in table.skipped if s.kind == "missing" and s.row not in still_skipped]
    changed |= dict.fromkeys(appeared, "new")
    if fresh is not None:
        rows = table.row[table.used]
        for at in np.flatnonzero((fresh != table.sha256).any(axis=1)):
            changed[int(rows[at])] = "changed" if fresh[at].any() else "gone"
    return [(row, paths[row], changed[row]) for row in sorted(changed)]


def _other_paths(before: list[str], now: list[str]) -> list[tuple[int, str, str]]:
    """What went and what came; where only the order changed, the rows that hold another path now."""
    result = []
    for here, there, what in ((before, now, "gone"), (now, before, "new")):
        surplus = Counter(here) - Counter(there)
        for row, path in enumerate(here):
            if surplus[path] > 0:
                surplus[path] -= 1
                result.append((row, path, what))
    return result or [
        (row, path, "changed") for row, (path, old) in enumerate(zip(now, before, strict=True)) if path != old
    ]


def as_reported(path: str) -> str:
    """Paths as the report has them, which is UTF-8: other bytes and lone surrogates are written out."""
    try:
        path.encode()
        return path
    except UnicodeEncodeError:
        return "".join(map(_written_out, path))


def _written_out(char: str) -> str:
    if "\udc80" <= char <= "\udcff":
        return f"\\x{ord(char) - 0xDC00:02x}"
    return f"\\u{ord(char):04x}" if "\ud800" <= char <= "\udfff" else char
