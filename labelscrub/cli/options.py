"""Settings as command-line options: names, help and defaults are read from config.py, never written twice."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Annotated, Any

import typer

from labelscrub.cli.console import printable
from labelscrub.config import GROUPS, all_settings, flag
from labelscrub.config_files import read_limits, read_settings, unknown_variables
from labelscrub.config_limits import all_limits

PANELS = {"source": "Source", "training": "Training", "detection": "Detection", "limits": "Limits"}

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the result.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Also every epoch, and what was chosen.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show a traceback where something fails.")]
Run = Annotated[Path, typer.Argument(help="Run directory that detect wrote.", show_default=True)]
Config = Annotated[
    Path | None,
    typer.Option("--config", help="Settings file.", show_default="labelscrub.toml or pyproject.toml here"),
]
Out = Annotated[Path, typer.Option("--out", "-o", help="Run directory for the results.")]
MovedTo = Annotated[
    Path | None,
    typer.Option("--source", help="Where the source is now, if it has moved.", show_default="as in the run"),
]
Restart = Annotated[
    bool, typer.Option("--restart", help="Begin anew where --out holds a run with other data or settings.")
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", min=0, max=256, help="Decoding processes.", show_default="one a core"),
]
CacheDir = Annotated[
    Path | None,
    typer.Option("--cache-dir", help="Where decoded images are kept.", show_default="in the run directory"),
]

TrainOn = Annotated[
    str | None,
    typer.Option(
        "--train-on",
        help="Another source: one network, no folds, is trained on it and judges the labels of SOURCE. "
        "Options under Source hold for both, but --split; of a folder and a manifest, columns are the "
        "manifest's.",
        show_default=False,
    ),
]
TrainSplit = Annotated[
    str | None,
    typer.Option("--train-split", help="Which split of --train-on to read.", show_default="asked for"),
]

DEFAULT_OUT = Path("labelscrub-out")


def takes_settings(
    command: Callable[..., Any] | None = None,
    *,
    groups: Collection[str] = tuple(GROUPS),
    without: Collection[str] = (),
    limits: bool = False,
) -> Callable[..., Any]:
    """Give a command the settings of these groups, but those of `without`, as options; hand it `settings`.

    With `limits` also those of `check`, as `limits`. The command itself declares `config` and the keywords it
    is handed; precedence is read_settings'. As a bare decorator, or with groups:
    `@takes_settings(groups=("source",))`.
    """
    if command is None:
        return functools.partial(takes_settings, groups=groups, without=without, limits=limits)
    signature = inspect.signature(command, eval_str=True)
    own = [p for p in signature.parameters.values() if p.name not in ("settings", "limits")]
    names = [(group, name) for group in groups for name in GROUPS[group].__dataclass_fields__]
    options = [_option(group, name) for group, name in names if name not in without]
    of_limits = [_option("limits", name) for name in all_limits()] if limits else []

    @functools.wraps(command)
    def wrapped(**values: Any) -> Any:
        given = {option.name: values.pop(option.name) for option in options}
        found = {"environ": os.environ, "folder": Path.cwd(), "config": values["config"]}
        if limits:
            for variable, hint in unknown_variables(os.environ):  # it may be a limit that is now not there
                typer.echo(printable(f"warning: {variable} sets nothing: {hint}"), err=True)
            values["limits"] = read_limits({o.name: values.pop(o.name) for o in of_limits}, **found)
        return command(settings=read_settings(given, **found), **values)

    parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in [*own, *of_limits, *options]]
    wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # inspect reads it
    wrapped.__annotations__ = {p.name: p.annotation for p in parameters}
    return wrapped


def _option(group: str, name: str) -> inspect.Parameter:
    field = (all_settings() | all_limits())[name]
    kind = str(field.type).split(" ")[0]
    text, choices = field.metadata["help"], field.metadata["choices"]
    if choices:
        text += " One of: " + ", ".join(choices) + "."
    shown = field.metadata["shown"] or ("no" if kind == "bool" else str(field.default))
    names = f"{flag(name)}/--no-{flag(name)[2:]}" if kind == "bool" else flag(name)
    option = typer.Option(names, help=text, show_default=shown, rich_help_panel=PANELS[group])
    python_type: Any = {"int": int, "float": float, "bool": bool, "str": str}[kind]
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[python_type | None, option],
    )
