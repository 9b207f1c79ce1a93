"""What is to happen to which row: people's decisions, or the suspects, as changes of a manifest."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labelscrub.curation.decisions import Settled
from labelscrub.curation.select import SuspectTable, as_reported
from labelscrub.errors import DataError
from labelscrub.records import Manifest
from labelscrub.review_records import Decision


@dataclass(frozen=True)
class RowChanges:
    """What is decided about rows; every other row stays as it is."""

    remove: tuple[int, ...]
    """Ascending."""
    relabel: dict[int, int]
    """Row -> its new class, an index into the manifest's; another one than it has."""

    def leaving(self, count: int) -> NDArray[np.bool_]:
        """(count,) the rows that leave the class they have now."""
        rows = np.zeros(count, np.bool_)
        rows[[*self.remove, *self.relabel]] = True
        return rows


def chosen_suspects(
    table: SuspectTable,
    manifest: Manifest,
    chosen: NDArray[np.bool_],  # (R,)
    *,
    relabel: bool,
) -> RowChanges:
    """The chosen suspects go, or get the label that is suggested for them."""
    rows = np.flatnonzero(chosen).tolist()
    if not relabel:
        return RowChanges(tuple(rows), {})
    name, given, suggested = table.labels, table.given, table.suggested
    accepted = (
        Decision(row, "relabel", name[suggested[row]], name[given[row]], table.path[row], "") for row in rows
    )
    return decided(Settled(tuple(accepted), ()), manifest)


def decided(settled: Settled, manifest: Manifest) -> RowChanges:
    """What people decided: "keep", and a relabel to the label that a row has, change nothing.

    Raises:
        DataError: a label that is no class of the data set, or that names two.
    """
    number = class_numbers(manifest)
    relabel: dict[int, int] = {}
    for decision in settled.decisions:
        if decision.choice == "relabel":
            new = number.get(decision.label, -1)
            if new < 0:
                raise _no_class(decision, number)
            if new != manifest.labels[decision.row]:
                relabel[decision.row] = new
    removed = tuple(decision.row for decision in settled.decisions if decision.choice == "remove")
    return RowChanges(removed, relabel)


def class_numbers(manifest: Manifest) -> dict[str, int]:
    """Class name as the report shows it -> its number; -2 where two classes look the same there."""
    number: dict[str, int] = {}
    for index, name in enumerate(manifest.classes):
        shown = as_reported(name)
        number[shown] = -2 if shown in number else index
    return number


def strange_sentence(strange: Sequence[Decision]) -> str:
    """How many decisions are not about this run, and the first three of them; "" where there is none."""
    if not strange:
        return ""
    shown = ", ".join(f"row {d.row} ({d.path or 'no path'}, '{d.given_label}')" for d in strange[:3])
    more = f" and {len(strange) - 3:,} more" if len(strange) > 3 else ""
    many = "1 decision is" if len(strange) == 1 else f"{len(strange):,} decisions are"
    return f"{many} about images or labels that this run does not have, and left out: {shown}{more}"


def _no_class(decision: Decision, number: dict[str, int]) -> DataError:
    where = f"row {decision.row} ({decision.path}) is to be relabelled '{decision.label}'"
    if decision.label in number:
        return DataError(f"{where}, which two classes look like", "rename one of them")
    near = difflib.get_close_matches(decision.label, number, n=1)
    classes = ", ".join(list(number)[:10]) + (", ..." if len(number) > 10 else "")
    hint = f"did you mean '{near[0]}'? " if near else ""
    return DataError(
        f"{where}, which is no class of the data set",
        f"{hint}its classes are {classes}; one that no label names yet is listed with detect --classes FILE",
    )
