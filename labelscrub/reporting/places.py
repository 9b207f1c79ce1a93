"""Where what a run lists stands on the disk: the manifest's row, or the image file itself."""

from __future__ import annotations

import bisect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labelscrub.review_records import Suspect


@dataclass(frozen=True)
class Places:
    """The files that a run read, by their absolute paths as run.json has them."""

    source: str
    kind: str
    """As `Manifest.kind`; "" where the run does not say."""
    tables: tuple[str, ...]
    first_rows: tuple[int, ...]
    """The first row of each table."""
    digests: tuple[str, ...] = ()
    """SHA-256 of each table as it was read; "" where an older run does not say."""

    def file_of(self, suspect: Suspect) -> str:
        """The text to change for another label: the row's table; in an image folder the image itself."""
        if self.kind == "folder":
            return f"{self.source.rstrip('/')}/{suspect.path}"
        at = bisect.bisect_right(self.first_rows, suspect.row) - 1
        return self.tables[at] if at >= 0 else self.source


def places_of(run: Mapping[str, Any]) -> Places:
    """What a parsed run.json says; of an older run only the source."""
    found = run.get("provenance")
    provenance = found if isinstance(found, Mapping) else {}
    source = provenance.get("labels") or provenance.get("source") or run.get("source") or ""
    found = provenance.get("tables")
    tables = [
        (int(table["first_row"]), str(table.get("path", "")), str(table.get("sha256", "")))
        for table in (found if isinstance(found, list) else [])
        if isinstance(table, Mapping) and type(table.get("first_row")) is int
    ]
    tables.sort()
    return Places(
        source=str(source),
        kind="" if provenance.get("labels") else str(provenance.get("source_kind", "")),
        tables=tuple(path for _, path, _ in tables),
        first_rows=tuple(row for row, _, _ in tables),
        digests=tuple(digest for _, _, digest in tables),
    )


def root_of(folder: Path) -> Path:
    """What code scanning and annotations take places from: the repository around `folder`, else itself."""
    folder = folder.resolve()
    return next((place for place in (folder, *folder.parents) if (place / ".git").exists()), folder)


def path_from(path: str, folder: Path) -> tuple[str, bool]:
    """A path as seen from `folder`, and whether it is inside it; else it stays absolute."""
    if not path.startswith("/"):
        return path, True
    try:
        return Path(path).relative_to(folder.resolve()).as_posix(), True
    except ValueError:
        return path, False


def uri_from(path: str, folder: Path) -> tuple[str, bool]:
    """The same as a URI: relative, or file:///..."""
    from urllib.parse import quote

    shown, inside = path_from(path, folder)
    quoted = quote(shown, safe="/", errors="replace")
    return (quoted, True) if inside else (f"file://{quoted}", False)
