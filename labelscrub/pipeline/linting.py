"""`lint`: what is wrong with a source before anything is trained on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from labelscrub.config import SourceSettings, nearest
from labelscrub.errors import DataError, UsageError
from labelscrub.processes import cores
from labelscrub.records import Progress, silent

if TYPE_CHECKING:
    from labelscrub.data.verify import Verified
    from labelscrub.records import Manifest, Skipped

KINDS = {
    "missing": "missing",
    "unreadable": "unreadable",
    "conflict": "conflicting",
    "no-label": "without label",
    "repeated": "listed twice",
    "skipped": "skipped",
}
"""Each kind of problem, and how a total names the rows that have it; a row has one at most."""
FAIL_ON = ("missing", "unreadable", "conflict")
_NO_LABEL = "no label"


@dataclass(frozen=True)
class Problem:
    """One row that is not as it should be."""

    kind: str
    """One of KINDS."""
    row: int
    path: str
    """As the source writes it."""
    reason: str
    """A few words a person understands."""
    table: str
    """The manifest that lists the row; "" for an image folder."""
    line: int
    """In a text manifest, from 1; 0 elsewhere."""
    column: int
    """Of the label's cell in that line, from 1; 0 where it is not known."""


@dataclass(frozen=True)
class Lint:
    """What `lint` found: listed = fine + the rows of each kind."""

    source: str
    kind: str
    """Format of the source: folder, csv, tsv, jsonl or parquet."""
    listed: int
    fine: int
    problems: tuple[Problem, ...]
    """By row."""
    fail_on: tuple[str, ...]
    """The kinds that fail."""
    notes: tuple[str, ...]

    @property
    def counts(self) -> dict[str, int]:
        """Rows of each kind of problem, also of those that none has."""
        found = Counter(problem.kind for problem in self.problems)
        return {kind: found[kind] for kind in KINDS}

    @property
    def failures(self) -> int:
        """Problems of the kinds that fail."""
        return sum(problem.kind in self.fail_on for problem in self.problems)

    @property
    def passed(self) -> bool:
        return not self.failures


def lint(
    source: str | Path,
    *,
    fail_on: Collection[str] = FAIL_ON,
    workers: int | None = None,
    settings: SourceSettings | None = None,
    progress: Progress = silent,
) -> Lint:
    """Read a source, decode every image and list what is wrong; what `labelscrub lint` does. Writes nothing.

    Args:
        source: image folder or manifest.
        fail_on: kinds of problems, of KINDS, that make it fail; the others are listed too.
        workers: decoding processes; 0 decodes in this one; default one a core.
        settings: how to read the source. Its largest shares of missing and unreadable images don't count.
        progress: called with an Event now and then.
    Raises:
        UsageError, EnvironmentProblem: with what is wrong and what to do.
        DataError: the source can't be read, or holds nothing that could be judged.
    """
    from labelscrub import data
    from labelscrub.data.verify import verify_images

    for kind in fail_on:
        if kind not in KINDS:
            raise UsageError(f"there is no kind of problem '{kind}'", nearest(kind, KINDS))
    if not fail_on:
        raise UsageError(
            "no kind of problem to fail on: everything would pass", f"choose of: {', '.join(KINDS)}"
        )
    if not str(source):  # Path("") would be the working directory
        raise UsageError("the source's name is empty", "is the variable set that it comes from?")
    settings = settings or SourceSettings()
    manifest = data.read_source(Path(source), settings, progress)
    verified = verify_images(
        manifest, settings, workers=cores() if workers is None else workers, progress=progress
    )
    found = {item.row: _of(item) for item in (*manifest.skipped, *verified.skipped)}
    found.update(_conflicts(manifest, verified))
    problems = _placed(manifest, found, settings.delimiter)
    result = Lint(
        source=str(source),
        kind=manifest.kind,
        listed=len(manifest),
        fine=len(manifest) - len(problems),
        problems=problems,
        fail_on=tuple(kind for kind in KINDS if kind in fail_on),
        notes=(*manifest.notes, *_astray(manifest, problems)),
    )
    if result.passed and not result.fine:
        reasons = Counter(problem.reason for problem in problems).most_common(3)
        why = ": " + ", ".join(f"{count:,} {reason}" for reason, count in reasons) if reasons else ""
        raise DataError(
            f"none of the {len(manifest):,} rows of {source} has an image and a label{why}",
            "nothing can be judged: give a source with labelled images",
        )
    return result


def _of(item: Skipped) -> tuple[str, str]:
    """Kind and reason of a row that `detect` would skip."""
    if item.kind != "skipped":
        return item.kind, item.reason
    if item.same_as >= 0:
        return "repeated", item.reason
    return "no-label" if item.reason == _NO_LABEL else "skipped", item.reason


def _conflicts(manifest: Manifest, verified: Verified) -> Iterator[tuple[int, tuple[str, str]]]:
    """Rows whose image is also listed under another label, as the same file or as a copy of its bytes."""
    import numpy as np

    from labelscrub.data.labels import shorten
    from labelscrub.detection.duplicates import conflicts, members_of

    place = {row: i for i, row in enumerate(verified.rows.tolist())}
    again = [item for item in manifest.skipped if item.same_as in place]
    rows = np.array([*verified.rows.tolist(), *(item.row for item in again)], np.int64)
    sha256 = np.concatenate(
        [verified.sha256, verified.sha256[[place[item.same_as] for item in again]].reshape(-1, 32)]
    )
    for members in members_of(conflicts(sha256, manifest.labels[rows])):
        group = sorted(rows[members].tolist())
        first, label = group[0], manifest.labels[group[0]]
        other = next(row for row in group if manifest.labels[row] != label)
        for row in group:
            twin = other if manifest.labels[row] == label else first
            yield (
                row,
                (
                    "conflict",
                    f"labelled {shorten(manifest.classes[manifest.labels[row]])}, but "
                    f"{_name(manifest, twin)} is the same image labelled "
                    f"{shorten(manifest.classes[manifest.labels[twin]])}",
                ),
            )


def _astray(manifest: Manifest, problems: Iterable[Problem]) -> Iterator[str]:
    """A note where so much is missing that the files are likely elsewhere."""
    missing = sum(problem.kind == "missing" for problem in problems)
    if manifest.tables and 2 * missing > len(manifest):
        yield f"paths are looked for in {manifest.root}: set --image-root if that is wrong"


def _name(manifest: Manifest, row: int) -> str:
    return f"row {row}" if manifest.tables else manifest.paths[row]


def _placed(
    manifest: Manifest, found: dict[int, tuple[str, str]], delimiter: str | None
) -> tuple[Problem, ...]:
    """The problems by row, each with where it stands in its manifest."""
    import numpy as np

    from labelscrub import curation

    rows = np.array(sorted(found), np.int64)
    places = curation.locate(manifest, rows, delimiter).tolist()
    problems = []
    for row, (line, column) in zip(rows.tolist(), places, strict=True):
        kind, reason = found[row]
        table = "" if manifest.table_of is None else str(manifest.tables[manifest.table_of[row]])
        problems.append(Problem(kind, row, manifest.paths[row], reason, table, line, column))
    return tuple(problems)
