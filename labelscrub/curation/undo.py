"""Moved files put back: names, bytes, modes and times; what people have changed since is left and listed."""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from labelscrub.curation.move_journal import Move, MoveJournal, append, journal_files, read_journal
from labelscrub.curation.moves import (
    behind_link,
    differs,
    drop_reservation,
    mtime_of,
    relocate,
    same_file,
    stopped,
)
from labelscrub.curation.places import below_a_file
from labelscrub.errors import UsageError
from labelscrub.records import Progress, silent
from labelscrub.store import sync_folder

_State = Literal["back", "put", "left"]


@dataclass(frozen=True)
class Restored:
    """What an undo did, or with a dry run would do."""

    journal: Path
    action: str
    """Of the prune that is undone."""
    time: str
    """When that was."""
    put_back: tuple[tuple[str, str], ...]
    """(where the file was moved to, where it is again), as full paths."""
    left: tuple[tuple[str, str], ...]
    """(where the file was moved to, why it was not put back)."""
    dry_run: bool


def undo(run: Path, *, dry_run: bool = False, progress: Progress = silent) -> Restored:
    """Put back what the newest prune of a run moved that is not undone yet.

    Nothing is overwritten: a file that was changed, moved or replaced since stays, and is in `left`.

    Raises:
        UsageError: there is nothing to undo.
        EnvironmentProblem: disk, permission; the same command goes on where it stopped.
    """
    journal, states = _newest(run)
    moves = journal.moves
    putting = [number for number in reversed(range(len(moves))) if states[number][0] == "put"]
    left = {number: why for number, (state, why) in enumerate(states) if state == "left"}
    if not dry_run:
        try:
            left |= _put_back(journal, putting, progress)
            _tidy(journal, left)
        except OSError as error:
            fix = f"once the cause is gone, `labelscrub undo {run}` goes on"
            raise stopped(error, fix) from error
        append(journal, {"undone": not left, "left": left})
    return Restored(
        journal.path,
        journal.action,
        journal.time,
        tuple(
            (str(journal.target(moves[n])), str(journal.source(moves[n]))) for n in putting if n not in left
        ),
        tuple((str(journal.target(moves[n])), left[n]) for n in sorted(left)),
        dry_run,
    )


def _newest(run: Path) -> tuple[MoveJournal, list[tuple[_State, str]]]:
    """The newest journal not undone, and how each of its moves stands.

    One that an undo could put back in part only comes again where more can be put back now, or where there
    is no earlier one.
    """
    stuck = None
    for path in reversed(journal_files(run)):
        journal = read_journal(path)
        if journal.undone:
            continue
        states = [_state(journal, number) for number in range(len(journal.moves))]
        if not journal.partly or any(state == "put" for state, _ in states):
            return journal, states
        stuck = stuck or (journal, states)
    if stuck is None:
        cause = f"there is nothing to undo in {run}"
        raise UsageError(
            cause, "prune --action quarantine and --action relabel move files, and can be undone"
        )
    return stuck


def _state(journal: MoveJournal, number: int) -> tuple[_State, str]:
    """Whether a move's file is back, can be put back, or must be left, and why."""
    if number in journal.skipped:
        return "back", ""
    move = journal.moves[number]
    source, target = journal.source(move), journal.target(move)
    here, there = os.path.lexists(source), os.path.lexists(target)
    if behind_link(source):
        return "left", f"a folder above {source} is a link by now"
    if below_a_file(source):
        return "left", f"there is a file where a folder above {source} was"
    if not there:
        if here and (not journal.done or not differs(source, move)):
            return "back", ""
        return "left", f"it is gone, and {source} is another file" if here else "it is gone"
    if here and not same_file(source, target):
        if _reserved(journal, source, target, move):
            return "put", ""
        return "left", f"there is a file {source} again"
    why = "" if here else differs(target, move)
    return ("left", why) if why else ("put", "")


def _reserved(journal: MoveJournal, source: Path, target: Path, move: Move) -> bool:
    """Whether one of both is the empty file that a killed move, or a killed undo, made to hold a name."""
    if not journal.done and not differs(source, move):
        return _is_empty(target)
    undo_was_killed = journal.kept_times is not None and not journal.partly
    return undo_was_killed and _is_empty(source) and not differs(target, move)


def _is_empty(path: Path) -> bool:
    status = path.lstat()
    return stat.S_ISREG(status.st_mode) and not status.st_size


def _put_back(journal: MoveJournal, putting: list[int], progress: Progress) -> dict[int, str]:
    """Move these back, newest first; the number and reason of each that could not be."""
    moves = journal.moves
    if journal.kept_times is None:
        now = [mtime_of(folder.path) for folder in journal.folders]
        theirs = [i for i, after in enumerate(journal.after) if now[i] != after]  # changed by somebody since
        append(journal, {"undoing": theirs})
    modes = {folder.path: folder.mode for folder in journal.folders}
    for number in putting:
        _make_again(journal.source(moves[number]).parent, modes)

    def refuse(position: int) -> str:
        number = putting[position]
        move = moves[number]
        state, why = _state(journal, number)
        if state != "put":
            return why or "it is back already"
        source, target = journal.source(move), journal.target(move)
        if os.path.lexists(source) and not same_file(source, target):
            emptied = target if _is_empty(target) else source
            drop_reservation(emptied, move)
            if emptied == target:
                return "it is back already"
        if same_file(source, target) and differs(source, move):
            return ""  # changed while a kill had left it both names: only its name goes back
        try:
            _restore(target, move)
        except PermissionError:
            return "it is somebody else's, so its mode and time can't be restored"
        return ""

    places = [(journal.target(moves[number]), journal.source(moves[number])) for number in putting]
    skipped = relocate(places, refuse, progress)
    return {putting[at]: why for at, why in skipped.items() if why != "it is back already"}


def _tidy(journal: MoveJournal, left: dict[int, str]) -> None:
    """Remove the folders that prune made, where empty, and give the others the times they had."""
    for name, _ in reversed(journal.make):
        with contextlib.suppress(OSError):  # not empty, or gone
            Path(name).rmdir()
            sync_folder(Path(name).parent)
    unlike = {str(journal.source(journal.moves[n]).parent) for n in left}
    unlike |= {str(journal.target(journal.moves[n]).parent) for n in left}
    kept = read_journal(journal.path).kept_times or frozenset()
    for number, folder in enumerate(journal.folders):
        path = Path(folder.path)
        if number not in kept and folder.path not in unlike and path.is_dir():
            with contextlib.suppress(PermissionError):  # somebody else's folder
                os.utime(path, ns=(path.stat().st_atime_ns, folder.mtime_ns))


def _make_again(folder: Path, modes: dict[str, int]) -> None:
    """A folder that was removed since, as emptied class folders are."""
    if not folder.is_dir():
        _make_again(folder.parent, modes)
        folder.mkdir()
        folder.chmod(modes.get(str(folder), 0o755))


def _restore(path: Path, move: Move) -> None:
    """Mode and time as they were, before the name: a kill in between leaves a file still to put back."""
    status = path.stat()
    if stat.S_IMODE(status.st_mode) != move.mode:
        path.chmod(move.mode)
    if status.st_mtime_ns != move.mtime_ns:
        os.utime(path, ns=(status.st_atime_ns, move.mtime_ns))
