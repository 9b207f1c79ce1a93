"""`labelscrub tune`: a loss and its parameters, chosen without truth."""

from __future__ import annotations

import json
import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from labelscrub.cli.console import ProgressDisplay, duration, printable, result_console
from labelscrub.cli.options import Config, Debug, Quiet, Verbose, Workers, takes_settings
from labelscrub.config import Settings

if TYPE_CHECKING:
    from labelscrub.pipeline.tuning import Tuned


# What is chosen, and what only detect does.
@takes_settings(
    groups=("source", "training"),
    without=("loss", "gamma", "cutoff", "q", "alpha", "beta", "l1", "delay", "folds"),
)
def tune(
    source: Annotated[
        str, typer.Argument(help="Image folder, or CSV, TSV, JSONL or Parquet manifest.", show_default=False)
    ],
    cache_dir: Annotated[
        Path | None,
        typer.Option(
            "--cache-dir",
            help="Where decoded images are kept; detect takes them from there.",
            show_default="a folder that is deleted",
        ),
    ] = None,
    workers: Workers = None,
    format: Annotated[
        Literal["text", "json"], typer.Option("--format", help="What goes to stdout.")
    ] = "text",
    config: Config = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
    *,
    settings: Settings,
) -> None:
    """Choose the loss and its parameters for a source, without knowing which labels are wrong.

    Some labels of at most 5,000 images are made wrong on purpose. Each loss is trained once on these images;
    the better it ranks the planted labels as suspect, the better it suits the data. `detect --loss auto` does
    the same, then goes on with the choice.

    Example: labelscrub tune ./images
    """
    from labelscrub.pipeline.tuning import tune as run

    with ProgressDisplay(quiet=quiet, verbose=verbose) as progress:
        tuned = run(source, cache_dir=cache_dir, workers=workers, settings=settings, progress=progress)
    if format == "json":
        typer.echo(json.dumps(tuned.to_json(), indent=2, ensure_ascii=False).encode())
        return
    if not quiet:
        _print_table(tuned)
    typer.echo(printable(shlex.join(["labelscrub", "detect", *tuned.detect])))


def _print_table(tuned: Tuned) -> None:
    """A line a candidate, the chosen one marked; then why."""
    from rich.table import Table
    from rich.text import Text

    tuning, console = tuned.tuning, result_console()
    table = Table(box=None, header_style="dim", pad_edge=False)
    for name in ("", "loss", "parameter"):
        table.add_column(name)
    for name in ("delay", "average precision", "behind the best", "time"):
        table.add_column(name, justify="right")
    for index, tried in enumerate(tuning.tried):
        candidate = tried.candidate
        table.add_row(
            "->" if index == tuning.chosen else "",
            candidate.loss,
            " ".join(f"{name} {value:g}" for name, value in candidate.parameters.items()),
            f"{candidate.delay}",
            f"{tried.average_precision:.3f} ± {tried.error:.3f}",
            f"{tried.behind:.3f} ± {tried.behind_error:.3f}" if tried.behind else "",
            "" if math.isnan(tried.seconds) else duration(tried.seconds),
        )
    console.print(table)
    rest = "average precision: how well area under the margin ranks the planted ones first; ± standard error."
    counts = f"{tuning.planted:,} of {tuning.images:,} labels were made wrong on purpose"
    sentence = tuning.sentence()
    for line in (f"\n{counts}; {rest}", f"{sentence[0].upper()}{sentence[1:]}.\n"):
        console.print(Text(line), soft_wrap=True)
