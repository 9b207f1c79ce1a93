"""`labelscrub undo`: what prune moved, put back."""

from __future__ import annotations

from typing import Annotated

import typer

from labelscrub.cli.console import ProgressDisplay, printable
from labelscrub.cli.options import DEFAULT_OUT, Debug, Quiet, Run
from labelscrub.errors import EXIT_DATA
from labelscrub.reporting.text import counted, one_line


def undo(
    run: Run = DEFAULT_OUT,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Change nothing: print what would be put back.")
    ] = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Put back the files that the last prune moved: names, bytes, modes and times as they were.

    What was changed, moved or replaced since stays as it is and is listed; then the exit code is 3. Run it
    again to go to the prune before.

    Example: labelscrub undo labelscrub-out --dry-run
    """
    from labelscrub import pipeline

    with ProgressDisplay(quiet=quiet) as progress:
        restored = pipeline.undo(run, dry_run=dry_run, progress=progress)
    for path, why in restored.left:
        typer.echo(f"left: {one_line(path)}: {one_line(why)}", err=True)
    if dry_run:
        for moved, place in restored.put_back:
            typer.echo(f"put back {one_line(moved)} -> {one_line(place)}")
    files = counted(len(restored.put_back), "file")
    sentence = f"{files} {'would be ' if dry_run else ''}put back that prune --action {restored.action} moved"
    left = f"; {counted(len(restored.left), 'file')} left where they are" if restored.left else ""
    typer.echo(printable(f"{sentence} ({restored.time}){left}"))
    if restored.left and not dry_run:
        raise typer.Exit(EXIT_DATA)
