"""`labelscrub bench`: the paper's experiments, our figures beside the published ones; and our own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from labelscrub.cli.console import ProgressDisplay, printable, result_console
from labelscrub.cli.measurements import print_measured
from labelscrub.cli.options import CacheDir, Config, Debug, Quiet, Verbose, Workers, takes_settings
from labelscrub.config import Settings
from labelscrub.errors import ModelError, UsageError

if TYPE_CHECKING:
    from labelscrub.evaluation.bench import Benched
    from labelscrub.evaluation.tables import Row


HOPELESS = "more --limit, --epochs, or fewer classes may help"


# --losses and the experiment decide these; nothing here is sorted by a score.
@takes_settings(without=("loss", "gamma", "cutoff", "q", "alpha", "beta", "l1", "method", "aim", "score"))
def bench(
    experiment: Annotated[str, typer.Argument(help="One of the names above.", show_default=False)],
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data",
            help="mnist, fashion-mnist, cifar10, cifar100, or any source that detect takes; may be repeated.",
            show_default="the experiment's own that are found",
        ),
    ] = None,
    data_root: Annotated[
        Path | None,
        typer.Option(
            "--data-root",
            help="Folder with the data sets in their published file formats.",
            show_default="., ./data, /usr/share/datasets",
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=1, help="Images of each data set, at most.", show_default="all"),
    ] = None,
    rates: Annotated[
        str | None,
        typer.Option("--rates", help="Noise rates: 0.1,0.2.", show_default="the experiment's"),
    ] = None,
    losses: Annotated[
        str | None,
        typer.Option(
            "--losses",
            help="Losses: ce,pz:cutoff=0.02. Without a value bl and pz take the published best.",
            show_default="the experiment's",
        ),
    ] = None,
    delays: Annotated[
        str | None,
        typer.Option(
            "--delays",
            help="figure11: epochs of cross-entropy before a swept loss: 0,1,2.",
            show_default="the experiment's",
        ),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option("--trials", min=1, help="Trials of each cell.", show_default="the experiment's"),
    ] = None,
    noise: Annotated[
        Literal["none", "uniform", "pair", "confusable", "given"] | None,
        typer.Option(
            "--noise",
            help="How labels are made wrong. confusable: to what a model of the true labels takes them for; "
            "none: not at all; given: they are wrong as they come, see --truth.",
            show_default="the experiment's",
        ),
    ] = None,
    truth: Annotated[
        str | None,
        typer.Option("--truth", help="Column or file with the true labels.", show_default=False),
    ] = None,
    given: Annotated[
        Path | None,
        typer.Option(
            "--given",
            help="File with the labels as given, in the data set's order (FILE or FILE:KEY).",
            show_default=False,
        ),
    ] = None,
    train_on: Annotated[
        str | None,
        typer.Option(
            "--train-on", help="table3: the source to train on.", show_default="the data set's training split"
        ),
    ] = None,
    parts: Annotated[
        str | None,
        typer.Option("--parts", help="scale: some of confident,decode,scan,start,rest.", show_default="all"),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for trials and results.")] = Path(
        "labelscrub-bench"
    ),
    resume: Annotated[
        bool, typer.Option("--resume/--no-resume", help="Take trials that are stored in --out.")
    ] = True,
    cache_dir: CacheDir = None,
    workers: Workers = None,
    format: Annotated[
        Literal["text", "json", "markdown"], typer.Option("--format", help="What goes to stdout.")
    ] = "text",
    config: Config = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
    *,
    settings: Settings,
) -> None:
    """Run an experiment of "Hard Samples, Bad Labels" and put its figures beside the published ones.

    \b
    table1            F1 by loss and noise rate
    table2            balanced accuracy by loss and noise rate
    table3            trained on one split, judged on another
    table4            labels that people got wrong
    table5            photos, ResNet-50
    table6            area under the margin
    figure3, figure4  gradients and probabilities by epoch
    figure6           margins of correct and of wrong labels
    figure7           precision and recall by noise rate
    figure8 to 10     F1 by parameter
    figure11          F1 by delay
    calibrated        ours: what --method calibrated expects, beside what is true
    speed             ours: time, memory and F1 of detect, beside a plain PyTorch and cleanlab script
    scale             ours: time and memory of single stages at size, beside their targets

    Each trial is stored when it ends: the same command goes on where it stopped.

    Training settings that are left at their default are the paper's for the data set.

    Example: labelscrub bench table1 --data fashion-mnist --rates 0.2 --losses ce,pz --trials 1 --limit 10000
    """
    from labelscrub.evaluation.bench import Changes
    from labelscrub.evaluation.bench import bench as run
    from labelscrub.evaluation.experiments import (
        MEASUREMENTS,
        find_experiment,
        parse_delays,
        parse_losses,
        parse_rates,
    )
    from labelscrub.evaluation.loading import DataOptions
    from labelscrub.evaluation.measurements import measure
    from labelscrub.evaluation.showing import DYNAMICS

    measures = experiment.lower() in MEASUREMENTS
    if format == "markdown" and not measures and find_experiment(experiment).view in DYNAMICS:
        raise UsageError(f"{experiment} has no table: it is a picture", "leave out --format markdown")
    changes = Changes(
        rates=parse_rates(rates) if rates is not None else None,
        trials=trials,
        losses=parse_losses(losses) if losses is not None else None,
        noise=noise,
        delays=parse_delays(delays) if delays is not None else None,
    )
    options = DataOptions(
        names=tuple(data or ()),
        root=data_root,
        limit=limit,
        truth=truth,
        given=given,
        train_on=train_on,
        cache=cache_dir,
        workers=workers,
    )
    if measures:
        with ProgressDisplay(quiet=quiet, verbose=verbose) as progress:
            measured = measure(
                experiment.lower(),
                out=out,
                data=options,
                changes=changes,
                parts=parts,
                settings=settings,
                resume=resume,
                progress=progress,
            )
        if format == "text":
            print_measured(measured, brief=quiet)
        else:
            _print_file(measured.files, format)
        if measured.failures:
            raise ModelError(f"no run gave a verdict: {measured.failures[0]}", HOPELESS)
        return
    if parts is not None:
        raise UsageError(f"--parts has no effect on {experiment}", "it belongs to scale")
    with ProgressDisplay(quiet=quiet, verbose=verbose) as progress:
        benched = run(
            experiment,
            out=out,
            data=options,
            changes=changes,
            settings=settings,
            resume=resume,
            progress=progress,
        )
    if format == "text":
        _print(benched, brief=quiet)
    else:
        _print_file(benched.files, format)
    failures = [result.failure for result in benched.results if result.failure]
    if failures and len(failures) == len(benched.results):
        raise ModelError(f"no trial gave a verdict: {failures[0]}", HOPELESS)


def _print_file(files: Sequence[Path], format: str) -> None:
    """The results file of that format, as it is."""
    suffix = {"json": ".json", "markdown": ".md"}[format]
    typer.echo(next(file for file in files if file.suffix == suffix).read_bytes(), nl=False)


def _print(benched: Benched, *, brief: bool) -> None:
    """Ours beside published, a line a cell and metric; what is not as published; notes and files."""
    from rich.table import Table
    from rich.text import Text

    from labelscrub.evaluation.showing import trained

    console = result_console()

    def say(line: str) -> None:
        console.print(Text(printable(line)), soft_wrap=True)

    rows = benched.rows
    if benched.experiment.view == "calibrated":
        _print_calibrated(console, benched)
        say(trained(benched.results))
    elif rows:
        by_delay = len({row.delay for row in rows if row.loss in benched.experiment.sweep}) > 1
        table = Table(title=benched.experiment.title, title_justify="left", box=None, pad_edge=False)
        for name in ("data", "noise", "loss", "metric"):
            table.add_column(name, overflow="fold")
        for name in ("ours", "published", "difference"):
            table.add_column(name, justify="right", overflow="fold")
        for row in rows:
            table.add_row(*map(Text, _line(row, by_delay)))
        console.print(table)
        say(trained(benched.results))
        for why in dict.fromkeys(row.why for row in rows if row.published_mean is not None and row.why):
            say(f"* not as published: {why}")
    for why in dict.fromkeys(row.failure for row in rows if row.failed):
        say(f"failed: {why}")
    if brief and rows:
        return
    for note in benched.notes:
        say(f"note: {note}")
    for file in benched.files:
        say(str(file))


def _print_calibrated(console: Any, benched: Benched) -> None:
    """A table a data set that fits 80 columns; the Markdown file has all columns, and every spread."""
    from rich.table import Table
    from rich.text import Text

    from labelscrub.evaluation.calibrated_tables import COLUMNS, lines_of

    columns = [column for column in COLUMNS if column.brief]
    lines = lines_of(benched.rows)
    several = len({line.loss for line in lines}) > 1
    console.print(Text(benched.experiment.title, "italic"))
    for dataset in dict.fromkeys(line.dataset for line in lines):
        table = Table(box=None, pad_edge=False, collapse_padding=True)
        table.add_column(Text(printable(Path(dataset).name)), overflow="fold")
        for column in columns:
            table.add_column(column.brief, justify="right", overflow="fold")
        for line in (line for line in lines if line.dataset == dataset):
            name = ", ".join(filter(None, (line.noise, line.loss if several else "", line.failed)))
            cells = (line.cell(column, spread=column is columns[0]) for column in columns)
            table.add_row(*map(Text, (name, *cells)))
        console.print("", table, sep="\n")
    console.print()
    for column in columns:
        two = "expected / true " if len(column.metrics) > 1 else ""
        console.print(Text(f"{column.brief:<10} {two}{column.meaning}", "dim"))


def _line(row: Row, by_delay: bool) -> list[str]:
    ours = "undefined" if math.isnan(row.mean) else f"{row.mean:.3f}"
    if not math.isnan(row.std):
        ours += f" ± {row.std:.3f}"
    if row.failed:
        failed = f"{row.failed} of {row.trials} failed"
        ours = failed if row.failed == row.trials else f"{ours} ({failed})"
    delay = f"delay={row.delay}" if by_delay else ""
    return [
        printable(Path(row.dataset).name),
        row.noise if row.noise in ("given", "none") else f"{row.noise} {row.noise_rate:g}",
        " ".join(filter(None, (row.loss, row.parameter, delay))),
        row.metric,
        ours,
        "" if row.published_mean is None else f"{row.published_mean:.3f}{'' if row.comparable else ' *'}",
        "" if row.difference is None or math.isnan(row.difference) else f"{row.difference:+.3f}",
    ]
