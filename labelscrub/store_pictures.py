"""The pictures beside the report page: `report-images/ROW.webp`, many small files that can be made anew."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from labelscrub.store_files import TEMPORARY, cannot_write, sync_folder
from labelscrub.store_syncing import sync_files

PICTURES = "report-images"


def write_pictures(run: Path, pictures: Iterable[tuple[int, bytes]]) -> list[int]:
    """Write (row, WebP bytes) pairs, each file whole or not at all; returns the rows written.

    All are on the disk at the end.
    """
    folder = run / PICTURES
    temporary = folder / TEMPORARY.replace("*", "picture")
    rows: list[int] = []
    try:
        for row, data in pictures:
            if not rows:
                _require_own(folder)
            temporary.write_bytes(data)
            temporary.replace(folder / f"{row}.webp")
            rows.append(row)
        if rows:
            sync_files([folder / f"{row}.webp" for row in rows])
            sync_folder(folder)
            sync_folder(run)
    except OSError as error:
        raise cannot_write(folder, error) from error
    return rows


def remove_pictures(run: Path) -> None:
    """Remove what `write_pictures` wrote, and the folder where nothing else is in it."""
    folder = run / PICTURES
    try:
        if folder.is_symlink():
            folder.unlink()  # never what it points to
        elif folder.is_dir():
            for path in [*folder.glob("*.webp"), *folder.glob(TEMPORARY)]:
                if path.is_symlink() or (path.is_file() and (path.stem.isdecimal() or path.match(TEMPORARY))):
                    path.unlink()
            if not any(folder.iterdir()):
                folder.rmdir()
    except OSError as error:
        raise cannot_write(folder, error) from error


def _require_own(folder: Path) -> None:
    """A real folder: through a link the files would land somewhere else."""
    if folder.is_symlink():
        folder.unlink()
    folder.mkdir(exist_ok=True)
