"""Why an image is listed, in a few words of plain text; class names stand in it exactly as written."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from labelscrub.detection.duplicates import members_of
from labelscrub.detection.score import Margins
from labelscrub.records import Predictions

ROWS_NAMED = 3  # of a label in one conflict


def reasons(
    found: Margins,
    predictions: Predictions,
    labels: NDArray[np.integer],  # (N,)
    classes: Sequence[str],  # (K,)
    rows: NDArray[np.int64],  # (N,)
    suspect: NDArray[np.bool_],  # (N,)
    conflict: NDArray[np.int64],  # (N,)
    *,
    method: str,
) -> tuple[str, ...]:
    """(N,) one for each suspect and each conflicting duplicate, "" for the rest."""
    why = [""] * len(labels)
    for i in np.flatnonzero(suspect):
        given, other = classes[labels[i]], classes[found.other[i]]
        p_given, p_other = f"{found.p_given[i]:.2f}", f"{found.p_other[i]:.2f}"
        if method == "aum" and predictions.aum_threshold is not None:
            # in-training probabilities: a memorised wrong label looks right in them, so the margin leads
            aum, threshold = predictions.aum[i], predictions.aum_threshold[i]
            why[i] = f"AUM {aum:.2f} below {threshold:.2f}; next is {other} ({p_other}), {given} {p_given}"
        else:
            why[i] = f"looks like {other} ({p_other}), {given} {p_given}"
    for members in members_of(conflict):
        text = _conflict(labels[members], rows[members], classes)
        for i in members:
            why[i] = text
    return tuple(why)


def _conflict(
    labels: NDArray[np.integer],  # (M,) of one group
    rows: NDArray[np.int64],  # (M,)
    classes: Sequence[str],
) -> str:
    """ "same image labelled cat (row 3) and dog (rows 9, 12)", labels by first row."""
    by_label: dict[int, list[int]] = {}
    for i in np.argsort(rows, kind="stable"):
        by_label.setdefault(int(labels[i]), []).append(int(rows[i]))
    parts = []
    for label, found in by_label.items():
        named = ", ".join(str(row) for row in found[:ROWS_NAMED])
        more = f" and {len(found) - ROWS_NAMED} more" if len(found) > ROWS_NAMED else ""
        parts.append(f"{classes[label]} ({'rows' if len(found) > 1 else 'row'} {named}{more})")
    return "same image labelled " + ", ".join(parts[:-1]) + " and " + parts[-1]
