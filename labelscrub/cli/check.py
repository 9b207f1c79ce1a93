"""`labelscrub check`: the CI gate. On a stored run it reads one small file and imports nothing heavy."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from labelscrub.cli.console import ProgressDisplay
from labelscrub.cli.options import (
    DEFAULT_OUT,
    CacheDir,
    Config,
    Debug,
    Out,
    Quiet,
    Restart,
    TrainOn,
    TrainSplit,
    Verbose,
    Workers,
    takes_settings,
)
from labelscrub.config import Settings
from labelscrub.errors import EXIT_GATE_FAILED


@takes_settings
def check(
    source: Annotated[
        str, typer.Argument(help="Run directory that detect wrote, or a source: detect then runs first.")
    ] = str(DEFAULT_OUT),
    max_rate: Annotated[
        float | None,
        typer.Option(
            "--max-rate",
            min=0,
            max=1,
            help="Largest share of suspect labels that passes.",
            show_default=False,
        ),
    ] = None,
    max_suspects: Annotated[
        int | None,
        typer.Option(
            "--max-suspects", min=0, help="Largest number of suspects that passes.", show_default=False
        ),
    ] = None,
    max_noise_rate: Annotated[
        float | None,
        typer.Option(
            "--max-noise-rate",
            min=0,
            max=1,
            help="With --method calibrated: largest share of wrong labels that passes. Fails only where the "
            "whole 95 % interval is above it.",
            show_default=False,
        ),
    ] = None,
    format: Annotated[
        Literal["text", "json", "markdown"], typer.Option("--format", help="Form of the verdict on stdout.")
    ] = "text",
    train_on: TrainOn = None,
    train_split: TrainSplit = None,
    out: Out = DEFAULT_OUT,
    restart: Restart = False,
    cache_dir: CacheDir = None,
    workers: Workers = None,
    config: Config = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
    *,
    settings: Settings,
) -> None:
    """Pass or fail: exit code 0 or 1, with a verdict a person can read.

    On a stored run only the limits count: it is judged as it was made.

    Example: labelscrub check labelscrub-out --max-rate 0.03

    Of a run with --method calibrated: labelscrub check labelscrub-out --max-noise-rate 0.02
    """
    from labelscrub import pipeline
    from labelscrub.reporting import verdict

    with ProgressDisplay(quiet=quiet, verbose=verbose) as progress:
        judged = pipeline.check(
            source,
            max_rate=max_rate,
            max_suspects=max_suspects,
            max_noise_rate=max_noise_rate,
            train_on=train_on,
            train_split=train_split,
            out=out,
            restart=restart,
            cache_dir=cache_dir,
            workers=workers,
            settings=settings,
            progress=progress,
        )
    render = {
        "text": verdict.verdict_text,
        "json": verdict.verdict_json,
        "markdown": verdict.verdict_markdown,
    }
    typer.echo(render[format](judged).rstrip("\n"))
    if not judged.passed:
        raise typer.Exit(EXIT_GATE_FAILED)
