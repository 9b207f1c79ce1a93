"""`labelscrub config`: the settings that hold here, and where each came from."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from labelscrub.cli.console import printable
from labelscrub.cli.options import Config, Debug

app = typer.Typer(help="What the settings are, and where they come from.", no_args_is_help=True)


@app.command("show")
def show(
    config: Config = None,
    format: Annotated[
        Literal["text", "json"], typer.Option("--format", help="Form of the list on stdout.")
    ] = "text",
    debug: Debug = False,
) -> None:
    """Every setting and limit with its value, and where it came from: variable, settings file or default.

    Example: LABELSCRUB_FOLDS=10 labelscrub config show
    """
    from labelscrub.config_files import origins, unknown_variables

    found = origins({}, environ=os.environ, folder=Path.cwd(), config=config)
    strange = unknown_variables(os.environ)
    if format == "json":
        document = {
            "settings": {
                name: {"value": _json(value), "origin": printable(origin)}
                for name, (value, origin) in found.items()
            },
            "unknown_variables": [printable(name) for name, _ in strange],
        }
        typer.echo(json.dumps(document, indent=2))
    else:
        shown = {name: printable(_text(value)) for name, (value, _) in found.items()}
        widths = max(map(len, shown)), max(map(len, shown.values()))
        for name, (_, origin) in found.items():
            typer.echo(f"{name:<{widths[0]}}  {shown[name]:<{widths[1]}}  {printable(origin)}".rstrip())
    for name, hint in strange:
        typer.echo(printable(f"warning: {name} sets nothing: {hint}"), err=True)


def _text(value: Any) -> str:
    """As the settings file would have it; a dash where nothing was chosen, so that others decide."""
    if value is None:
        return "-"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, bool | str) else str(value)


def _json(value: Any) -> Any:
    return printable(value) if isinstance(value, str) else value
