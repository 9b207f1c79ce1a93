"""Settings and limits from where people keep them: command line, environment, settings file."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labelscrub.config import Settings, all_settings, nearest
from labelscrub.config_limits import Limits, all_limits
from labelscrub.errors import UsageError

COMMAND_LINE, DEFAULT = "command line", "default"


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
        UsageError: unknown names, wrong types, unreadable or missing files.
    """
    return Settings.of(_values(_layers(given, environ, folder, config, all_settings())))


def read_limits(
    given: Mapping[str, Any],
    *,
    environ: Mapping[str, str],
    folder: Path,
    config: Path | None = None,
) -> Limits:
    """The limits of `check`, by the same precedence and from the same files as `read_settings`."""
    return Limits(**_values(_layers(given, environ, folder, config, all_limits())))


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
    of_settings = {name: value for name, (value, _) in found.items() if name in settings}
    of_limits = {name: value for name, (value, _) in found.items() if name in limits}
    values = Settings.of(of_settings).flat() | dataclasses.asdict(Limits(**of_limits))
    return {name: (value, found[name][1] if name in found else DEFAULT) for name, value in values.items()}


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
    for name, field in wanted.items():
        variable = "LABELSCRUB_" + name.upper()
        if variable in environ:
            found[name] = parse_value(field, environ[variable], variable), variable
    said = {name: value for name, value in given.items() if value is not None}
    return found | {name: (value, COMMAND_LINE) for name, value in said.items()}


def _values(layers: Mapping[str, tuple[Any, str]]) -> dict[str, Any]:
    return {name: value for name, (value, _) in layers.items()}


def read_settings_file(folder: Path, config: Path | None = None) -> tuple[dict[str, Any], str]:
    """Flat settings and limits of the settings file, and its name; empty where there is none.

    Dashes in names are fine; names that are neither a setting nor a limit are a UsageError.
    """
    import tomllib

    candidates = [config] if config else [folder / "labelscrub.toml", folder / "pyproject.toml"]
    for path in candidates:
        try:
            table: Any = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            if config:
                raise UsageError(f"settings file {path} does not exist") from error
            continue
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            if path.name == "pyproject.toml" and not config:
                continue  # not ours: whoever owns it will complain
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
