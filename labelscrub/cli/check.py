"""`labelscrub check`: the CI gate. On a stored run it reads one small file and imports nothing heavy."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

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
from labelscrub.config_limits import Limits
from labelscrub.errors import EXIT_GATE_FAILED


@takes_settings(limits=True)
def check(
    source: Annotated[
        str, typer.Argument(help="Run directory that detect wrote, or a source: detect then runs first.")
    ] = str(DEFAULT_OUT),
    no_train: Annotated[
        bool, typer.Option("--no-train", help="Only judge a stored run, as a hook should: never run detect.")
    ] = False,
    update_baseline: Annotated[
        bool,
        typer.Option(
            "--update-baseline",
            help="Write the suspects into the --baseline first, and create it. What people decided stays.",
        ),
    ] = False,
    decisions: Annotated[
        Path | None,
        typer.Option(
            "--decisions",
            help="With --update-baseline: decisions of the page, of review, or of a tool export wrote for.",
            show_default=False,
        ),
    ] = None,
    format: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            help="text, json, markdown, junit, sarif or github, on stdout; or NAME=FILE. May be given again.",
            show_default="text",
        ),
    ] = None,
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
    limits: Limits,
    settings: Settings,
) -> None:
    """Pass or fail: exit code 0 or 1, with a verdict a person can read.

    On a stored run only the limits count: it is judged as it was made.

    Example: labelscrub check labelscrub-out --max-rate 0.03

    Of a run with --method calibrated: labelscrub check labelscrub-out --max-noise-rate 0.02

    Only what is new since the baseline was made: labelscrub check labelscrub-out --baseline labels.json
    --format sarif=labels.sarif

    Make that baseline, or bring it up to date: labelscrub check labelscrub-out --baseline labels.json
    --update-baseline --decisions decisions.jsonl
    """
    from labelscrub import pipeline

    forms = pipeline.parse_forms(format or (), os.environ)
    with ProgressDisplay(quiet=quiet, verbose=verbose) as progress:
        judged = pipeline.check(
            source,
            limits=limits,
            no_train=no_train,
            update_baseline=update_baseline,
            decisions=decisions,
            with_listing=pipeline.need_listing(forms),
            train_on=train_on,
            train_split=train_split,
            out=out,
            restart=restart,
            cache_dir=cache_dir,
            workers=workers,
            settings=settings,
            progress=progress,
        )
        shown = pipeline.publish(judged, forms, folder=Path.cwd(), environ=os.environ, progress=progress)
    typer.echo(shown.rstrip("\n"))
    if not judged.passed:
        raise typer.Exit(EXIT_GATE_FAILED)
