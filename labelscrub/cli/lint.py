"""`labelscrub lint`: what is wrong with a source before anything is trained on it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from labelscrub.cli.console import ProgressDisplay
from labelscrub.cli.options import Config, Debug, Quiet, Workers, takes_settings
from labelscrub.config import Settings
from labelscrub.errors import EXIT_GATE_FAILED
from labelscrub.reporting.text import inert, one_line, printable

if TYPE_CHECKING:
    from labelscrub.pipeline.linting import Lint, Problem


@takes_settings(groups=("source",), without=("max_missing", "max_unreadable"))
def lint(
    source: Annotated[
        str,
        typer.Argument(help="Image folder, or CSV, TSV, JSONL or Parquet manifest.", show_default=False),
    ],
    fail_on: Annotated[
        str,
        typer.Option(
            "--fail-on",
            help="Kinds of problems that fail, separated by commas, of: missing, unreadable, conflict (the "
            "same image under different labels), no-label, repeated (a file listed twice), skipped (what "
            "else detect skips); or all.",
        ),
    ] = "missing,unreadable,conflict",
    format: Annotated[
        Literal["text", "json", "github"],
        typer.Option("--format", help="Form of the list on stdout; github: annotations of a workflow."),
    ] = "text",
    workers: Workers = None,
    config: Config = None,
    quiet: Quiet = False,
    debug: Debug = False,
    *,
    settings: Settings,
) -> None:
    """List missing, unreadable and contradictory images: exit code 1 if there are any. Nothing is trained.

    Every image is read and decoded by the rules of detect, and all problems are listed, however many.

    Example: labelscrub lint labels.csv

    Fail on files listed twice too: labelscrub lint labels.csv --fail-on missing,unreadable,conflict,repeated
    """
    from labelscrub.pipeline import linting

    kinds = [name.strip() for name in fail_on.split(",") if name.strip()]
    with ProgressDisplay(quiet=quiet) as progress:
        found = linting.lint(
            source,
            fail_on=linting.KINDS if kinds == ["all"] else kinds,
            workers=workers,
            settings=settings.source,
            progress=progress,
        )
    if format == "json":
        typer.echo(_json(found))
    else:
        for line in _text(found) if format == "text" else _github(found):
            typer.echo(line)
    if not found.passed:
        raise typer.Exit(EXIT_GATE_FAILED)


def _text(found: Lint) -> Iterator[str]:
    """A line a problem, then the totals."""
    for problem in found.problems:
        yield one_line(f"{_where(found, problem)}: {problem.reason}")
    for note in found.notes:
        yield one_line(f"note: {note}")
    yield _totals(found)
    yield _verdict(found)


def _where(found: Lint, problem: Problem) -> str:
    if problem.table:
        return f"{problem.table}, row {problem.row}: {problem.path}"
    return os.path.join(found.source, problem.path)  # noqa: PTH118  (a Path would drop what the source begins with)


def _totals(found: Lint) -> str:
    from labelscrub.pipeline.linting import KINDS

    parts = [f"{found.fine:,} fine", *(f"{count:,} {KINDS[kind]}" for kind, count in found.counts.items())]
    return f"{found.listed:,} listed = " + " + ".join(parts)


def _verdict(found: Lint) -> str:
    from labelscrub.pipeline.linting import KINDS

    if found.passed:
        return f"passed: nothing {' or '.join(KINDS[kind] for kind in found.fail_on)}"
    counts = found.counts
    return "FAILED: " + ", ".join(f"{counts[k]:,} {KINDS[k]}" for k in found.fail_on if counts[k])


def _json(found: Lint) -> str:
    """For programs: ASCII only, so that no terminal encoding can break it."""
    document = {
        "passed": found.passed,
        "source": printable(found.source),
        "kind": found.kind,
        "fail_on": list(found.fail_on),
        "listed": found.listed,
        "fine": found.fine,
        **{kind.replace("-", "_"): count for kind, count in found.counts.items()},
        "problems": [
            {
                name: printable(value) if isinstance(value, str) else value
                for name, value in vars(problem).items()
            }
            for problem in found.problems
        ],
        "notes": list(map(printable, found.notes)),
    }
    return inert(json.dumps(document, indent=2))


def _github(found: Lint) -> Iterator[str]:
    """Annotations of the failing kinds, as many as GitHub shows, and one with the totals."""
    from labelscrub.reporting.github import ANNOTATIONS, command
    from labelscrub.reporting.places import path_from, root_of

    root = root_of(Path.cwd())
    failing = [problem for problem in found.problems if problem.kind in found.fail_on]
    for problem in failing[: ANNOTATIONS - 1]:
        file = problem.table or os.path.join(found.source, problem.path)  # noqa: PTH118  (as above)
        place = {"file": path_from(os.path.abspath(file), root)[0]}  # noqa: PTH100  (links stay as they are)
        if problem.line:
            place["line"] = str(problem.line)
        message = f"{problem.path}: {problem.reason}" if problem.table else problem.reason
        yield command("error", {**place, "title": f"labelscrub: {problem.kind}"}, message)
    total = f"{_verdict(found)}. {_totals(found)}"
    yield command("notice" if found.passed else "error", {"title": "labelscrub lint"}, total)
