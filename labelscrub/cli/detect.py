"""`labelscrub detect`: the main job."""

from __future__ import annotations

from pathlib import Path
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
    Verbose,
    Workers,
    takes_settings,
)
from labelscrub.config import Settings


@takes_settings
def detect(
    source: Annotated[
        str | None,
        typer.Argument(
            help="Image folder, or a CSV / TSV / JSONL / Parquet manifest. Left out only with --labels.",
            show_default=False,
        ),
    ] = None,
    out: Out = DEFAULT_OUT,
    restart: Restart = False,
    pred_probs: Annotated[
        Path | None,
        typer.Option(
            "--pred-probs",
            help="Your own model's out-of-fold probabilities (.npy .npz .csv .parquet, or a run directory): "
            "nothing is trained.",
            show_default=False,
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels",
            help="With --pred-probs and no SOURCE: the labels (.npy .txt .csv .parquet).",
            show_default=False,
        ),
    ] = None,
    cache_dir: CacheDir = None,
    workers: Workers = None,
    format: Annotated[
        Literal["text", "json"], typer.Option("--format", help="What goes to stdout: a summary, or run.json.")
    ] = "text",
    config: Config = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
    *,
    settings: Settings,
) -> None:
    """Find the wrong labels: a ranked report and a cleaned manifest.

    Example: labelscrub detect ./images --loss pz --cutoff 0.05
    """
    from labelscrub import pipeline
    from labelscrub.cli.summary import print_summary

    with ProgressDisplay(quiet=quiet, verbose=verbose) as progress:
        report = pipeline.detect(
            source,
            out=out,
            restart=restart,
            pred_probs=pred_probs,
            labels=labels,
            cache_dir=cache_dir,
            workers=workers,
            settings=settings,
            progress=progress,
        )
    if format == "json":
        typer.echo((out / "run.json").read_bytes(), nl=False)  # UTF-8, whatever the terminal has
    else:
        print_summary(report, brief=quiet, verbose=verbose)
