"""`labelscrub prune`: the cleaned data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from labelscrub.cli.console import ProgressDisplay, printable
from labelscrub.cli.options import DEFAULT_OUT, Debug, Quiet, Run


def prune(
    run: Run = DEFAULT_OUT,
    to: Annotated[
        Path | None,
        typer.Option(
            "--to", help="The cleaned manifest to write.", show_default="RUN/pruned.<source format>"
        ),
    ] = None,
    min_score: Annotated[
        float | None,
        typer.Option(
            "--min-score", min=0, max=1, help="Remove suspects with at least this score.", show_default=False
        ),
    ] = None,
    max_per_class: Annotated[
        int | None,
        typer.Option(
            "--max-per-class", min=0, help="Remove at most this many of each label.", show_default=False
        ),
    ] = None,
    top: Annotated[
        int | None, typer.Option("--top", min=0, help="Remove only the first so many.", show_default=False)
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            "--source", help="Where the source is now, if it has moved.", show_default="as in the run"
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Go ahead even where more than half of a class would go.")
    ] = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write the cleaned manifest: the source's rows without the suspects, in its own format.

    Nothing is deleted or overwritten, and data that changed since the run is refused.

    Example: labelscrub prune labelscrub-out --min-score 0.9 --to clean.csv
    """
    from labelscrub import pipeline

    with ProgressDisplay(quiet=quiet) as progress:
        pruned = pipeline.prune(
            run,
            to=to,
            min_score=min_score,
            max_per_class=max_per_class,
            top=top,
            source=source,
            yes=yes,
            progress=progress,
        )
    typer.echo(
        printable(
            f"{pruned.target}: {pruned.kept:,} of {pruned.listed:,} rows kept; "
            f"{pruned.suspects:,} suspects and {pruned.unusable:,} unusable rows left out.\n"
            f"Its paths are relative to {pruned.image_root}"
        )
    )
