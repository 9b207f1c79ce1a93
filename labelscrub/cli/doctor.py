"""`labelscrub doctor`: is everything there that a run needs?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from labelscrub.cli.options import DEFAULT_OUT, CacheDir, Config, Debug
from labelscrub.errors import EXIT_ENVIRONMENT
from labelscrub.reporting.text import one_line, printable

_WORDS = {"ok": "ok", "warning": "warning", "problem": "PROBLEM"}


def doctor(
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Run directory that there would be.")
    ] = DEFAULT_OUT,
    cache_dir: CacheDir = None,
    config: Config = None,
    format: Annotated[
        Literal["text", "json"], typer.Option("--format", help="Form of the answer on stdout.")
    ] = "text",
    debug: Debug = False,
) -> None:
    """Versions, device, memory, disk and settings in one screen: exit code 4 if something is broken.

    torch and torchvision are really loaded, in a process of their own. Nothing is written.

    Example: labelscrub doctor
    """
    from labelscrub.pipeline.doctor import examine

    checks = examine(out=out, cache_dir=cache_dir, config=config)
    broken = [check.name for check in checks if check.state == "problem"]
    if format == "json":
        listed = [{name: printable(text) for name, text in vars(check).items()} for check in checks]
        typer.echo(json.dumps({"passed": not broken, "checks": listed}, indent=2))
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:
            typer.echo(one_line(f"{_WORDS[check.state]:<8} {check.name:<{width}}  {check.text}"))
            if check.fix:
                typer.echo(one_line(f"{'':<8} {'':<{width}}  -> {check.fix}"))
        warnings = sum(check.state == "warning" for check in checks)
        said = f"; {warnings} warning{'s' * (warnings != 1)}" if warnings else ""
        typer.echo(f"broken: {', '.join(broken)}{said}" if broken else f"nothing is broken{said}")
    if broken:
        raise typer.Exit(EXIT_ENVIRONMENT)
