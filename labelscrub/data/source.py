"""One door for all sources: look at what is there, have it read, and look up labels and files."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from labelscrub.config import SourceSettings, flag, path_or_none
from labelscrub.data.filenames import extension
from labelscrub.data.folder import list_folder, read_folder
from labelscrub.data.huggingface import metadata_table, metadata_tables, parquet_shards, without_labels
from labelscrub.data.labels import class_indices, similar_names
from labelscrub.data.locate import locate
from labelscrub.data.pace import Pace
from labelscrub.data.parquet_rows import read_parquet_table
from labelscrub.data.rows import Rows
from labelscrub.data.splits import all_splits, choose_splits, reject_split_classes
from labelscrub.data.tables import read_text_table
from labelscrub.errors import EnvironmentProblem, UsageError
from labelscrub.records import Manifest, Progress, SourceKind, silent

KINDS: dict[str, SourceKind] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
_PACKED = (".gz", ".bz2", ".xz", ".zst", ".zip", ".tar", ".tgz", ".7z")
_SOURCES = "a source is an image folder or a .csv, .tsv, .jsonl or .parquet manifest"
_TABLE_SETTINGS = ("path_column", "label_column", "group_column", "image_root", "delimiter")


def read_source(source: Path, settings: SourceSettings, progress: Progress = silent) -> Manifest:
    """List every image of a folder or manifest, with its label and file. Opens no image."""
    pace = Pace(progress)
    try:
        mode = os.stat(source).st_mode if str(source) != "-" else 0  # noqa: PTH116  ("-" is no path)
        if stat.S_ISDIR(mode):
            return _read_directory(source, settings, pace)
    except PermissionError as error:
        raise EnvironmentProblem(f"{source}: permission denied", "make it readable") from error
    except (OSError, ValueError) as error:
        reason = "no such file or folder" if isinstance(error, FileNotFoundError) else str(error)
        raise UsageError(f"{source}: {reason}", _SOURCES) from error
    if not stat.S_ISREG(mode):
        raise UsageError(
            f"{source} is not a regular file", "write the manifest to a file first: cat > labels.csv"
        )
    suffix = extension(source.name)
    if suffix in _PACKED:
        raise UsageError(f"{source} is compressed", "unpack it first, and give what comes out as the source")
    if suffix not in KINDS:
        raise UsageError(f"{source} is neither a folder nor a manifest", _SOURCES)
    if settings.split is not None:
        raise UsageError(f"--split has no effect on {source}, which is one table", "leave it out")
    root = path_or_none(settings.image_root) or source.parent
    if not root.is_dir():
        raise UsageError(
            f"--image-root {root} is not a folder", "name the folder that the paths are relative to"
        )
    return _read_tables(source, root, KINDS[suffix], [(source, "")], settings, pace)


def _read_directory(source: Path, settings: SourceSettings, pace: Pace) -> Manifest:
    """A folder of Parquet files, of images with a metadata table, or of class folders; with splits or not."""
    listing = list_folder(str(source), pace)
    if extension(source.name) in KINDS and extension(source.name) != ".parquet":
        raise UsageError(f"{source} is a folder, not a manifest", "rename it if it holds images")
    shards = parquet_shards(source, listing, settings)
    if shards:
        tables, notes = shards
        return _read_tables(source, source, "parquet", tables, settings, pace, notes)

    splits = []
    if all_splits(listing.folders):
        top = metadata_table(listing, source)
        if top is None:
            splits = choose_splits(listing.folders, settings.split, source)
        elif settings.split not in (None, "all"):
            raise UsageError(
                f"--split has no effect: {top[1]} lists all splits",
                "leave it out, or give a table with the rows of that split as the source",
            )
    elif settings.split is not None:
        raise UsageError(f"{source} has no split folders, so --split has no effect", "leave it out")
    metadata = metadata_tables(source, listing, splits)
    if metadata:
        kind, tables = metadata
        try:
            return _read_tables(source, source, kind, tables, settings, pace)
        except UsageError as error:
            raise without_labels(error, tables[0][0]) from error
    for name in _TABLE_SETTINGS:
        if getattr(settings, name) is not None:
            raise UsageError(
                f"{flag(name)} has no effect on an image folder", f"leave it out; {source} has no table"
            )
    if not splits and settings.classes is None:
        reject_split_classes(listing.folders, source)
    return read_folder(source, [f"{name}/" for name in splits] or [""], settings, pace)


def _read_tables(
    source: Path,
    root: Path,
    kind: SourceKind,
    tables: list[tuple[Path, str]],
    settings: SourceSettings,
    pace: Pace,
    notes: list[str] | None = None,
) -> Manifest:
    """The rows of these tables, each with its folder relative to `root`, one after the other."""
    rows = Rows(kind, pace)
    read = read_parquet_table if kind == "parquet" else read_text_table
    for table, prefix in tables:
        read(table, prefix, settings, rows)
    classes, labels = class_indices(rows.labels, settings, rows.class_names, str(source))
    files, skipped, found_notes = locate(rows, labels, classes, root, settings)
    pace.finish(len(rows))
    assert rows.columns is not None  # every table has set them
    return Manifest(
        source=source,
        kind=kind,
        root=root,
        classes=classes,
        paths=rows.paths,
        files=files,
        labels=labels,
        skipped=tuple(skipped),
        notes=(*(notes or ()), *found_notes, *_group_notes(rows), *similar_names(classes)),
        groups=rows.groups,
        tables=tuple(rows.tables),
        table_of=rows.table_of(),
        spans=rows.spans(),
        table_sha256=tuple(rows.sha256),
        path_column=rows.columns.path,
        label_column=rows.columns.label,
        image_column=rows.image_column,
    )


def _group_notes(rows: Rows) -> list[str]:
    empty = sum(not group for group in rows.groups or ())
    return [f"rows without a group, kept in one fold together: {empty:,}"] if empty else []
