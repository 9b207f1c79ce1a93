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
    TrainOn,
    TrainSplit,
    Verbose,
    Workers,
    takes_settings,
)
from labelscrub.config import Settings
from labelscrub.errors import UsageError


@takes_settings
def detect(
    source: Annotated[
        str | None,
        typer.Argument(
            help="Image folder, or CSV, TSV, JSONL or Parquet manifest. Left out with --labels or --judge.",
            show_default=False,
        ),
    ] = None,
    train_on: TrainOn = None,
    train_split: TrainSplit = None,
    judged: Annotated[
        str | None,
        typer.Option(
            "--judge",
            help="With --train-on: the source to judge, another way to say SOURCE.",
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

    How many labels are wrong, and how sure: labelscrub detect ./images --method calibrated

    A list of which 90 % are expected to be wrong: labelscrub detect ./images --method calibrated
    --aim precision=0.9

    Judged by a network trained on other images: labelscrub detect --train-on ./train --judge ./test
    """
    from labelscrub import pipeline
    from labelscrub.cli.summary import print_summary

    if judged is not None:
        source = _only_source(source, train_on, judged)
    with ProgressDisplay(quiet=quiet, verbose=verbose) as progress:
        report = pipeline.detect(
            source,
            train_on=train_on,
            train_split=train_split,
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


def _only_source(source: str | None, train_on: str | None, judged: str) -> str:
    """The source that --judge names, which is no other than SOURCE."""
    if train_on is None:
        raise UsageError(
            "--judge goes with --train-on", f"to judge {judged} by itself: labelscrub detect {judged}"
        )
    if source is not None and source != judged:
        raise UsageError(f"two sources to judge: {source} and --judge {judged}", "leave one of them out")
    return judged
