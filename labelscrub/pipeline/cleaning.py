"""`prune`: the cleaned data set of a finished run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from labelscrub.config import Settings
from labelscrub.errors import DataError, UsageError
from labelscrub.pipeline.pruning import (
    Action,
    Finished,
    Pruned,
    copy_files,
    finish_moves,
    move_files,
    require_class_folders,
    write_manifest,
)
from labelscrub.pipeline.reviewing import DECISIONS
from labelscrub.records import Progress, silent

if TYPE_CHECKING:
    from labelscrub.curation.plan import RowChanges
    from labelscrub.store import RunDirectory


def prune(
    run: str | Path = "labelscrub-out",
    *,
    decisions: str | Path | None = None,
    action: Action = "manifest",
    to: str | Path | None = None,
    min_score: float | None = None,
    max_per_class: int | None = None,
    top: int | None = None,
    source: str | Path | None = None,
    link: bool = False,
    dry_run: bool = False,
    finish: bool = False,
    yes: bool = False,
    progress: Progress = silent,
) -> Pruned:
    """Clean the data set: a manifest, moved files or a copy, from people's decisions or the suspects.

    Nothing is overwritten or deleted, and each move is journalled before it happens; see `undo`.

    Args:
        run: a finished run's directory.
        decisions: what people decided; without it all suspects go, or get their suggested label.
        action: "manifest" writes the source's rows without those that go and with the new labels, byte for
            byte, in its own format; "quarantine" moves the files of decided rows beside the data set;
            "relabel" moves files of an image folder to the right class folder; "copy" builds a clean tree.
        to: what to write, which may not exist yet, or the quarantine folder; default `pruned.<source format>`
            in `run`, or `<source>-quarantine` or `<source>-clean` beside the source.
        min_score: only suspects with at least this score, 0..1.
        max_per_class: at most so many of each given label, the worst first.
        top: only the first so many in rank.
        source: where the source is now, if it has moved.
        link: hard links instead of copies.
        dry_run: change nothing, only say what would be done.
        finish: make the moves that an earlier prune began and could not end.
        yes: go ahead even where more than half of a class would leave it.
    Raises:
        UsageError: no finished run, edited results, an existing target, options that don't go together, or
            confirmation needed.
        DataError: the data changed since the run, or decisions that don't fit it.
        EnvironmentProblem: disk, permission; each file is at its old or its new place.
    """
    from labelscrub import curation
    from labelscrub.curation import move_journal
    from labelscrub.store import RunDirectory

    folder = Path(run)
    narrowing = {"--min-score": min_score, "--max-per-class": max_per_class, "--top": top}
    given = [name for name, value in {"--decisions": decisions, **narrowing}.items() if value is not None]
    _require_fitting(given, action, link=link, finish=finish, to=to)
    with RunDirectory.open(folder, finished=True) as directory:
        begun = move_journal.unfinished(folder)
        if finish:
            return finish_moves(folder, begun, dry_run=dry_run, progress=progress)
        if begun is not None:
            raise UsageError(
                f"the moves that prune began on {begun.time} did not end; they are in {begun.path}",
                f"`labelscrub undo {folder}` takes them back, `labelscrub prune {folder} --finish` ends them",
            )
        finished = _load(directory, source, progress)
        if action == "relabel":
            require_class_folders(finished)
        _require_unchanged(finished, progress)
        table, notes = finished.table, []
        if decisions is not None:
            choice, about = _decided(Path(decisions), finished)
            notes += about
        else:
            chosen = curation.select(table, min_score=min_score, max_per_class=max_per_class, top=top)
            choice = curation.chosen_suspects(table, finished.manifest, chosen, relabel=action == "relabel")
            if (path := folder / DECISIONS).exists():
                notes.append(f"the decisions in {path} are not used; to act on them: --decisions {path}")
        concern = curation.needs_confirmation(table, choice.leaving(len(table.row)))
        if concern and not yes:
            raise UsageError(concern, "look at the report first; --yes goes ahead all the same")
        place = None if to is None else Path(to)
        if action == "manifest":
            pruned = write_manifest(finished, choice, place, dry_run=dry_run)
        elif action == "copy":
            pruned = copy_files(finished, choice, place, link=link, dry_run=dry_run, progress=progress)
        else:
            pruned = move_files(finished, choice, action, place, dry_run=dry_run, progress=progress)
        return replace(pruned, notes=(*notes, *pruned.notes))


def _require_fitting(
    given: list[str], action: str, *, link: bool, finish: bool, to: str | Path | None
) -> None:
    """UsageError for options that don't go together; `given` are those that choose rows."""
    if action not in get_args(Action):
        raise UsageError(f"--action {action} is none of {', '.join(get_args(Action))}")
    if link and action != "copy":
        raise UsageError("--link has no effect without --action copy", "leave it out")
    if finish and (given or to is not None):
        cause = f"--finish makes the moves that were planned, so {(given or ['--to'])[0]} has no effect"
        raise UsageError(cause, "leave it out")
    if len(given) > 1 and given[0] == "--decisions":
        cause = f"--decisions does not go together with {given[1]}: only decided rows are acted on"
        raise UsageError(cause, "leave one of them out")


