"""`prune`: the cleaned data set of a finished run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from labelscrub.config import Settings
from labelscrub.errors import DataError, UsageError
from labelscrub.records import Progress, silent

if TYPE_CHECKING:
    from labelscrub.curation import SuspectTable
    from labelscrub.records import Manifest


@dataclass(frozen=True)
class Pruned:
    """What `prune` wrote."""

    target: Path
    listed: int
    kept: int
    suspects: int
    """Rows left out because their label is suspect."""
    unusable: int
    """Rows left out because they could not be read, are missing, or have no label."""
    image_root: Path
    """What the paths in `target` are relative to."""


def prune(
    run: str | Path = "labelscrub-out",
    *,
    to: str | Path | None = None,
    min_score: float | None = None,
    max_per_class: int | None = None,
    top: int | None = None,
    source: str | Path | None = None,
    yes: bool = False,
    progress: Progress = silent,
) -> Pruned:
    """Write the cleaned manifest: the source's rows without the suspects, byte for byte, in its own format.

    Args:
        run: a finished run's directory.
        to: the file to write, which may not exist yet; default `pruned.<source format>` in `run`.
        min_score: leave out only suspects with at least this score, 0..1.
        max_per_class: leave out at most so many of each given label, the worst first.
        top: leave out only the first so many in rank.
        source: where the source is now, if it has moved.
        yes: go ahead even where more than half of a class would go.
    Raises:
        UsageError: no finished run, edited results, an existing target, or confirmation needed.
        DataError: the data changed since the run.
    """
    from labelscrub import curation, data
    from labelscrub.reporting.run_json import parse_run_json
    from labelscrub.store import RunDirectory, read_run

    folder = Path(run)
    with RunDirectory.open(folder, finished=True) as directory:
        stored = parse_run_json(read_run(folder))
        directory.verify_outputs(stored)
        provenance = stored["provenance"]
        settings = Settings.of(stored["settings"])
        if "labels" in provenance:
            manifest = data.read_labels(Path(source or provenance["labels"]))
        else:
            manifest = data.read_source(Path(source or provenance["source"]), settings.source, progress)
        table = curation.read_report(folder / "report.parquet")
        _require_unchanged(manifest, table, has_images="labels" not in provenance, progress=progress)
        chosen = curation.select(table, min_score=min_score, max_per_class=max_per_class, top=top)
        concern = curation.needs_confirmation(table, chosen)
        if concern and not yes:
            raise UsageError(concern, "look at the report first; --yes goes ahead all the same")
        drop = {int(row) for row in table.row[chosen]}
        keep = curation.kept_rows(manifest, drop, table.skipped)
        target = Path(to) if to is not None else folder / f"pruned.{curation.clean_suffix(manifest)}"
        curation.write_clean(manifest, keep, target)
        kept, listed = int(keep.sum()), len(manifest)
        return Pruned(target, listed, kept, len(drop), listed - kept - len(drop), manifest.root)


def _require_unchanged(
    manifest: Manifest, table: SuspectTable, *, has_images: bool, progress: Progress
) -> None:
    """Refuse data that is not what the run saw: other rows, other labels, other bytes in any image."""
    from labelscrub import curation, data

    # Paths and labels first: where these differ, the report's rows are not the manifest's.
    changed = curation.changed_rows(manifest, table, None)
    if not changed and has_images:
        rows = [int(row) for row in table.row[table.used]]
        changed = curation.changed_rows(manifest, table, data.hash_images(manifest, rows, progress))
    if changed:
        shown = ", ".join(f"{path} ({what})" for _, path, what in changed[:3])
        more = f" and {len(changed) - 3:,} more" if len(changed) > 3 else ""
        raise DataError(f"the data is not what the run saw: {shown}{more}", "run detect again, then prune")
