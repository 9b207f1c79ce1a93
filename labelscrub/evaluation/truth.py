"""The true labels of a source's rows: from a column of its own tables, or from a file beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from labelscrub.config import SourceSettings
from labelscrub.errors import DataError, UsageError
from labelscrub.records import Manifest, Progress, silent

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

UNKNOWN, OTHER_CLASS = -1, -2
_ALIGNED = (".npy", ".txt")
_SHOWN = 5


@dataclass(frozen=True, eq=False)
class Truth:
    """What is known about the true labels."""

    labels: NDArray[np.int32]
    """(R,) index into the manifest's classes; UNKNOWN (-1) where nothing is known; OTHER_CLASS (-2) where the
    true label is none of the classes, so that whatever label the row has is wrong."""
    origin: str
    """For people: "column 'true_label' of labels.csv"."""
    notes: tuple[str, ...]
    """What the user should know, a sentence each."""


def read_truth(
    manifest: Manifest, truth: str, settings: SourceSettings, progress: Progress = silent
) -> Truth:
    """The true label of each manifest row.

    Args:
        truth: a column of the source's tables, else a file. A table (.csv .tsv .jsonl .parquet) is matched by
            its path column; .npy and .txt have one label a row of the manifest, in its order. A column wins
            over a file of the same name, which `./NAME` means.
        settings: those that the manifest was read with.
    Raises:
        UsageError: neither a column nor a file, or the column of the given labels.
        DataError: a truth that does not fit the manifest.
    """
    from labelscrub.data.column import read_column
    from labelscrub.data.source import KINDS

    file = Path(truth)
    if manifest.tables and truth == manifest.label_column:
        raise UsageError(
            f"column {truth!r} holds the labels that the run judged", "name the column with the true labels"
        )
    try:
        texts = read_column(manifest, truth, settings, progress)
    except UsageError as error:
        if not file.is_file():
            fix = "name a column with the true labels, or a file: " + ", ".join((*KINDS, *_ALIGNED))
            raise UsageError(f"{error.cause}; and there is no file {truth!r}", fix) from error
    else:
        labels, notes = _numbered(texts, manifest.classes, f"column {truth!r}")
        return Truth(labels, f"column {truth!r} of {manifest.source.name}", notes)
    suffix = file.suffix.lower()
    if suffix in KINDS:
        texts, matched = _by_path(file, manifest, progress)
        labels, notes = _numbered(texts, manifest.classes, str(file))
        return Truth(labels, str(file), (*matched, *notes))
    if suffix in _ALIGNED:
        labels, notes = _numbered(_by_row(file, manifest), manifest.classes, str(file), positions=True)
        return Truth(labels, str(file), notes)
    raise UsageError(f"{file} is of no known kind", "known: " + ", ".join((*KINDS, *_ALIGNED)))


def _by_path(file: Path, manifest: Manifest, progress: Progress) -> tuple[list[str | None], tuple[str, ...]]:
    """(R,) the label of each row's path in a table, and what could not be matched."""
    from labelscrub.data.column import read_pairs

    label_of: dict[str, str | None] = {}
    for path, text in zip(*read_pairs(file, manifest, progress), strict=True):
        if label_of.setdefault(path, text) != text:
            raise DataError(
                f"{file} gives {path} two true labels: {label_of[path]!r} and {text!r}", "keep one of them"
            )
    texts = [label_of.get(path) for path in manifest.paths]
    without = [path for path in manifest.paths if path not in label_of]
    if len(without) == len(texts):
        raise DataError(
            f"{file} has none of the source's paths: {next(iter(label_of))!r} there, {without[0]!r} here",
            "write the paths as the source does",
        )
    notes = []
    if without:
        notes.append(f"rows not in {file}: {len(without):,} of {len(texts):,}; the first is {without[0]}")
    if surplus := label_of.keys() - set(manifest.paths):
        notes.append(
            f"paths in {file} that the source does not list: {len(surplus):,}; one is {min(surplus)}"
        )
    return texts, tuple(notes)


def _by_row(file: Path, manifest: Manifest) -> list[str | None]:
    """(R,) the labels of a file that has one a row."""
    from labelscrub.data import read_labels

    listed = read_labels(file)
    if len(listed) != len(manifest):
        raise DataError(
            f"{file} has {len(listed):,} labels, but the source lists {len(manifest):,} rows",
            "give one a row, in the source's order, or a table with a path column",
        )
    return [listed.classes[label] if label >= 0 else None for label in listed.labels.tolist()]


def _numbered(
    texts: Sequence[str | None],  # (R,)
    classes: tuple[str, ...],  # (K,)
    where: str,
    *,
    positions: bool = False,
) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """(R,) class indices and notes. -1 is unknown unless a class is called so.

    positions: whole numbers count classes from 0 where no class has a number for its name.
    """
    import numpy as np

    names = [name for name in dict.fromkeys(texts) if name is not None]
    place = {name: index for index, name in enumerate(classes)}
    place.setdefault("-1", UNKNOWN)
    known = [name for name in names if place.get(name) != UNKNOWN]
    if not known:
        raise DataError(f"{where} has no true labels: all are blank", "name the column or file that has them")
    notes = []
    if positions and all(map(str.isdecimal, known)) and not any(map(str.isdecimal, classes)):
        highest = max(map(int, known))
        if highest >= len(classes):
            raise DataError(
                f"{where} has the label {highest}, but the run has {len(classes)} classes, numbered from 0",
                "write class names instead of numbers",
            )
        place |= {str(index): index for index in range(len(classes))}
        shown = ", ".join(f"{index} is {name!r}" for index, name in enumerate(classes[:_SHOWN]))
        more = ", ..." if len(classes) > _SHOWN else ""
        notes.append(f"numbers in {where} were read as places in the run's order of classes: {shown}{more}")
    others = [name for name in known if name not in place]
    if len(others) == len(known):
        raise DataError(
            f"no true label in {where} is a class of the run: {_some(others)} there, {_some(classes)} here",
            "write them as the source writes its labels",
        )
    index_of: dict[str | None, int] = {name: place.get(name, OTHER_CLASS) for name in names}
    index_of[None] = UNKNOWN
    labels = np.array([index_of[text] for text in texts], np.int32)
    if others:
        notes.append(
            f"true labels that are no class of the run: {int((labels == OTHER_CLASS).sum()):,} "
            f"({_some(others)}); whatever label such an image was given is wrong"
        )
    return labels, tuple(notes)


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name if len(name) <= 40 else name[:37] + "...") for name in names[:_SHOWN])
    return shown + (f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else "")
