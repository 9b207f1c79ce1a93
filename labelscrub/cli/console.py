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
        self._fold = 0
        self._stage_began = self._line_at = time.monotonic()
        self._start_share = 0.0
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
        if event.fold and event.fold != self._fold:
            if not self._fold:
                self._start_share = (event.fold - 1) / max(event.folds, 1)
            self._fold = event.fold
        if self._bars is not None:
            share = self._share(event)
            total = None if event.total is None else 1.0
            self._bars.update(self._task, completed=share, total=total, detail=self._detail(event))
        else:
            self._plain(event)

    def _begin(self, event: Event) -> None:
        self._stage, self._fold, self._start_share = event.stage, 0, 0.0
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
        inner = event.done / event.total if event.total else 0.0
        return (event.fold - 1 + inner) / event.folds if event.folds else inner

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
        left = self._seconds_left(event)
        if left is not None:
            parts.append(f"{duration(left)} left")
        return "  ".join(parts)

    def _seconds_left(self, event: Event) -> float | None:
        share, elapsed = self._share(event), time.monotonic() - self._stage_began
        if event.total is None or elapsed < 1 or not self._start_share < share < 1:
            return None
        return elapsed * (1 - share) / (share - self._start_share)

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
