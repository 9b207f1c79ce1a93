"""Files moved so that nothing can be lost: journalled first, checked by hash, never over anything.

A file gets its second name, that name is forced to the disk, and only then the first one is dropped. So at
every moment each file has its old name, its new one, or both.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from labelscrub.curation.move_journal import Folder, Move, MoveJournal, append, write_plan
from labelscrub.curation.places import Step
from labelscrub.errors import EnvironmentProblem
from labelscrub.records import Event, Progress, silent
from labelscrub.store import sha256_file, sync_folder, sync_folders

_BATCH = 1024  # files with two names at most, so that folders are forced to the disk once for many
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
_TAKEN = "another file has the new name by now"


def journal_moves(
    run: Path,
    action: str,
    steps: Sequence[Step],
    roots: Mapping[str, Path],
    sha256: Mapping[int, str],
) -> MoveJournal:
    """Store what is about to be moved, and what it is like now.

    roots: "data" and "quarantine"; sha256: row -> hex digest that the run saw.
    """
    try:
        journal = _plan(action, steps, roots, sha256)
    except OSError as error:
        file = os.fsdecode(error.filename or "a file")
        cause = f"cannot look at {file}: {error.strerror}; nothing was moved"
        raise EnvironmentProblem(cause, "run the same command again") from error
    return write_plan(run, journal)


def _plan(
    action: str, steps: Sequence[Step], roots: Mapping[str, Path], sha256: Mapping[int, str]
) -> MoveJournal:
    moves = []
    for step in steps:
        status = (roots["data"] / step.source).lstat()
        moves.append(
            Move(
                step.source,
                step.target,
                step.place,
                sha256[step.row],
                status.st_size,
                stat.S_IMODE(status.st_mode),
                status.st_mtime_ns,
                status.st_dev,
                status.st_ino,
            )
        )
    make = _folders_to_make(steps, roots)
    return MoveJournal(
        action,
        {name: str(root) for name, root in roots.items()},
        tuple(moves),
        tuple(make.items()),
        tuple(_folders_changed(steps, roots, make)),
    )


def carry_out(
    journal: MoveJournal, progress: Progress = silent, *, begun_before: bool = False
) -> dict[int, str]:
    """Make the moves of a journal, or finish those begun before; gives number and reason of each not made.

    Raises:
        EnvironmentProblem: disk, permission; what was moved until then stays in the journal.
    """
    moves = journal.moves
    places = [(journal.source(move), journal.target(move)) for move in moves]
    finished: set[int] = set()

    def refuse(number: int) -> str:
        (source, target), move = places[number], moves[number]
        if begun_before and not os.path.lexists(source) and not differs(target, move):
            finished.add(number)
            return "done already"
        if why := differs(source, move):
            return why
        if behind_link(target):
            return "a folder above its new place is a link"
        if not os.path.lexists(target) or same_file(source, target):
            return ""
        return "" if begun_before and drop_reservation(target, move) else _TAKEN

    try:
        for name, mode in journal.make:
            _make_folder(Path(name), mode)
        skipped = relocate(places, refuse, progress)
        after = [mtime_of(folder.path) for folder in journal.folders]
    except OSError as error:
        run = journal.path.parent.parent
        back, on = f"`labelscrub undo {run}` puts the moved files back", f"`labelscrub prune {run} --finish`"
        raise stopped(error, f"{back}; or, once the cause is gone, {on} moves the rest") from error
    skipped = {number: why for number, why in skipped.items() if number not in finished}
    append(journal, {"done": True, "skipped": skipped, "after": after})
    return skipped


def relocate(
    places: Sequence[tuple[Path, Path]],
    refuse: Callable[[int], str],
    progress: Progress = silent,
) -> dict[int, str]:
    """Give each file its second place instead of its first; the number and reason of each that is left alone.

    refuse: why the file of this number must not be moved, asked right before; "" where it may.
    """
    skipped: dict[int, str] = {}
    for start in range(0, len(places), _BATCH):
        numbers = []
        for number in range(start, min(start + _BATCH, len(places))):
            if why := refuse(number) or _second_name(*places[number]):
                skipped[number] = why
            else:
                numbers.append(number)
        sync_folders(list(dict.fromkeys(places[number][1].parent for number in numbers)))
        for number in numbers:
            if why := _drop_first_name(*places[number]):
                skipped[number] = why
        sync_folders(list(dict.fromkeys(places[number][0].parent for number in numbers)))
        progress(Event("move", min(start + _BATCH, len(places)), len(places), "files"))
    return skipped


def same_file(one: Path, other: Path) -> bool:
    """Whether both names are there and mean one file, links not followed."""
    try:
        a, b = one.lstat(), other.lstat()
    except OSError:
        return False
    return (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)


def differs(path: Path, move: Move) -> str:
    """Why the file at a path is not the one that a journal means; "" where it is."""
    if behind_link(path):
        return "a folder above it is a link by now"
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            return "it is not a regular file any more"
        if status.st_size != move.size or sha256_file(path) != move.sha256:
            return "it was changed since"
    except FileNotFoundError:
        return "it is gone"
    return ""


def drop_reservation(path: Path, move: Move) -> bool:
    """Remove the empty file that holds a name where links don't work, left by a kill before the rename."""
    if move.size == 0 or path.is_symlink() or not path.is_file() or path.stat().st_size:
        return False
    path.unlink()
    return True


