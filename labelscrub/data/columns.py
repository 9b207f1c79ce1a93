"""Which column holds the path and which the label: by exact name, or an error that shows what was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from labelscrub.config import SourceSettings, flag
from labelscrub.errors import UsageError

# Tiers: a name counts only where no earlier tier has one: a table with `id` and `filename` is no riddle.
_FILES = """path image_path img_path filepath file_path file_name filename file image_file image_filename
    image_file_name img_file fname relative_path rel_path"""
IMAGE_NAMES = ("image", "img", "image_name", "img_name", "picture", "photo")
PATH_NAMES = (tuple(_FILES.split()), IMAGE_NAMES, ("id", "image_id", "img_id", "uuid"))
_LABELS = "label labels class target category label_name class_name category_name given_label y"
LABEL_NAMES = (tuple(_LABELS.split()), ("label_id", "class_id", "category_id", "cls", "species"))

_SHOWN = 12


@dataclass(frozen=True)
class Columns:
    """Names of the columns to read, each exactly once in the table."""

    path: str
    label: str
    group: str | None


def find_columns(columns: Sequence[str], settings: SourceSettings, table: str) -> Columns:
    """The columns to read from a table with these header cells; `table` is its name, for messages."""
    path = find_column(columns, "path_column", settings.path_column, PATH_NAMES, table, "image paths")
    rest = [column for column in columns if column != path]
    label = find_column(
        rest, "label_column", settings.label_column, LABEL_NAMES, table, "labels", shown=columns
    )
    return Columns(path, label, find_group(columns, settings, table))


def find_group(columns: Sequence[str], settings: SourceSettings, table: str) -> str | None:
    """The group column, where one is asked for."""
    if settings.group_column is None:
        return None
    return find_column(columns, "group_column", settings.group_column, (), table, "groups")


def find_column(
    columns: Sequence[str],
    setting: str,
    wanted: str | None,
    tiers: Sequence[Sequence[str]],
    table: str,
    what: str,
    shown: Sequence[str] | None = None,
) -> str:
    """The wanted column, else the only one of the first tier that has any.

    `shown` are all columns, where those of the images are no choice.

    Only exact names are taken: a column " label" or "LABEL" is close enough to be offered, not to be guessed.
    """
    listed = _listed(columns if shown is None else shown)
    if wanted is not None:
        matches = [column for column in columns if column == wanted]
        if not matches and shown is not None and wanted in shown:
            raise UsageError(
                f"{table}: column {wanted!r} is the column of the images or image paths",
                f"name another one with {flag(setting)}",
            )
        if not matches:
            close = _close(columns, (wanted,))
            hint = (
                f"did you mean {flag(setting)} {close[0]!r}?"
                if close
                else f"name one of them with {flag(setting)}"
            )
            raise UsageError(f"{table} has no column {wanted!r}; its columns are: {listed}", hint)
    else:
        matches = next((found for tier in tiers if (found := [c for c in columns if c in tier])), [])
    if len(set(matches)) > 1:
        candidates = " and ".join(map(repr, dict.fromkeys(matches)))
        raise UsageError(
            f"{table}: the column with the {what} could be {candidates}; its columns are: {listed}",
            f"choose one with {flag(setting)}",
        )
    if len(matches) > 1:
        raise UsageError(
            f"{table} has {len(matches)} columns named {matches[0]!r}; its columns are: {listed}",
            f"rename all but one, or name another column with {flag(setting)}",
        )
    if not matches:
        close = _close(columns, [name for tier in tiers for name in tier])
        hint = (
            f"name it with {flag(setting)} {close[0]!r}" if close else f"name it with {flag(setting)} COLUMN"
        )
        raise UsageError(f"{table}: no column with the {what} found; its columns are: {listed}", hint)
    return matches[0]


def _close(columns: Sequence[str], names: Sequence[str]) -> list[str]:
    """Columns that differ from a name only by case or surrounding space."""
    wanted = {name.strip().casefold() for name in names}
    return [column for column in columns if column.strip().casefold() in wanted]


def _listed(columns: Sequence[str]) -> str:
    more = f" and {len(columns) - _SHOWN} more" if len(columns) > _SHOWN else ""
    return (
        ", ".join(repr(column if len(column) <= 80 else column[:77] + "...") for column in columns[:_SHOWN])
        + more
    )
