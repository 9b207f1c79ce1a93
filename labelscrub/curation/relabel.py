"""The source's manifest with other labels in it: every other cell, and the order of rows, stay as they are.

A text table keeps its bytes but for the labels that change, so its byte-order mark, quoting, line endings
and blank lines are as they were. Memory does not grow with the source's bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from labelscrub.curation.clean import clean_suffix, is_listing, require_as_read
from labelscrub.curation.relabel_text import cell, column_exists, write_text
from labelscrub.errors import UsageError
from labelscrub.records import Manifest
from labelscrub.store import sha256_file, writing

_ROWS = 1 << 14  # rows in memory at a time
_FORMATS = {
    "csv": ("CSV", ".csv"),
    "tsv": ("TSV", ".tsv"),
    "jsonl": ("JSON Lines", ".jsonl", ".ndjson"),
    "parquet": ("Parquet", ".parquet"),
}
"""What `clean_suffix` says -> its name, and the endings of a file's name that mean it."""


def write_relabelled(
    manifest: Manifest,
    labels: NDArray[np.int32],  # (R,) new class of each row; -1: leave the row's label
    target: Path,
    true_column: str | None = None,
    *,
    delimiter: str | None = None,
) -> None:
    """Write the source's rows with these labels to `target`, whole or not at all, in the source's own format.

    A folder becomes a "path,label" table of its usable images; see `image_root`. A file that is there already
    and has the very bytes that would be written is left as it is.

    Args:
        true_column: the labels as they were go into a new column of this name, right behind the labels.
        delimiter: of a text table, as the setting of that name.
    Raises:
        UsageError: `target` exists, is the source itself or of another format; the column exists already; or
            tables in several folders, whose rows mean nothing in one file.
        DataError: a table is not what it was when it was read, or its column can't hold a new label.
    """
    if manifest.tables and is_listing(manifest):
        raise UsageError(
            f"{manifest.source} has a manifest in each of several folders, such as {manifest.tables[0]}",
            "give one of them as the source, or choose its split with --split NAME",
        )
    kind, *endings = _FORMATS[clean_suffix(manifest)]
    if target.is_dir() or target.suffix.lower() not in endings:
        what = "is a folder" if target.is_dir() else f"has another ending than {kind}"
        fix = f"let --out end in {' or '.join(endings)}"
        raise UsageError(f"{target} {what}; the manifest of this source is {kind}", fix)
    if any(target.exists() and target.samefile(table) for table in manifest.tables if table.exists()):
        raise UsageError(f"{target} is the source itself", "choose another name with --out")
    if true_column is not None and not true_column:
        raise UsageError("the new column's name is empty", "name it with --true-column")
    require_as_read(manifest)
    with _new_or_same(target) as file:
        if is_listing(manifest):
            _write_listing(manifest, labels, file, true_column, prefix_of(manifest, target) or "")
        elif manifest.kind == "parquet":
            from labelscrub.curation.relabel_parquet import write_parquet

            write_parquet(manifest, labels, file, true_column)
        else:
            write_text(manifest, labels, file, true_column, delimiter)


def image_root(manifest: Manifest, target: Path) -> Path | None:
    """What `--image-root` must be for the paths in `target`; None where they are relative to its folder.

    The folder of `target` must exist.
    """
    if manifest.kind == "folder":
        return manifest.root if prefix_of(manifest, target) is None else None
    if not manifest.tables or (manifest.image_column and not any(manifest.files)):
        return None  # labels alone, or all images embedded
    metadata = manifest.source.is_dir() and manifest.tables and manifest.tables[0].stem == "metadata"
    base = manifest.tables[0].parent if metadata else manifest.root
    return None if base.samefile(target.parent) else base


def prefix_of(manifest: Manifest, target: Path) -> str | None:
    """A folder as seen from beside `target`, with '/' ("" for the same place); None where it is elsewhere."""
    if manifest.kind != "folder":
        return ""
    relative = os.path.relpath(manifest.root, target.parent)
    if relative == ".." or relative.startswith("../"):
        return None
    with contextlib.suppress(OSError):  # a step up behind a symbolic link leads elsewhere than the text says
        if (target.parent / relative).samefile(manifest.root):
            return "" if relative == "." else f"{relative}/"
    return None


@contextlib.contextmanager
def _new_or_same(target: Path) -> Iterator[BinaryIO]:
    """A file that becomes `target`; where that exists, the bytes must be the same, or it is a UsageError."""
    if not target.is_file():
        with writing(target, overwrite=False) as file:
            yield file
        return
    with tempfile.TemporaryFile(dir=target.parent) as file:
        yield file
        file.seek(0)
        if hashlib.file_digest(file, "sha256").hexdigest() != sha256_file(target):
            raise UsageError(
                f"{target} exists already and holds something else; it is never overwritten",
                "choose another name with --out, or move it away",
            )


def _write_listing(
    manifest: Manifest, labels: NDArray[np.int32], file: BinaryIO, true_column: str | None, prefix: str
) -> None:
    if true_column in ("path", "label"):
        raise column_exists(true_column, "the new manifest")
    names = [cell(name, ",") for name in manifest.classes]
    skipped = {skip.row for skip in manifest.skipped}
    header = ["path", "label", *([cell(true_column, ",")] if true_column else [])]
    file.write((",".join(header) + "\n").encode())
    for start in range(0, len(manifest), _ROWS):
        lines = []
        for row, new in enumerate(labels[start : start + _ROWS].tolist(), start):
            old = int(manifest.labels[row])
            if row in skipped or old < 0:
                continue
            cells = [cell(prefix + manifest.paths[row], ","), names[old if new < 0 else new]]
            lines.append(",".join([*cells, names[old]] if true_column else cells) + "\n")
        file.write("".join(lines).encode("utf-8", "surrogateescape"))