def _load(directory: RunDirectory, source: str | Path | None, progress: Progress) -> Finished:
    """A finished run, whose results must be as it wrote them, and the source as it is now."""
    from labelscrub import curation, data
    from labelscrub.reporting.run_json import parse_run_json
    from labelscrub.store import read_run

    folder = directory.path
    stored = parse_run_json(read_run(folder))
    directory.verify_outputs(stored)
    provenance = stored["provenance"]
    settings = Settings.of(stored["settings"])
    if "labels" in provenance:
        manifest = data.read_labels(Path(source or provenance["labels"]))
    else:
        manifest = data.read_source(Path(source or provenance["source"]), settings.source, progress)
    table = curation.read_report(folder / "report.parquet")
    return Finished(folder, manifest, table, settings.source)


def _decided(path: Path, finished: Finished) -> tuple[RowChanges, list[str]]:
    """What the decisions in a file come to, and what to know: some not about this run, images without one."""
    from labelscrub import curation
    from labelscrub.reporting.text import counted

    classes = list(curation.class_numbers(finished.manifest))
    returned = curation.read_any_decisions(path, finished.table, classes)
    settled = curation.settle(returned.decisions, finished.table)
    strange = curation.strange_sentence(settled.strange)
    if not settled.decisions:
        cause = (
            f"no decision in {path} is about this run; {strange}" if strange else f"{path} decides nothing"
        )
        raise DataError(cause, "give the decisions that were made on this run's report")
    notes = [strange] if strange else []
    if returned.undecided:
        notes.append(f"{path} decides nothing about {counted(returned.undecided, 'image')} in it")
    return curation.decided(settled, finished.manifest), notes


def _require_unchanged(finished: Finished, progress: Progress) -> None:
    """Refuse data that is not what the run saw: other rows, other labels, other bytes in any image."""
    from labelscrub import curation, data
    from labelscrub.curation.move_journal import journal_files, read_journal

    manifest, table = finished.manifest, finished.table
    # Paths and labels first: where these differ, the report's rows are not the manifest's.
    changed = curation.changed_rows(manifest, table, None)
    if not changed and (manifest.kind == "folder" or manifest.tables):  # else there are labels alone
        rows = [int(row) for row in table.row[table.used]]
        changed = curation.changed_rows(manifest, table, data.hash_images(manifest, rows, progress))
    if changed:
        shown = ", ".join(f"{path} ({what})" for _, path, what in changed[:3])
        more = f" and {len(changed) - 3:,} more" if len(changed) > 3 else ""
        fix = "run detect again, then prune"
        if any(not read_journal(path).undone for path in journal_files(finished.folder)):
            fix += f"; or take back what an earlier prune moved: `labelscrub undo {finished.folder}`"
        raise DataError(f"the data is not what the run saw: {shown}{more}", fix)
