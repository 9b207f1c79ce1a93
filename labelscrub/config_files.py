"""Settings from where people keep them: command line, environment, settings file."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labelscrub.config import Settings, all_settings
from labelscrub.errors import UsageError


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
    known = all_settings()
    values = {**read_settings_file(folder, config)}
    for name, field in known.items():
        variable = "LABELSCRUB_" + name.upper()
        if variable in environ:
            values[name] = parse_value(field, environ[variable], variable)
    values |= {name: value for name, value in given.items() if value is not None}
    return Settings.of(values)


def read_settings_file(folder: Path, config: Path | None = None) -> dict[str, Any]:
    """Flat settings of the settings file; empty where there is none. Dashes in names are fine."""
    import tomllib

    candidates = [config] if config else [folder / "labelscrub.toml", folder / "pyproject.toml"]
    for path in candidates:
        try:
            table: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            if config:
                raise UsageError(f"settings file {path} does not exist") from error
            continue
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            if path.name == "pyproject.toml" and not config:
                continue  # not ours: whoever owns it will complain
            raise UsageError(f"settings file {path} can't be read: {error}") from error
        if path.name == "pyproject.toml":
            table = table.get("tool", {}).get("labelscrub", {})
        if table:
            return {name.replace("-", "_"): value for name, value in table.items()}
    return {}


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
