"""Hugging Face layouts: an image folder with a metadata table, and a folder of Parquet shards."""

from __future__ import annotations

import re
from pathlib import Path

from labelscrub.config import SourceSettings
from labelscrub.data.filenames import extension
from labelscrub.data.folder import Listing, list_folder
from labelscrub.data.splits import choose_splits
from labelscrub.errors import DataError, UsageError
from labelscrub.records import SourceKind

_METADATA: dict[str, SourceKind] = {
    "metadata.csv": "csv",
    "metadata.jsonl": "jsonl",
    "metadata.parquet": "parquet",
}
_SHARD = re.compile(r"(?P<split>.+?)-(?P<number>\d{5})-of-(?P<count>\d{5})(?:-[0-9a-f]+)?\.parquet")


def metadata_table(listing: Listing, folder: Path) -> tuple[SourceKind, Path] | None:
    """The metadata table directly in a folder, if it has one."""
    found = [name for name in listing.files if name in _METADATA]
    if len(found) > 1:
        raise DataError(
            f"{folder} has {' and '.join(found)}", "keep one of them, or give one of them as the source"
        )
    return (_METADATA[found[0]], folder / found[0]) if found else None


def metadata_tables(
    source: Path, listing: Listing, splits: list[str]
) -> tuple[SourceKind, list[tuple[Path, str]]] | None:
    """The metadata tables that take the place of class folders: (kind, [(table, its folder with '/')]).

    splits: the split folders to be read, none where the source has no splits.
    """
    if top := metadata_table(listing, source):
        return top[0], [(top[1], "")]
    found = {name: metadata_table(list_folder(str(source / name)), source / name) for name in splits}
    tables = {name: table for name, table in found.items() if table}
    if not tables:
        return None
    if bare := [name for name in splits if name not in tables]:
        raise DataError(
            f"{source / bare[0]} has no metadata table, {next(iter(tables.values()))[1]} is one",
            "add the missing one, or choose a split with --split",
        )
    kinds = {kind for kind, _ in tables.values()}
    if len(kinds) > 1:
        raise DataError(
            f"{source}: metadata tables of different kinds", "read the splits one by one with --split"
        )
    return kinds.pop(), [(table, f"{name}/") for name, (_, table) in tables.items()]


def parquet_shards(
    source: Path, listing: Listing, settings: SourceSettings
) -> tuple[list[tuple[Path, str]], list[str]] | None:
    """The Parquet files of a folder, or of its `data` folder, in order, and notes; None without any."""
    folder = source
    if not _tables(listing) and "data" in listing.folders:
        folder, listing = source / "data", list_folder(str(source / "data"))
    names = _tables(listing)
    if not names:
        return None
    by_split: dict[str, list[str]] = {}
    for name in names:
        match = _SHARD.fullmatch(name)
        by_split.setdefault(match["split"] if match else name.removesuffix(".parquet"), []).append(name)
    if len(by_split) > 1:
        chosen = choose_splits(list(by_split), settings.split, source)
    elif settings.split not in (None, "all", *by_split):
        raise UsageError(f"{source} has only the split {next(iter(by_split))!r}", "leave --split out")
    else:
        chosen = list(by_split)
    notes = [note for split in chosen for note in _missing_shards(by_split[split])]
    return [(folder / name, "") for split in chosen for name in by_split[split]], notes


def without_labels(error: UsageError, table: Path) -> UsageError:
    """The same error, with the reason why the folder names are not used instead."""
    return UsageError(
        error.cause,
        f"{error.fix}; {table.name} stands in for class folders: to use these, move it away",
    )


def _tables(listing: Listing) -> list[str]:
    return [name for name in listing.files if extension(name) == ".parquet" and name not in _METADATA]


def _missing_shards(names: list[str]) -> list[str]:
    """A note where "00002-of-00005" says that there are more files than there are."""
    shards = [match for name in names if (match := _SHARD.fullmatch(name))]
    count = int(shards[0]["count"]) if shards else 0
    if len(shards) >= count:
        return []
    return [f"split {shards[0]['split']}: {count - len(shards)} of {count} Parquet files are missing"]
