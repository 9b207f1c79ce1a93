"""`labelscrub prune`: the cleaned data set."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from labelscrub.cli.console import ProgressDisplay, printable
from labelscrub.cli.options import DEFAULT_OUT, Debug, MovedTo, Quiet, Run
from labelscrub.errors import EXIT_DATA
from labelscrub.reporting.text import counted, one_line

if TYPE_CHECKING:
    from labelscrub.pipeline.pruning import Change, Pruned

_RENAMED_SHOWN = 20


def prune(
    run: Run = DEFAULT_OUT,
    decisions: Annotated[
        Path | None,
        typer.Option(
            "--decisions",
            help="What people decided: only these rows are acted on.",
            show_default="all suspects go",
        ),
    ] = None,
    action: Annotated[
        Literal["manifest", "quarantine", "relabel", "copy"],
        typer.Option(
            "--action",
            help="manifest: write the cleaned manifest. quarantine: move the files of wrong labels out. "
            "relabel: move them to the right class folder. copy: build a clean tree.",
        ),
    ] = "manifest",
    to: Annotated[
        Path | None,
        typer.Option(
            "--to",
            help="The manifest to write, the folder to move to, or the copy to build.",
            show_default="RUN/pruned.<format>, <source>-quarantine, <source>-clean",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Change nothing: print what would be done, a line a row.")
    ] = False,
    link: Annotated[bool, typer.Option("--link", help="With --action copy: hard links, no copies.")] = False,
    finish: Annotated[
        bool, typer.Option("--finish", help="Make the moves that an earlier prune began and could not end.")
    ] = False,
    min_score: Annotated[
        float | None,
        typer.Option(
            "--min-score", min=0, max=1, help="Only suspects with at least this score.", show_default=False
        ),
    ] = None,
    max_per_class: Annotated[
        int | None,
        typer.Option(
            "--max-per-class", min=0, help="Only so many of each label, the worst first.", show_default=False
        ),
    ] = None,
    top: Annotated[
        int | None, typer.Option("--top", min=0, help="Only the first so many.", show_default=False)
    ] = None,
    source: MovedTo = None,
    yes: Annotated[
        bool,
        typer.Option("--yes", "-y", help="Go ahead even where more than half of a class would leave it."),
    ] = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Clean the data set: of the suspects, or by what people decided.

    Nothing is deleted or overwritten, data that changed since the run is refused, and moved files go back
    with `labelscrub undo`. Exit code 3: some files could not be moved, and are listed.

    Example: labelscrub prune labelscrub-out --min-score 0.9 --to clean.csv

    With decisions: labelscrub prune --decisions decisions.jsonl --action relabel --dry-run
    """
    from labelscrub import pipeline

    with ProgressDisplay(quiet=quiet) as progress:
        pruned = pipeline.prune(
            run,
            decisions=decisions,
            action=action,
            to=to,
            min_score=min_score,
            max_per_class=max_per_class,
            top=top,
            source=source,
            link=link,
            dry_run=dry_run,
            finish=finish,
            yes=yes,
            progress=progress,
        )
    for note in pruned.notes:
        typer.echo(f"note: {printable(note)}", err=True)
    for path, why in pruned.left:
        typer.echo(f"not moved: {one_line(path)}: {one_line(why)}", err=True)
    typer.echo(
        printable("\n".join([*_lines(pruned), *_summary(pruned, run, by_people=decisions is not None)]))
    )
    if pruned.left and not dry_run:
        raise typer.Exit(EXIT_DATA)


def _lines(pruned: Pruned) -> list[str]:
    """A line a row with a dry run; else only the files that got another name."""
    if pruned.dry_run:
        return [_line(change) for change in pruned.changes]
    renamed = [change for change in pruned.changes if change.renamed]
    lines = [f"{one_line(c.path)} is now {one_line(c.target)}: its name was taken" for c in renamed]
    more = len(lines) - _RENAMED_SHOWN
    return [*lines[:_RENAMED_SHOWN], *([f"and {more:,} more got another name"] if more > 0 else [])]


def _line(change: Change) -> str:
    given, label, path = (one_line(text) for text in (change.given_label, change.label, change.path))
    if not change.given_label:  # --finish: the journal knows files and places alone
        return f"move {path} to {one_line(change.target)}"
    what = f"relabel {path}: {given} -> {label}" if label else f"remove {path} ({given})"
    return f"{what}; its file to {one_line(change.target)}" if change.target else what


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


def _summary(pruned: Pruned, run: Path, *, by_people: bool) -> list[str]:
    """What was done, where, and how to take it back."""
    would = "would be " if pruned.dry_run else ""
    out = counted(pruned.suspects, "removed row" if by_people else "suspect")
    rows = (
        f"{pruned.kept:,} of {pruned.listed:,} rows {would}kept; "
        f"{out} and {counted(pruned.unusable, 'unusable row')} left out"
    )
    rows += f"; {pruned.relabelled:,} relabelled." if pruned.relabelled else "."
    if pruned.action == "manifest":
        where = f"Its paths are relative to {pruned.image_root}"
        if pruned.target.parent.resolve() != pruned.image_root.resolve():
            where += f": labelscrub detect {_quoted(pruned.target)} --image-root {_quoted(pruned.image_root)}"
        return [f"{pruned.target}: {rows}", where]
    manifest = (
        [f"The cleaned manifest{' would be' * pruned.dry_run}: {pruned.manifest}"] if pruned.manifest else []
    )
    if pruned.action == "copy":
        how = "linked" if pruned.linked else "copied"
        return [f"{pruned.target}: {counted(pruned.files, 'file')} {would}{how}; {rows}", *manifest]
    if not pruned.files:
        return ["No file is to be moved.", *manifest]
    out_of_tree = pruned.files - pruned.within
    moves = [f"{counted(out_of_tree, 'file')} {would}moved to {pruned.target}"] if out_of_tree else []
    if pruned.within:
        moves.append(f"{counted(pruned.within, 'file')} {would}moved to the folders of their new labels")
    back = "could take it back" if pruned.dry_run else "takes it back"
    return ["; ".join(moves) + f". `labelscrub undo {run}` {back}.", *manifest]