def stopped(error: OSError, fix: str) -> EnvironmentProblem:
    """What ended the moves in the middle, and the way on."""
    where = f" at {os.fsdecode(error.filename)}" if error.filename else ""
    cause = (
        f"moving files stopped{where}: {error.strerror or error}; each file is whole, at its old or new place"
    )
    return EnvironmentProblem(cause, fix)


def _second_name(source: Path, target: Path) -> str:
    """Let `target` mean the file too, or move it where links don't work; why that can't be, or ""."""
    if same_file(source, target):
        return ""  # an earlier start has got so far
    try:
        os.link(source, target)
    except FileExistsError:
        return _TAKEN
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        try:
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            return _TAKEN
        os.replace(source, target)  # noqa: PTH105  (beside os.link and os.unlink)
    return ""


def _drop_first_name(source: Path, target: Path) -> str:
    if not os.path.lexists(source):
        return ""  # renamed
    if not same_file(source, target):
        return "it was replaced while it was moved: both files are kept"
    os.unlink(source)  # noqa: PTH108  (beside os.link)
    return ""


def behind_link(path: Path) -> bool:
    """Whether the folder that a file is in is reached through a symbolic link; roots are real paths."""
    return os.path.realpath(path.parent) != str(path.parent)


def _folders_to_make(steps: Sequence[Step], roots: Mapping[str, Path]) -> dict[str, int]:
    """Folder -> mode, parents first: that of the folder whose files it takes, so none gets more readers."""
    make: dict[str, int] = {}
    for step in steps:
        target = (roots[step.place] / step.target).parent
        source = (roots["data"] / step.source).parent
        missing = []
        while str(target) not in make and not target.exists():
            missing.append((str(target), stat.S_IMODE(source.stat().st_mode) | stat.S_IRWXU))
            target = target.parent
            source = source.parent if source != roots["data"] else source
        make.update(reversed(missing))
    return make


def _folders_changed(
    steps: Sequence[Step], roots: Mapping[str, Path], make: Mapping[str, int]
) -> Iterator[Folder]:
    """Folders that are there and in which names come or go."""
    paths = [roots["data"] / step.source for step in steps]
    paths += [roots[step.place] / step.target for step in steps]
    paths += map(Path, make)
    for folder in sorted({str(path.parent) for path in paths} - set(make), key=os.fsencode):
        status = Path(folder).stat()
        yield Folder(folder, stat.S_IMODE(status.st_mode), status.st_mtime_ns)


def _make_folder(folder: Path, mode: int) -> None:
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode)
        folder.chmod(mode)  # whatever the umask says
        sync_folder(folder.parent)


def mtime_of(folder: str) -> int | None:
    try:
        return Path(folder).stat().st_mtime_ns
    except OSError:
        return None
