"""Splits: train, validation and test are never classes; which of them to read is the user's to say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from labelscrub.errors import UsageError

_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_KIND = {name: kind for kind, names in _NAMES.items() for name in names}


def split_kind(name: str) -> str | None:
    """ "train", "validation" or "test" for a split's name in any case; None for anything else."""
    return _KIND.get(name.lower())


def all_splits(names: Iterable[str]) -> bool:
    """Whether there are names and every one is a split's."""
    listed = list(names)
    return bool(listed) and all(split_kind(name) for name in listed)


def choose_splits(names: Sequence[str], wanted: str | None, source: Path) -> list[str]:
    """The splits that `--split` asks for; "val" finds "validation" where there is no "val"."""
    listed = ", ".join(names)
    if wanted is None:
        raise UsageError(
            f"{source} has splits: {listed}",
            "choose one with --split NAME, or read them together: --split all",
        )
    if wanted == "all":
        return list(names)
    found = [name for name in names if name == wanted]
    if not found and (kind := split_kind(wanted)):
        found = [name for name in names if split_kind(name) == kind]
    if not found:
        raise UsageError(
            f"{source} has no split {wanted!r}; its splits are: {listed}", "or read all: --split all"
        )
    return found


def reject_split_classes(names: Iterable[str], source: Path) -> None:
    """Refuse class folders of which several are named as splits: one alone, say of trains, may be a class."""
    found = [name for name in names if split_kind(name)]
    if len({split_kind(name) for name in found}) > 1:
        raise UsageError(
            f"{source}: {' and '.join(found)} look like splits, but there are other folders beside them",
            f"give one split as the source, such as {source / found[0]}, or move the other folders out; "
            "if all are classes, list them with --classes FILE",
        )
