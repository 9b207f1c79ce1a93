"""What calibrated runs said beside what is true: a line a data set, noise and loss, a column a figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from labelscrub.evaluation.tables import MISSING, Row, escape, noise_title, pipes, trials_title
from labelscrub.reporting.text import one_line, printable


@dataclass(frozen=True)
class Column:
    """One column of the table."""

    title: str
    metrics: tuple[str, ...]
    """Side by side: expected, true."""
    meaning: str
    brief: str = ""
    """Title in the narrow table of the terminal; "" where it is not shown there."""
    joined: str = " / "
    decimals: int = 3
    spread: bool = True
    """Whether the standard deviation over the trials is shown too."""


COLUMNS = (
    Column(
        "estimated noise rate",
        ("noise_rate_estimate",),
        "share of the labels that the run takes for wrong",
        "estimated",
    ),
    Column(
        "95 % interval",
        ("noise_rate_low", "noise_rate_high"),
        "of the estimated noise rate, each end averaged over the trials",
        joined=" to ",
        spread=False,
    ),
    Column("true", ("noise_rate_true",), "noise rate", spread=False),
    Column(
        "covered",
        ("noise_rate_covered",),
        "share of the trials whose interval holds the true noise rate",
        decimals=2,
        spread=False,
    ),
    Column("listed", ("suspects",), "labels that the run calls wrong", "listed", decimals=0, spread=False),
    Column("F1", ("f1",), "of the list; undefined where nothing is wrong", "F1"),
    Column("F1, both", ("f1_both",), "of confident learning's list from the same run", "both"),
    Column(
        "F1, best cut",
        ("error_probability_best_f1",),
        "best that any cut by error probability could reach; only the truth tells it",
        "best",
    ),
    Column(
        "precision, expected / true",
        ("expected_precision", "precision"),
        "share of the list that is wrong",
        "precision",
        decimals=2,
    ),
    Column(
        "recall, expected / true",
        ("expected_recall", "recall"),
        "share of the wrong labels that is on the list",
        "recall",
        decimals=2,
    ),
    Column(
        "ECE",
        ("ece",),
        "expected calibration error: mean distance of error probabilities from shares of wrong labels",
        "ECE",
    ),
)
METRICS = (*(metric for column in COLUMNS for metric in column.metrics), "expected_f1")


@dataclass(frozen=True)
class Line:
    """The figures of one data set, noise and loss."""

    dataset: str
    noise: str
    """With its rate: "pair 20 %"."""
    loss: str
    """With its parameters."""
    rows: dict[str, Row]
    """By metric."""

    def cell(self, column: Column, *, spread: bool) -> str:
        """A figure, or two side by side; a dash where it is undefined."""
        parts = [self._number(self.rows[metric], column, spread) for metric in column.metrics]
        return MISSING if set(parts) == {MISSING} else column.joined.join(parts)

    @property
    def failed(self) -> str:
        """ "1 of 3 failed"; "" where none did."""
        row = self.rows["noise_rate_estimate"]
        return f"{row.failed} of {row.trials} failed" if row.failed else ""

    def _number(self, row: Row, column: Column, spread: bool) -> str:
        if math.isnan(row.mean):
            return MISSING
        text = f"{row.mean:,.{column.decimals}f}"
        if spread and column.spread and not math.isnan(row.std):
            text += f" ± {row.std:,.{column.decimals}f}"
        return text


def lines_of(rows: Sequence[Row]) -> list[Line]:
    """Rows of `METRICS` as lines, in order of first appearance."""
    found: dict[tuple[str, str, str], dict[str, Row]] = {}
    for row in rows:
        loss = " ".join(filter(None, (row.loss, row.parameter)))
        found.setdefault((row.dataset, noise_title(row), loss), {})[row.metric] = row
    return [Line(*key, by_metric) for key, by_metric in found.items()]


def as_markdown(rows: Sequence[Row]) -> str:
    """All columns, and below what each means."""
    body = []
    for line in lines_of(rows):
        names = (escape(line.dataset), " ".join(filter(None, (line.noise, line.failed))), line.loss)
        body.append([*names, *(line.cell(column, spread=True) for column in COLUMNS)])
    header = ["data", "noise", "loss", *(column.title for column in COLUMNS)]
    table = [pipes(header), pipes(["---"] * len(header)), *map(pipes, body)]
    meanings = [f"{column.title}: {column.meaning}." for column in COLUMNS]
    failures = dict.fromkeys(row.failure for row in rows if row.failed)
    meanings += [f"Failed: {escape(one_line(printable(why)))}." for why in failures]
    return "\n".join([f"**{trials_title(rows)}**", "", *table, "", "\n\n".join(meanings), ""])
