"""The four ways to clean a data set, once it is decided what is to happen to which row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from labelscrub.config import SourceSettings
from labelscrub.errors import UsageError
from labelscrub.records import Manifest, Progress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from labelscrub.curation import SuspectTable
    from labelscrub.curation.move_journal import MoveJournal
    from labelscrub.curation.plan import RowChanges

Action = Literal["manifest", "quarantine", "relabel", "copy"]


@dataclass(frozen=True, eq=False)
class Finished:
    """A finished run and the data as it is now, which is the data that the run saw."""

    folder: Path
    manifest: Manifest
    table: SuspectTable
    settings: SourceSettings

    @property
    def class_depth(self) -> int | None:
        """How many folders are above the class folders; None where a table has the labels."""
        if self.manifest.kind != "folder":
            return None
        return 0 if self.settings.split is None else 1

    def sha256(self) -> dict[int, str]:
        """Row -> hex digest of each used image."""
        rows = self.table.row[self.table.used].tolist()
        return {row: bytes(digest).hex() for row, digest in zip(rows, self.table.sha256, strict=True)}


@dataclass(frozen=True)
class Change:
    """What happens to one row."""

    path: str
    given_label: str
    """"" for a move that is finished: its journal knows files and places alone."""
    label: str
    """Its new one; "" for a row that goes."""
    target: str = ""
    """Where its file goes, as a full path; "" where no file does."""
    renamed: bool = False
    """Whether the name it would have there was taken."""


@dataclass(frozen=True)
class Pruned:
    """What `prune` did, or with a dry run would do."""

    target: Path
    """The manifest, the copy, or the folder that files were moved to or within."""
    listed: int
    kept: int
    suspects: int
    """Rows left out because their label is suspect, or because people said so."""
    unusable: int
    """Rows left out because they could not be read, are missing, or have no label."""
    image_root: Path
    """What the paths in a manifest are relative to."""
    action: Action = "manifest"
    relabelled: int = 0
    """Rows that stay, with another label."""
    changes: tuple[Change, ...] = ()
    """Of the decided rows, in source order."""
    files: int = 0
    """How many were moved or copied."""
    linked: bool = False
    """Whether the files of a copy are hard links."""
    within: int = 0
    """Of `files`, those moved to another class folder of the data set."""
    manifest: Path | None = None
    """The cleaned manifest that goes with moved or copied files."""
    journal: Path | None = None
    """What `undo` reads."""
    left: tuple[tuple[str, str], ...] = ()
    """(path, why): files of decided rows that were not moved."""
    notes: tuple[str, ...] = ()
    """What the user should know, a sentence each."""
    dry_run: bool = False


def require_class_folders(finished: Finished) -> None:
    """UsageError where a table has the labels: there are no class folders to move files between."""
    if finished.manifest.kind != "folder":
        source = finished.manifest.source
        cause = f"--action relabel moves files between class folders, but the labels are in {source}"
        raise UsageError(cause, "use --action manifest: it writes the manifest with the new labels")


def write_manifest(finished: Finished, choice: RowChanges, to: Path | None, *, dry_run: bool) -> Pruned:
    """The rows that stay, with their new labels, in the source's own format."""
    from labelscrub import curation

    manifest = finished.manifest
    keep = curation.kept_rows(manifest, set(choice.remove), finished.table.skipped)
    target = to or finished.folder / f"pruned.{curation.clean_suffix(manifest)}"
    if not dry_run:
        _write(finished, choice, keep, target)
    return _pruned(finished, choice, keep, target, "manifest", {}, dry_run=dry_run)


def move_files(
    finished: Finished,
    choice: RowChanges,
    action: Action,
    to: Path | None,
    *,
    dry_run: bool,
    progress: Progress,
) -> Pruned:
    """The files of decided rows to the quarantine, or where they are relabelled to their class's folder."""
    from labelscrub import curation
    from labelscrub.curation import moves, places

    manifest = finished.manifest
    places.require_files(manifest, finished.table.used, action)
    leaving = {*choice.remove, *(() if action == "relabel" else choice.relabel)}
    keep = curation.kept_rows(manifest, leaving, finished.table.skipped)
    quarantine = places.quarantine_folder(manifest, to)
    depth = finished.class_depth if action == "relabel" else None
    steps, left = places.plan_moves(manifest, choice, keep, quarantine, depth)
    roots = {"data": places.real_root(manifest), "quarantine": quarantine}
    places.require_one_device(roots["data"], steps, quarantine)
    written = journal = None
    if manifest.tables and leaving:
        name = f"pruned.{curation.clean_suffix(manifest)}"
        written = finished.folder / places.free_name(name, set(), finished.folder)
    if not dry_run:
        if written is not None:
            _write(finished, choice, keep, written)
        if steps:
            journal = moves.journal_moves(finished.folder, action, steps, roots, finished.sha256())
            not_moved = moves.carry_out(journal, progress)
            left += [(steps[n].source, why) for n, why in not_moved.items()]
            steps = [step for n, step in enumerate(steps) if n not in not_moved]
    goes = {step.row: (str(roots[step.place] / step.target), step.renamed) for step in steps}
    pruned = _pruned(finished, choice, keep, quarantine, action, goes, dry_run=dry_run)
    return replace(
        pruned,
        files=len(steps),
        within=sum(step.place == "data" for step in steps),
        manifest=written,
        journal=journal.path if journal else None,
        left=tuple(left),
    )


