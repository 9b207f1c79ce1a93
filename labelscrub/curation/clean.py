"""The cleaned manifest: the source's own bytes without the rows that go, and with the labels that were wrong.

A text table is copied with the dropped rows' spans cut out and the relabelled rows' spans edited, so whatever
else is in it stays as it is: byte-order mark, quoting, line endings, a last line without one. Memory does not
grow with the source's bytes.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from labelscrub.curation.relabel_text import row_editor
from labelscrub.errors import DataError, UsageError
from labelscrub.records import Manifest, Skipped
from labelscrub.store import sha256_file, writing

_BLOCK = 1 << 20  # bytes of a table in memory at a time
_ROWS = 1 << 16
_BOM = b"\xef\xbb\xbf"


def clean_suffix(manifest: Manifest) -> str:
    """Extension of the cleaned manifest: the source's own format; "csv" for a folder, see `is_listing`."""
    return "csv" if is_listing(manifest) else manifest.kind


def is_listing(manifest: Manifest) -> bool:
    """Whether the cleaned manifest is a plain "path,label" table, with paths relative to the manifest's root.

    So where there is no table (a folder, labels alone), and for tables in several folders (train/metadata.csv
    and test/metadata.csv): each has paths relative to its own place, so their rows mean nothing in one file.
    """
    folders = {table.parent for table in manifest.tables}
    return not folders or (len(folders) > 1 and not manifest.image_column)


def kept_rows(manifest: Manifest, drop_rows: set[int], skipped: Sequence[Skipped]) -> NDArray[np.bool_]:
    """(R,) rows of the cleaned manifest: usable ones that aren't dropped.

    A second listing of an image under the same label goes or stays with the first; under another it goes.
    """
    keep = np.ones(len(manifest), np.bool_)
    wrong = [row for row in drop_rows if not 0 <= row < len(manifest)]
    if wrong:
        cause = f"the report has a row {wrong[0]}, but {manifest.source} lists {len(manifest):,} rows"
        raise DataError(cause, "run detect again, then prune")
    keep[list(drop_rows)] = False
    keep[[skip.row for skip in skipped]] = False
    labels = manifest.labels
    for skip in skipped:
        if skip.same_as >= 0 and labels[skip.row] == labels[skip.same_as] >= 0 and skip.row not in drop_rows:
            keep[skip.row] = keep[skip.same_as]
    return keep


def new_labels(
    manifest: Manifest,
    labels: dict[int, int],  # row -> its new class
    skipped: Sequence[Skipped],
) -> NDArray[np.int32]:
    """(R,) new class of each row, -1: as it is. A second listing with the same label follows the first."""
    new = np.full(len(manifest), -1, np.int32)
    new[list(labels)] = list(labels.values())
    old = manifest.labels
    for skip in skipped:
        if skip.same_as >= 0 and old[skip.row] == old[skip.same_as] and skip.row not in labels:
            new[skip.row] = new[skip.same_as]
    new[new == old] = -1
    return new


def write_clean(
    manifest: Manifest,
    keep: NDArray[np.bool_],  # (R,)
    target: Path,
    labels: NDArray[np.int32] | None = None,  # (R,) new class of each row; -1: leave the row's label
    *,
    delimiter: str | None = None,
    overwrite: bool = False,
) -> None:
    """Write the kept rows, some with another label, to `target`, whole or not at all.

    Args:
        delimiter: of a text table, as the setting of that name.
        overwrite: `target` may exist.
    Raises:
        UsageError: `target` exists and is not to be overwritten, or is the source itself.
        DataError: a table is not what it was when it was read, tables don't fit into one file, or the label
            column can't hold a new label.
    """
    if any(target.exists() and target.samefile(table) for table in manifest.tables if table.exists()):
        raise UsageError(f"{target} is the source itself", "choose another name for the cleaned manifest")
    relabels = labels is not None and bool((labels[keep] >= 0).any())
    if labels is None or not relabels:
        labels = np.full(len(manifest), -1, np.int32)
    if relabels or (manifest.kind == "parquet" and manifest.tables):
        require_as_read(manifest)  # what is edited must be what was read
    with writing(target, overwrite=overwrite) as file:
        if is_listing(manifest):
            _write_listing(manifest, keep, labels, file)
        elif manifest.kind != "parquet":
            _write_text(manifest, keep, labels, file, delimiter)
        elif relabels:
            from labelscrub.curation import relabel_parquet

            relabel_parquet.write_parquet(manifest, labels, file, keep=keep)
        else:
            from labelscrub.curation.clean_parquet import write_parquet

            write_parquet(manifest, keep, file)


