"""The journal of moved files, RUN/moves/0001.jsonl: the whole plan before any move, then what came of it.

One JSON object a line, ASCII, names that aren't UTF-8 as lone surrogates. The plan is there whole (written,
forced to the disk, renamed) or not at all, and ends with its own digest; later lines are appended, and one
that a crash cut short counts as not written.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from labelscrub import __version__
from labelscrub.errors import DataError, EnvironmentProblem, UsageError
from labelscrub.store import cannot_write, sync_folder, write_new

MOVES = "moves"  # folder in the run directory
VERSION = 1
_NAME = re.compile(r"\d{4,}\.jsonl")


@dataclass(frozen=True)
class Move:
    """A file's old and new place, and what it was like: all that putting it back takes."""

    source: str
    """Relative to the root "data"."""
    target: str
    """Relative to the root `place`."""
    place: str
    sha256: str
    size: int
    mode: int
    mtime_ns: int
    device: int
    inode: int


@dataclass(frozen=True)
class Folder:
    """A folder whose own times the moves change, as it was before."""

    path: str
    mode: int
    mtime_ns: int


@dataclass(frozen=True)
class MoveJournal:
    """One journal, read or about to be written."""

    action: str
    roots: Mapping[str, str]
    """Place ("data", "quarantine") -> the real path of its folder."""
    moves: tuple[Move, ...]
    make: tuple[tuple[str, int], ...]
    """(folder, mode) that the moves need made; parents first."""
    folders: tuple[Folder, ...]
    time: str = field(default_factory=lambda: now())
    path: Path = Path()
    done: bool = False
    skipped: Mapping[int, str] = field(default_factory=dict)
    """Number of a move that was not made -> why."""
    after: tuple[int | None, ...] = ()
    """mtime_ns of each of `folders` once all was moved; empty where that was never reached."""
    kept_times: frozenset[int] | None = None
    """Numbers of `folders` that somebody has changed since, as the first undo found; None before it."""
    undone: bool = False
    partly: bool = False
    """An undo has put back what it could, but not all."""

    def source(self, move: Move) -> Path:
        """Where the file was."""
        return Path(self.roots["data"]) / move.source

    def target(self, move: Move) -> Path:
        """Where the file went."""
        return Path(self.roots[move.place]) / move.target


def now() -> str:
    """The time as the journal writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def write_plan(run: Path, journal: MoveJournal) -> MoveJournal:
    """Store the plan as the run's next journal; nothing may be moved before this returns."""
    folder = run / MOVES
    try:
        folder.mkdir(exist_ok=True)
        sync_folder(run)
    except OSError as error:
        raise cannot_write(folder, error) from error
    numbers = [int(path.stem) for path in journal_files(run)]
    path = folder / f"{max(numbers, default=0) + 1:04d}.jsonl"
    header = {"labelscrub": __version__, "version": VERSION, "action": journal.action, "time": journal.time}
    lines: list[Mapping[str, Any]] = [{**header, "roots": dict(journal.roots)}]
    lines += [{"make": name, "mode": mode} for name, mode in journal.make]
    lines += [{"folder": f.path, "mode": f.mode, "mtime_ns": f.mtime_ns} for f in journal.folders]
    lines += [{"move": number, **asdict(move)} for number, move in enumerate(journal.moves)]
    plan = "".join(map(_line, lines)).encode()
    write_new(path, plan + _line({"planned": hashlib.sha256(plan).hexdigest()}).encode())
    return read_journal(path)


def append(journal: MoveJournal, entry: Mapping[str, Any]) -> None:
    """Add a line to a journal, on the disk when this returns."""
    try:
        with journal.path.open("r+b") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(end - 1)
            torn = file.read(1) != b"\n"  # the line that a crash cut short ends here
            file.write(b"\n" * torn + _line({**entry, "time": now()}).encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise cannot_write(journal.path, error) from error


def journal_files(run: Path) -> list[Path]:
    """The run's journals, oldest first."""
    try:
        names = [entry.name for entry in (run / MOVES).iterdir() if _NAME.fullmatch(entry.name)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise EnvironmentProblem(
            f"cannot read {run / MOVES}: {error.strerror}", "make it readable"
        ) from error
    return [run / MOVES / name for name in sorted(names, key=lambda name: int(name.split(".")[0]))]


def unfinished(run: Path) -> MoveJournal | None:
    """The newest journal where its moves neither ended nor were taken back."""
    for path in reversed(journal_files(run)[-1:]):
        journal = read_journal(path)
        if not (journal.done or journal.undone or journal.partly):
            return journal
    return None


def read_journal(path: Path) -> MoveJournal:
    """A journal as it is on the disk; DataError where its plan is damaged."""
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise EnvironmentProblem(f"cannot read {path}: {error.strerror}", "make it readable") from error
    try:
        entries = [json.loads(line) for line in _planned(lines)]
        header = entries[0]
        if header["version"] > VERSION:
            raise UsageError(f"{path} was written by a newer labelscrub", "upgrade labelscrub")
        moves = [
            Move(**{k: v for k, v in entry.items() if k != "move"}) for entry in entries if "move" in entry
        ]
        make = [(entry["make"], entry["mode"]) for entry in entries if "make" in entry]
        folders = [Folder(e["folder"], e["mode"], e["mtime_ns"]) for e in entries if "folder" in e]
        roots = header["roots"]
        for move in moves:
            _require_inside(move.source, move.target, roots[move.place], roots["data"])
        came = _outcome(lines[len(entries) + 1 :])
        return MoveJournal(
            header["action"],
            roots,
            tuple(moves),
            tuple(make),
            tuple(folders),
            header["time"],
            path,
            **came,
        )
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        cause = f"{path} is damaged, so what it moved can't be told from it: {error}"
        fix = "nothing was deleted: its lines name the places of the files; to go on without it, move it away"
        raise DataError(cause, fix) from error


def _planned(lines: Sequence[bytes]) -> list[bytes]:
    """The lines of the plan, once their digest is right."""
    digest = hashlib.sha256()
    for number, line in enumerate(lines):
        if line.startswith(b'{"planned"'):
            if json.loads(line)["planned"] != digest.hexdigest():
                raise ValueError("its plan was changed")
            return list(lines[:number])
        digest.update(line + b"\n")
    raise ValueError("its plan has no end")


def _outcome(lines: Sequence[bytes]) -> dict[str, Any]:
    """What the lines after the plan say; one that a crash cut short says nothing."""
    came: dict[str, Any] = {}
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if "done" in entry:
            came["done"] = True
            came["skipped"] = {int(number): why for number, why in entry["skipped"].items()}
            came["after"] = tuple(entry["after"])
        if "undoing" in entry and "kept_times" not in came:
            came["kept_times"] = frozenset(entry["undoing"])
        if "undone" in entry:
            came["undone" if entry["undone"] else "partly"] = True
    return came


def _require_inside(*paths: str) -> None:
    source, target, *roots = paths
    for relative in (source, target):
        if not relative or relative.startswith("/") or ".." in relative.split("/"):
            raise ValueError("a path leaves its root")
    if not all(root.startswith("/") for root in roots):
        raise ValueError("a root is no full path")


def _line(entry: Mapping[str, Any]) -> str:
    return json.dumps(entry) + "\n"
