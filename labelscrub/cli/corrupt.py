"""`labelscrub corrupt`: noise to try things on."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from labelscrub.cli.console import ProgressDisplay, printable, result_console
from labelscrub.cli.options import Config, Debug, Quiet, takes_settings
from labelscrub.config import Settings

if TYPE_CHECKING:
    from labelscrub.evaluation.corrupt import Corrupted

MOST_CLASSES = 12  # in the table of changed labels


@takes_settings(groups=("source",))
def corrupt(
    source: Annotated[
        str,
        typer.Argument(help="Image folder, or a CSV / TSV / JSONL / Parquet manifest.", show_default=False),
    ],
    rate: Annotated[
        float | None,
        typer.Option(
            "--rate",
            min=0,
            max=1,
            help="Share of the labels to make wrong, exactly.",
            show_default="0.2, or as the matrix has it",
        ),
    ] = None,
    kind: Annotated[
        str,
        typer.Option(
            "--kind",
            help="uniform: any other class; pair: class k becomes k + 1; confusable: what a model takes the "
            "image for (--from); matrix:FILE: .csv or .npy, a row of probabilities for each true class "
            "(rescaled to sum to 1 where it is within 0.001).",
        ),
    ] = "uniform",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the noise.")] = 0,
    from_run: Annotated[
        Path | None,
        typer.Option(
            "--from", help="For confusable: the run directory of detect on this source.", show_default=False
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="The manifest to write.", show_default="SOURCE-noisy.* beside the source"
        ),
    ] = None,
    true_column: Annotated[
        str, typer.Option("--true-column", help="New column for the labels as they were.")
    ] = "true_label",
    format: Annotated[
        Literal["text", "json"], typer.Option("--format", help="What goes to stdout.")
    ] = "text",
    config: Config = None,
    quiet: Quiet = False,
    debug: Debug = False,
    *,
    settings: Settings,
) -> None:
    """Make labels wrong on purpose: a manifest with the noisy label beside the true one.

    The source is not altered, and no existing file is overwritten.

    Example: labelscrub corrupt ./images --rate 0.2 --seed 1
    """
    from labelscrub.evaluation import corrupt as job

    with ProgressDisplay(quiet=quiet) as progress:
        done = job.corrupt(
            source,
            kind=kind,
            rate=rate,
            seed=seed,
            from_run=from_run,
            out=out,
            true_column=true_column,
            settings=settings,
            progress=progress,
        )
    for note in done.notes:
        typer.echo(printable(f"note: {note}"), err=True)
    if format == "json":
        typer.echo(json.dumps(done.to_json(), indent=2))
    elif quiet:
        typer.echo(printable(str(done.manifest)))
    else:
        _print(done, true_column)


def _print(done: Corrupted, true_column: str) -> None:
    share = done.planted / done.images
    typer.echo(f"{done.planted:,} of {done.images:,} labels changed ({share:.1%})")
    if done.listed > done.images:
        typer.echo(f"{done.listed - done.images:,} more listed rows are not usable: their labels stay")
    if done.planted and len(done.classes) <= MOST_CLASSES:
        _print_table(done)
    typer.echo(printable(f"\n{done.manifest}   the noisy labels, and the true ones beside them"))
    run = done.detect[done.detect.index("--out") + 1]
    for step in (["detect", *done.detect], ["score", run, "--truth", true_column]):
        typer.echo(printable(f"next: {shlex.join(['labelscrub', *step])}"))


def _print_table(done: Corrupted) -> None:
    """True classes as rows, noisy ones as numbered columns, so that ten long names fit a terminal."""
    from rich.table import Table

    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column("#", justify="right", style="dim")
    table.add_column("true label, by noisy label", overflow="fold", max_width=32)
    for number in range(len(done.classes)):
        table.add_column(str(number), justify="right")
    for number, (name, row) in enumerate(zip(done.classes, done.changed.tolist(), strict=True)):
        cells = [_text("." if k == number else f"{count:,}") for k, count in enumerate(row)]
        table.add_row(str(number), _text(name), *cells)
    result_console().print("", table, sep="\n")


def _text(content: str) -> Any:
    from rich.text import Text

    return Text(printable(content))
