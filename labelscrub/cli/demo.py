"""`labelscrub demo`: the main job on images that come with the installed packages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from labelscrub.cli.console import ProgressDisplay
from labelscrub.cli.options import Debug, Quiet, Restart, Verbose


def demo(
    folder: Annotated[Path, typer.Option("--folder", help="Where images and results go.")] = Path(
        "labelscrub-demo"
    ),
    restart: Restart = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Find errors planted in 1,797 handwritten digits: detect, from start to report, in about a minute.

    Example: labelscrub demo
    """
    from labelscrub import pipeline
    from labelscrub.cli.summary import print_summary
    from labelscrub.evaluation.demo import count_found, write_digits

    data = write_digits(folder)
    with ProgressDisplay(quiet=quiet, verbose=verbose) as progress:
        report = pipeline.detect(
            data.manifest, out=folder / "run", restart=restart, label_column="label", progress=progress
        )
    print_summary(report, brief=quiet, verbose=verbose)
    found = count_found(report, data.wrong)
    precision = f"precision {found.precision:.1%}" if found.suspects else "no suspects at all"
    typer.echo(
        f"\nOf {found.planted} labels made wrong on purpose, {found.found} are among the "
        f"{found.suspects} suspects: recall {found.recall:.1%}, {precision}."
    )
