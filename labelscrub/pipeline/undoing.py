"""`undo`: what `prune` moved, put back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from labelscrub.errors import UsageError
from labelscrub.records import Progress, silent

if TYPE_CHECKING:
    from labelscrub.curation.undo import Restored


def undo(
    run: str | Path = "labelscrub-out", *, dry_run: bool = False, progress: Progress = silent
) -> Restored:
    """Put back the files that the newest prune moved: names, bytes, modes and times as they were.

    Nothing is overwritten: a file that was changed, moved or replaced since stays where it is, and is in
    `Restored.left`. Called again, it goes to the prune before.

    Args:
        run: the run directory that prune was given.
        dry_run: change nothing, only say what would be done.
    Raises:
        UsageError: there is nothing to undo.
        DataError: the journal is damaged.
        EnvironmentProblem: disk, permission; the same command goes on where it stopped.
    """
    from labelscrub.curation.undo import undo as put_back
    from labelscrub.store import locked

    folder = Path(run)
    if not folder.is_dir():
        raise UsageError(f"there is no run in {folder}", "name the run directory that prune was given")
    with locked(folder, read_only=dry_run):
        return put_back(folder, dry_run=dry_run, progress=progress)
