"""News of the scan, at most about twenty a second."""

from __future__ import annotations

import time

from labelscrub.records import Event, Progress

_INTERVAL = 0.05  # seconds between two events
EVERY = 1024
"""How many cheap steps a loop may do between two ticks: asking the clock costs as much as a row."""


class Pace:
    """Passes on "done of total files", dropping what comes too fast; `finish` is never dropped."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._next = 0.0

    def tick(self, done: int, total: int | None = None) -> None:
        """Say how far the scan is, unless it has just been said."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _INTERVAL
            self._progress(Event(stage="scan", done=done, total=total, unit="files"))

    def finish(self, total: int) -> None:
        """Say that everything is scanned."""
        self._progress(Event(stage="scan", done=total, total=total, unit="files"))
