"""Progress: bars on a terminal, plain lines elsewhere. Nothing here decides anything."""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

import typer

from labelscrub.records import Event
from labelscrub.reporting.text import one_line

if TYPE_CHECKING:
    from rich.console import Console

TITLES = {
    "scan": "Reading the source",
    "decode": "Decoding",
    "bench": "Experiment",
    "train": "Training",
    "detect": "Finding label errors",
    "report": "Writing the report",
    "verify": "Comparing with the run",
    "move": "Moving files",
    "copy": "Copying files",
}


def printable(text: str) -> str:
    """Text that is safe to print: control characters and undecodable bytes shown as escapes, lines kept."""
    return "\n".join(map(one_line, text.split("\n")))


def duration(seconds: float) -> str:
    """12 s, 3 min 05 s, 2 h 10 min."""
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def result_console() -> Console:
    """stdout for results. Piped output keeps whole lines: a wrapped table is of no use to grep."""
    from rich.console import Console

    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 140
    return Console(width=width, highlight=False, soft_wrap=False)


def wants_bars(quiet: bool) -> bool:
    """Bars only on a real terminal: not in CI logs, pipes, or with TERM=dumb."""
    return not quiet and sys.stderr.isatty() and os.environ.get("TERM", "") not in ("", "dumb")


class ProgressDisplay:
    """A progress callback that draws. Use as a context manager, so that the terminal is left tidy."""

    def __init__(self, *, quiet: bool = False, verbose: bool = False) -> None:
        self._quiet, self._verbose = quiet, verbose
        self._stage = ""
        self._folds: dict[int, Event] = {}  # the last of each; several may be under way at once
        self._stage_began = self._line_at = time.monotonic()
        self._bars: Any = None
        self._task: Any = None

    def __enter__(self) -> ProgressDisplay:
        if wants_bars(self._quiet):
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

            self._bars = Progress(
                TextColumn("{task.fields[title]}", markup=False),
                BarColumn(bar_width=24),
                TaskProgressColumn(),
                TextColumn("{task.fields[detail]}", markup=False),
                console=Console(stderr=True),
            )
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            if error is None:
                self._finish_bar()
            self._bars.stop()

    def __call__(self, event: Event) -> None:
        """Draw one event; a message gets a line of its own."""
        if self._quiet:
            return
        if event.stage != self._stage:
            self._begin(event)
        if event.message:
            self._line(f"  {event.message}")
            return
        if event.fold:
            if event.fold in self._folds and event.done < self._folds[event.fold].done:
                self._folds.clear()  # the folds of another training
            self._folds[event.fold] = event
        if self._bars is not None:
            share = self._share(event)
            total = None if event.total is None else 1.0
            at_once = [
                fold for fold in self._folds.values() if fold is event or fold.done < (fold.total or 0)
            ]
            detail = self._detail(event) if len(at_once) < 2 else self._details(at_once)
            self._bars.update(self._task, completed=share, total=total, detail=detail)
        else:
            self._plain(event)

    def _begin(self, event: Event) -> None:
        self._stage = event.stage
        self._folds.clear()
        self._stage_began = self._line_at = time.monotonic()
        title = TITLES.get(event.stage, event.stage)
        if self._bars is not None:
            self._finish_bar()
            self._task = self._bars.add_task("", title=f"{title:<22}", detail="", total=None)
        else:
            self._line(f"{title} ...")

    def _finish_bar(self) -> None:
        """A stage has ended when the next one begins; not all of them count what they do."""
        if self._task is not None:
            self._bars.update(self._task, total=1.0, completed=1.0)

    def _share(self, event: Event) -> float:
        if not event.folds:
            return event.done / event.total if event.total else 0.0
        trained = sum(fold.done / fold.total for fold in self._folds.values() if fold.total)
        return (self._trained_before() + trained) / event.folds

    def _trained_before(self) -> int:
        """Folds begin in order: those before one heard of, and not heard of themselves, need no training."""
        return max(self._folds, default=0) - len(self._folds)

    def _details(self, folds: list[Event]) -> str:
        """In few words what several folds are at."""
        folds = sorted(folds, key=lambda fold: fold.fold)
        parts = [f"folds {', '.join(str(fold.fold) for fold in folds)} of {folds[0].folds}"]
        parts.append(f"epochs {', '.join(str(fold.epoch) for fold in folds)} of {folds[0].epochs}")
        parts.append(f"{sum(fold.images_per_second for fold in folds):,.0f} images/s")
        return "  ".join(parts + self._left(folds[0]))

    def _detail(self, event: Event) -> str:
        parts = []
        if event.folds:
            parts.append(f"fold {event.fold}/{event.folds}")
        if event.epochs:
            parts.append(f"epoch {event.epoch}/{event.epochs}")
        if event.unit and not event.folds:
            parts.append(f"{event.done:,}" + (f"/{event.total:,}" if event.total else "") + f" {event.unit}")
        if event.images_per_second:
            parts.append(f"{event.images_per_second:,.0f} images/s")
        if event.loss == event.loss:
            parts.append(f"loss {event.loss:.3f}")
        if event.accuracy == event.accuracy:
            parts.append(f"accuracy {event.accuracy:.1%}")
        return "  ".join(parts + self._left(event))

    def _left(self, event: Event) -> list[str]:
        """How long the stage will take yet, where that can be told."""
        share, elapsed = self._share(event), time.monotonic() - self._stage_began
        before = self._trained_before() / event.folds if event.folds else 0.0
        if event.total is None or elapsed < 1 or not before < share < 1:
            return []
        return [f"{duration(elapsed * (1 - share) / (share - before))} left"]

    def _plain(self, event: Event) -> None:
        """A line for each fold's end, with -v for each epoch's, and one every ten seconds."""
        epoch_ended = event.epochs and event.accuracy == event.accuracy
        due = epoch_ended and (self._verbose or event.epoch == event.epochs)
        if due or time.monotonic() - self._line_at > 10:
            self._line("  " + self._detail(event))

    def _line(self, text: str) -> None:
        self._line_at = time.monotonic()
        if self._bars is not None:
            from rich.text import Text

            self._bars.console.print(Text(printable(text)), soft_wrap=True)
        else:
            typer.echo(printable(text), err=True)
