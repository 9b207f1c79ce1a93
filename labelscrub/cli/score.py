"""`labelscrub score`: a finished run held against the truth."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from labelscrub.cli.console import ProgressDisplay, printable, result_console
from labelscrub.cli.options import DEFAULT_OUT, Debug, MovedTo, Quiet, Run

if TYPE_CHECKING:
    from labelscrub.evaluation.expectation import Expectation
    from labelscrub.evaluation.metrics import Detected
    from labelscrub.evaluation.score import MethodScore, Score

_MEANINGS = (
    ("precision", "share of the suspects whose label is wrong"),
    ("recall", "share of the wrong labels that are suspects"),
    ("F1", "harmonic mean of these two: high only where both are"),
    ("balanced accuracy", "recall, averaged with the share of right labels left alone"),
    ("average precision", "1 ranks every wrong label first; a random order gets {share:.3f}"),
    ("best F1", "of the best cut through the ranking; only the truth tells it"),
)
_CALIBRATED = (
    ("expected", "what the run said without knowing the truth"),
    ("calibration error", "mean distance of error probabilities from shares of wrong labels; 0 is best"),
)


def score(
    truth: Annotated[
        str,
        typer.Option(
            "--truth",
            metavar="COLUMN|FILE",
            help="The true labels: a column of the source's tables, else a file. .csv, .tsv, .jsonl "
            "and .parquet are matched by their path column; .npy and .txt have one label a row, in the "
            "source's order. Blank or -1 is unknown. A column wins over a file of its name: write ./NAME.",
            show_default=False,
        ),
    ],
    run: Run = DEFAULT_OUT,
    source: MovedTo = None,
    by_class: Annotated[bool, typer.Option("--by-class", help="Also a line for each given label.")] = False,
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot",
            help="Draw precision against recall (.png .svg .pdf); of a calibrated run also its reliability.",
            show_default=False,
        ),
    ] = None,
    format: Annotated[
        Literal["text", "json"], typer.Option("--format", help="What goes to stdout.")
    ] = "text",
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """How many of the wrong labels a run found, where the true labels are known.

    Nothing is trained, and no image is read. A source whose rows or labels changed since the run is refused.

    Example: labelscrub score labelscrub-out --truth true_label --plot score.png
    """
    from labelscrub.evaluation import score as job

    if plot is not None:
        job.check_plot(plot)
    with ProgressDisplay(quiet=quiet) as progress:
        scored = job.score_run(run, truth, source=source, progress=progress)
    if plot is not None:
        job.plot_score(scored, plot)
    if format == "json":
        typer.echo(json.dumps(scored.to_json(), indent=2, ensure_ascii=False).encode())
    else:
        _print(scored, by_class=by_class, plot=plot)


def _print(scored: Score, *, by_class: bool, plot: Path | None) -> None:
    console = result_console()
    console.print(_text(headline(scored), "bold"), soft_wrap=True)
    counts = ("suspects", "found", "precision", "recall", "F1", "balanced accuracy")
    rows = [(_method(m), *_cells(m.detected)) for m in scored.methods]
    _table(console, "method and filter", counts, rows)
    best = [
        (r.score, _number(r.average_precision), _number(r.best.f1), f"{r.best.suspects:,}")
        for r in scored.rankings
    ]
    _table(console, "ranking", ("average precision", "best F1", "cut after"), best)
    meanings = [*_MEANINGS]
    if scored.expectation is not None:
        meanings += _CALIBRATED
        expected = _expected(scored.expectation)
        judged = scored.expectation.detected.images
        whose = "this run" if judged == scored.detected.images else f"this run, {judged:,} images assessed"
        _table(console, whose, ("expected", "95 % interval", "true"), expected)
    if by_class:
        classes = [
            (c.label, f"{c.detected.images:,}", f"{c.detected.planted:,}", *_cells(c.detected)[:-1])
            for c in scored.classes
        ]
        _table(console, "given label (this run)", ("images", "wrong", *counts[:-1]), classes)
    share = scored.detected.planted / scored.detected.images
    console.print()
    for name, meaning in meanings:
        console.print(_text(f"{name:<18} {meaning.format(share=share)}", "dim"))
    for note in scored.notes:
        console.print(_text(f"note: {note}", "yellow"), soft_wrap=True)
    if plot is not None:
        console.print(_text(f"\n{plot}   precision against recall"), soft_wrap=True)


def headline(scored: Score) -> str:
    """By column 'true' of a.csv, 9 of 80 labels are wrong, 7 of them among the run's 12 suspects."""
    d = scored.detected
    sentence = f"By {scored.truth}, {d.planted:,} of {d.images:,} labels are wrong"
    if d.planted:
        sentence += f", {d.found:,} of them among the run's {d.suspects:,} suspects"
    unknown = f" ({scored.unknown:,} images of unknown true label not counted)" if scored.unknown else ""
    return sentence + unknown


def _method(m: MethodScore) -> str:
    """cl by-class; calibrated, aim f1 (this run)."""
    name = f"{m.method}, aim {m.aim}" if m.aim else f"{m.method} {m.filter}"
    return f"{name.strip()}{' (this run)' if m.used else ''}"


def _expected(expectation: Expectation) -> list[tuple[str, ...]]:
    c, pairs = expectation.calibration, expectation.pairs()
    interval = f"{_percent(c.low)} to {_percent(c.high)}"
    rows = [
        (title, form(pairs[name][0]), interval if name == "noise_rate" else "", form(pairs[name][1]))
        for title, name, form in (
            ("noise rate", "noise_rate", _percent),
            ("precision", "precision", _percent),
            ("recall", "recall", _percent),
            ("F1", "f1", _number),
        )
    ]
    return [*rows, ("calibration error", "", "", _number(expectation.ece))]


def _cells(d: Detected) -> tuple[str, ...]:
    shares = (_percent(d.precision), _percent(d.recall), _number(d.f1), _number(d.balanced_accuracy))
    return (f"{d.suspects:,}", f"{d.found:,}", *shares)


def _percent(share: float) -> str:
    return "-" if math.isnan(share) else f"{share:.1%}"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _table(console: Any, first: str, names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.table import Table

    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column(first, overflow="fold")
    for name in names:
        table.add_column(name, justify="right", overflow="fold")
    for label, *cells in rows:
        table.add_row(_text(label), *cells)
    if console.measure(table, options=console.options.update_width(1000)).maximum > console.width:
        # left to itself the table would take the room from the names first, and break their words
        words = [word for label in (first, *(row[0] for row in rows)) for word in label.split()]
        table.columns[0].width = min(max(map(len, words)), console.width // 3)
    console.print("", table, sep="\n")


def _text(content: str, style: str = "") -> Any:
    from rich.text import Text

    # Text, never a markup string: a class named [/red] is a class, not a tag.
    return Text(printable(content), style=style)
