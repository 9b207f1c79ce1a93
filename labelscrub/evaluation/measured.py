"""What a measurement shows people: tables of ready cells, what they mean, the files; as Markdown too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from labelscrub.evaluation.tables import MISSING, escape, pipes


@dataclass(frozen=True)
class Table:
    """Cells as text; the first column names the lines."""

    title: str
    columns: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Measured:
    """A measurement for people; its files hold the figures for programs."""

    title: str
    tables: tuple[Table, ...]
    legend: tuple[str, ...]
    """What was measured how, on what."""
    notes: tuple[str, ...]
    files: tuple[Path, ...]
    failures: tuple[str, ...] = ()
    """Why runs gave no verdict."""


def as_markdown(title: str, tables: Sequence[Table], legend: Sequence[str], notes: Sequence[str]) -> bytes:
    """The same as a page."""
    parts = [f"# {escape(title)}"]
    for table in tables:
        if table.title:
            parts.append(f"## {escape(table.title)}")
        rule = ["---", *["---:"] * (len(table.columns) - 1)]
        rows = [pipes(map(escape, cells)) for cells in (table.columns, *table.lines)]
        parts.append("\n".join([rows[0], pipes(rule), *rows[1:]]))
    parts += [escape(line) for line in legend]
    parts += [f"Note: {escape(note)}" for note in notes]
    return ("\n\n".join(parts) + "\n").encode()


def number(value: float, decimals: int | None = None) -> str:
    """Three significant digits, or so many decimals; a dash where there is none."""
    if math.isnan(value):
        return MISSING
    if decimals is None:
        decimals = max(0, 2 - math.floor(math.log10(abs(value)))) if value else 0
        decimals = min(decimals, 4)
    return f"{value:,.{decimals}f}"