def require_as_read(manifest: Manifest) -> None:
    """DataError where a table has other bytes than when it was read."""
    for table, digest in zip(manifest.tables, manifest.table_sha256, strict=True):
        try:
            if sha256_file(table) != digest:
                raise changed_table(table)
        except FileNotFoundError:
            raise changed_table(table, "is gone") from None


def rows_of_table(manifest: Manifest, table: int) -> slice:
    """The manifest rows of one table; tables follow each other in the manifest."""
    assert manifest.table_of is not None
    first, end = np.searchsorted(manifest.table_of, [table, table + 1])
    return slice(int(first), int(end))


def changed_table(table: Path, how: str = "changed") -> DataError:
    """The error for a table that is not the one the run saw."""
    return DataError(f"{table} {how} since it was read", "run detect again on the data as it is now")


def _write_listing(
    manifest: Manifest, keep: NDArray[np.bool_], labels: NDArray[np.int32], file: BinaryIO
) -> None:
    names = [*map(_cell, manifest.classes), ""]  # the last one is found by label -1
    paths = manifest.files if manifest.tables else manifest.paths
    codes = np.where(labels >= 0, labels, manifest.labels)
    first = {skip.row: skip.same_as for skip in manifest.skipped if skip.same_as >= 0}  # it has the file
    file.write(b"path,label\n")
    for start in range(0, len(manifest), _ROWS):
        rows = (start + np.flatnonzero(keep[start : start + _ROWS])).tolist()
        lines = (f"{_cell(paths[first.get(row, row)])},{names[codes[row]]}\n" for row in rows)
        file.write(
            "".join(lines).encode("utf-8", "surrogateescape")
        )  # names that aren't UTF-8 keep their bytes


def _cell(text: str) -> str:
    """A CSV cell, quoted if need be. The csv module would leave a bare CR unquoted before Python 3.13."""
    return '"' + text.replace('"', '""') + '"' if re.search('[,"\r\n]|^$|^ | $', text) else text


def _write_text(
    manifest: Manifest,
    keep: NDArray[np.bool_],  # (R,)
    labels: NDArray[np.int32],  # (R,)
    file: BinaryIO,
    delimiter: str | None,
) -> None:
    assert manifest.spans is not None
    header, ending, last = b"", b"", b""
    for number, table in enumerate(manifest.tables):
        rows = rows_of_table(manifest, number)
        spans = manifest.spans[rows]
        cuts = spans[~keep[rows]]
        body = int(spans[0, 0]) if len(spans) else 0
        try:
            with table.open("rb") as source, table.open("rb") as again:
                head = source.read(body)
                if number == 0:
                    header, ending = head, _line_ending(head + source.read(_BLOCK))
                else:
                    _require_same_header(head, header, table, manifest.tables[0])
                    cuts = np.concatenate([[(0, body)], cuts])
                source.seek(0)
                glue = ending if last and last not in b"\r\n" else b""
                edited = np.flatnonzero(keep[rows] & (labels[rows] >= 0))
                edits = _edits(_joined(cuts), spans[edited], labels[rows][edited])
                edit = _edit_of(manifest, head, delimiter, again) if len(edited) else _removed
                digest, tail = _copy_edited(source, edits, edit, file, glue)
        except FileNotFoundError:
            raise changed_table(table, "is gone") from None
        if digest != manifest.table_sha256[number]:
            raise changed_table(table)
        last = tail or last


