"""Where settings come from, said so that a mistake is found: which file or variable, and which name in it."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labelscrub.config import all_settings, check_value
from labelscrub.config_files import origins, parse_value, read_settings_file
from labelscrub.config_limits import all_limits
from labelscrub.errors import UsageError

PREFIX = "LABELSCRUB_"


def settings_here(
    *, environ: Mapping[str, str], folder: Path, config: Path | None = None
) -> dict[str, tuple[Any, str]]:
    """Every setting and limit with its value and origin, as `config_files.origins` has them.

    Raises:
        UsageError: as it does; a value that can't be is told with the file or variable that has it.
    """
    known = all_settings() | all_limits()
    values, file = read_settings_file(folder, config)
    for name, value in values.items():
        _check(known[name], value, file)
    for name, field in known.items():
        variable = PREFIX + name.upper()
        if variable in environ:
            _check(field, parse_value(field, environ[variable], variable), variable)
    return origins({}, environ=environ, folder=folder, config=config)


def _check(field: dataclasses.Field[Any], value: object, where: str) -> None:
    try:
        check_value(field, value)
    except UsageError as error:
        raise UsageError(f"{where}: {error.cause}", error.fix) from None


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