def finish_moves(folder: Path, journal: MoveJournal | None, *, dry_run: bool, progress: Progress) -> Pruned:
    """The moves of a journal whose prune was stopped in the middle."""
    from labelscrub.curation import moves

    if journal is None:
        raise UsageError(f"no moves are to be finished in {folder}", "leave --finish out")
    not_moved = {} if dry_run else moves.carry_out(journal, progress, begun_before=True)
    made = [move for number, move in enumerate(journal.moves) if number not in not_moved]
    return Pruned(
        target=Path(journal.roots["quarantine"]),
        listed=len(journal.moves),
        kept=len(not_moved),
        suspects=len(made),
        unusable=0,
        image_root=Path(journal.roots["data"]),
        action=cast(Action, journal.action),
        changes=tuple(Change(move.source, "", "", str(journal.target(move))) for move in made),
        files=len(made),
        within=sum(move.place == "data" for move in made),
        journal=journal.path,
        left=tuple((journal.moves[n].source, why) for n, why in not_moved.items()),
        dry_run=dry_run,
    )


def copy_files(
    finished: Finished,
    choice: RowChanges,
    to: Path | None,
    *,
    link: bool,
    dry_run: bool,
    progress: Progress,
) -> Pruned:
    """A clean tree: the files of the rows that stay, under their right labels."""
    from labelscrub import curation
    from labelscrub.curation import places, tree

    manifest, depth = finished.manifest, finished.class_depth
    places.require_files(manifest, finished.table.used, "copy")
    keep = curation.kept_rows(manifest, set(choice.remove), finished.table.skipped)
    target = tree.copy_target(manifest, to)
    files = tree.plan_copy(manifest, choice, keep, depth)
    copied = False

    def write_table(folder: Path) -> tuple[Path, ...]:
        if depth is None:
            path = folder / tree.manifest_name(manifest)
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(finished, choice, keep, path)
        return ()

    if not dry_run:
        copied = tree.write_tree(
            manifest, files, target, finished.sha256(), link=link, finish=write_table, progress=progress
        )
    goes = {
        file.row: (str(target / file.target), file.renamed) for file in files if file.row in choice.relabel
    }
    pruned = _pruned(finished, choice, keep, target, "copy", goes, dry_run=dry_run)
    table = target / tree.manifest_name(manifest) if depth is None else None
    notes = ("hard links are not possible there, so files were copied",) if link and copied else ()
    return replace(pruned, files=len(files), linked=link and not copied, manifest=table, notes=notes)


def _write(finished: Finished, choice: RowChanges, keep: NDArray[np.bool_], target: Path) -> None:
    from labelscrub import curation

    curation.write_clean(
        finished.manifest,
        keep,
        target,
        curation.new_labels(finished.manifest, choice.relabel, finished.table.skipped),
        delimiter=finished.settings.delimiter,
    )


def _pruned(
    finished: Finished,
    choice: RowChanges,
    keep: NDArray[np.bool_],  # (R,)
    target: Path,
    action: Action,
    goes: Mapping[int, tuple[str, bool]],  # row -> where its file goes, and whether under another name
    *,
    dry_run: bool,
) -> Pruned:
    manifest, classes = finished.manifest, finished.manifest.classes
    relabelled = [row for row in choice.relabel if keep[row]]
    left_out = len(choice.remove) + len(choice.relabel) - len(relabelled)
    changes = tuple(
        Change(
            manifest.paths[row],
            classes[manifest.labels[row]],
            classes[choice.relabel[row]] if row in choice.relabel else "",
            *goes.get(row, ("", False)),
        )
        for row in sorted([*choice.remove, *choice.relabel])
    )
    listed, kept = len(manifest), int(keep.sum())
    return Pruned(
        target,
        listed,
        kept,
        left_out,
        listed - kept - left_out,
        manifest.root,
        action,
        len(relabelled),
        changes,
        dry_run=dry_run,
    )