Edit = Callable[[int, int, int], bytes]
"""(begin, end, new class or -1) -> what stands in the place of these bytes."""


def _removed(begin: int, end: int, label: int) -> bytes:
    return b""


def _edit_of(manifest: Manifest, head: bytes, delimiter: str | None, source: BinaryIO) -> Edit:
    """How a row of this table gets another label; `source` is read at the row's place."""
    new_row = row_editor(manifest, head, delimiter)

    def edit(begin: int, end: int, label: int) -> bytes:
        if label < 0:
            return b""
        source.seek(begin)
        return new_row(source.read(end - begin), manifest.classes[label])

    return edit


def _line_ending(text: bytes) -> bytes:
    found = re.search(rb"\r\n|\n|\r", text)
    return found.group() if found else b"\n"


def _require_same_header(head: bytes, header: bytes, table: Path, first: Path) -> None:
    if head.removeprefix(_BOM).rstrip(b"\r\n") != header.removeprefix(_BOM).rstrip(b"\r\n"):
        cause = f"{table} has another header than {first}, so their rows don't fit into one file"
        raise DataError(cause, "clean them one at a time")


def _joined(
    cuts: NDArray[np.int64],  # (M, 2) byte start and end, ascending
) -> NDArray[np.int64]:
    """Cuts that touch, as one."""
    begins = np.ones(len(cuts), np.bool_)
    begins[1:] = cuts[1:, 0] > cuts[:-1, 1]
    ends = np.roll(begins, -1)  # a cut is the last of its group where the next one begins another
    return np.stack([cuts[begins, 0], cuts[ends, 1]], axis=1)


def _edits(
    cuts: NDArray[np.int64],  # (M, 2) byte start and end of what goes
    spans: NDArray[np.int64],  # (E, 2) of rows that get another label
    labels: NDArray[np.int32],  # (E,) their new class
) -> NDArray[np.int64]:
    """(M + E, 3) start, end and new class or -1, ascending; none overlaps another."""
    gone = np.column_stack([cuts, np.full(len(cuts), -1, np.int64)])
    edits = np.concatenate([gone, np.column_stack([spans, labels])]).astype(np.int64)
    return edits[np.argsort(edits[:, 0], kind="stable")]


def _copy_edited(
    source: BinaryIO,
    edits: NDArray[np.int64],  # (M, 3) byte start and end, ascending, apart; new class or -1
    edit: Edit,
    file: BinaryIO,
    glue: bytes,
) -> tuple[str, bytes]:
    """Copy all but the edited spans and what `edit` puts there, `glue` before it.

    Gives the source's digest and the last byte written.
    """
    digest, last, position = hashlib.sha256(), b"", 0
    places = _places(edits)
    begin, end, label = next(places)

    def write(piece: bytes) -> None:
        nonlocal glue, last
        if piece:
            file.write(glue + piece)
            glue, last = b"", piece[-1:]

    while block := source.read(_BLOCK):
        digest.update(block)
        start, stop = position, position + len(block)
        while start < stop:
            if start < begin:
                write(block[start - position : min(begin, stop) - position])
                start = min(begin, stop)
            else:
                start = min(end, stop)
                if start == end:
                    write(edit(begin, end, label))
                    begin, end, label = next(places)
        position = stop
    return digest.hexdigest(), last


def _places(edits: NDArray[np.int64]) -> Iterator[tuple[int, int, int]]:
    """Edit by edit, as Python numbers; the last one is never reached."""
    for start in range(0, len(edits), _ROWS):
        yield from map(tuple, edits[start : start + _ROWS].tolist())
    yield sys.maxsize, sys.maxsize, -1
