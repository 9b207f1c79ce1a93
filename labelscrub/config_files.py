"""Settings and limits from where people keep them: command line, environment, settings file."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from labelscrub.config import Settings, all_settings, check_value, flag, nearest
from labelscrub.config_limits import Limits, all_limits
from labelscrub.errors import UsageError

COMMAND_LINE, DEFAULT, PREFIX = "command line", "default", "LABELSCRUB_"

Layers = Mapping[str, tuple[Any, str]]
"""The values that are said anywhere, by name, each with where it is said."""
Made = TypeVar("Made", Settings, Limits)


def read_settings(
    given: Mapping[str, Any],
    *,
    environ: Mapping[str, str],
    folder: Path,
    config: Path | None = None,
) -> Settings:
    """Settings by precedence: given (command line) > LABELSCRUB_* > settings file > default.

    Args:
        given: flat settings; None means "not given".
        environ: the process environment.
        folder: where `labelscrub.toml`, or `[tool.labelscrub]` in pyproject.toml, is looked for.
        config: a settings file named by the user, instead of looking in `folder`.
    Raises:
        UsageError: unknown names, wrong types, unreadable or missing files; a value that can't be is told
            with the file or variable that has it.
    """
    return _made(Settings.of, _layers(given, environ, folder, config, all_settings()))


def read_limits(
    given: Mapping[str, Any],
    *,
    environ: Mapping[str, str],
    folder: Path,
    config: Path | None = None,
) -> Limits:
    """The limits of `check`, by the same precedence and from the same files as `read_settings`."""
    return _made(lambda values: Limits(**values), _layers(given, environ, folder, config, all_limits()))


def origins(
    given: Mapping[str, Any],
    *,
    environ: Mapping[str, str],
    folder: Path,
    config: Path | None = None,
) -> dict[str, tuple[Any, str]]:
    """Every setting and limit with its value, and where that came from.

    Which is "command line", the variable ("LABELSCRUB_LOSS"), the file ("labelscrub.toml", "pyproject.toml"
    or `config` as named) or "default". Arguments and errors are those of `read_settings`.
    """
    settings, limits = all_settings(), all_limits()
    found = _layers(given, environ, folder, config, settings | limits)
    of_settings = {name: said for name, said in found.items() if name in settings}
    of_limits = {name: said for name, said in found.items() if name in limits}
    made = _made(Settings.of, of_settings), _made(lambda values: Limits(**values), of_limits)
    values = made[0].flat() | dataclasses.asdict(made[1])
    return {name: (value, found[name][1] if name in found else DEFAULT) for name, value in values.items()}


def unknown_variables(environ: Mapping[str, str]) -> list[tuple[str, str]]:
    """Each LABELSCRUB_* variable that sets nothing, and which one may be meant; by name."""
    known = all_settings() | all_limits()
    strange = []
    for variable in sorted(environ):
        name = variable.upper().removeprefix(PREFIX).lower()
        if variable.upper().startswith(PREFIX) and variable not in {PREFIX + k.upper() for k in known}:
            close = difflib.get_close_matches(name, known, n=1)
            meant = (
                f"did you mean {PREFIX}{close[0].upper()}?" if close else "labelscrub config show lists all"
            )
            strange.append((variable, meant))
    return strange


def _layers(
    given: Mapping[str, Any],
    environ: Mapping[str, str],
    folder: Path,
    config: Path | None,
    wanted: Mapping[str, dataclasses.Field[Any]],
) -> dict[str, tuple[Any, str]]:
    """The value of each wanted name that is said anywhere, and where; `given` is taken as it is."""
    stored, file = read_settings_file(folder, config)
    found = {name: (value, file) for name, value in stored.items() if name in wanted}
    for name, (value, _) in found.items():
        _check(wanted[name], value, file)
    for name, field in wanted.items():
        variable = PREFIX + name.upper()
        if variable in environ:
            found[name] = parse_value(field, environ[variable], variable), variable
            _check(field, found[name][0], variable)
    said = {name: value for name, value in given.items() if value is not None}
    return found | {name: (value, COMMAND_LINE) for name, value in said.items()}


def _check(field: dataclasses.Field[Any], value: Any, where: str) -> None:
    """UsageError, naming where the value stands, if it can't be by itself."""
    try:
        if field.name in all_limits():
            Limits(**{field.name: value})
        else:
            check_value(field, value)
    except UsageError as error:
        raise UsageError(f"{where}: {error.cause}", error.fix) from None


def _made(make: Callable[[dict[str, Any]], Made], layers: Layers) -> Made:
    """Settings or limits; of values that don't go together it is said where those not typed stand."""
    try:
        return make({name: value for name, (value, _) in layers.items()})
    except UsageError as error:
        named = re.findall(r"--[a-z][a-z-]*", error.cause)
        said = [
            f"{flag(name)} is from {where}"
            for name, (_, where) in layers.items()
            if where != COMMAND_LINE and flag(name) in named
        ]
        raise UsageError(error.cause + (f" ({', '.join(said)})" if said else ""), error.fix) from None


def read_settings_file(folder: Path, config: Path | None = None) -> tuple[dict[str, Any], str]:
    """Flat settings and limits of the settings file, and its name; empty where there is none.

    Dashes in names are fine; names that are neither a setting nor a limit are a UsageError.
    """
    import tomllib

    candidates = [config] if config else [folder / "labelscrub.toml", folder / "pyproject.toml"]
    for path in candidates:
        try:
            data = path.read_bytes()
        except FileNotFoundError as error:
            if config:
                raise UsageError(f"settings file {path} does not exist") from error
            continue
        except OSError as error:
            if path.name == "pyproject.toml" and not config:
                continue  # not ours: whoever owns it will complain
            raise UsageError(f"settings file {path} can't be read: {error}") from error
        try:
            table: Any = tomllib.loads(data.decode("utf-8-sig"))  # some editors put a mark before it
        except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            if path.name == "pyproject.toml" and not config and b"tool.labelscrub" not in data:
                continue  # but limits of ours must not go unnoticed
            raise UsageError(f"settings file {path} can't be read: {error}") from error
        if path.name == "pyproject.toml":
            tools = table.get("tool")
            table = tools.get("labelscrub", {}) if isinstance(tools, dict) else {}
            if not isinstance(table, dict):
                raise UsageError(f"{path}: tool.labelscrub is not a table", "write [tool.labelscrub]")
        if table:
            shown = str(config) if config else path.name
            return _known({name.replace("-", "_"): value for name, value in table.items()}, shown), shown
    return {}, ""


def _known(values: dict[str, Any], file: str) -> dict[str, Any]:
    known = all_settings() | all_limits()
    for name in values:
        if name not in known:
            raise UsageError(f"{file}: unknown setting '{name}'", nearest(name, known))
    return values


def parse_value(field: dataclasses.Field[Any], text: str, name: str) -> Any:
    """A setting's value from an environment variable's text."""
    kind = str(field.type).split(" ")[0]
    try:
        if kind == "bool":
            return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}[
                text.lower()
            ]
        return {"int": int, "float": float, "str": str}[kind](text)
    except (KeyError, ValueError) as error:
        raise UsageError(f"{name}={text!r} is not a {kind}") from error
