"""Decisions found again in a run: one after the other they give what `settle` makes of them all."""

from __future__ import annotations

import numpy as np
import pytest

from labelscrub.curation.decisions import settle
from labelscrub.curation.listed import Listed
from labelscrub.curation.select import SuspectTable
from labelscrub.review_records import Decision, Suspect

LABELS = ("cat", "dog")
N = 8


def digest(row):
    """Rows 0 and 1, and 2 and 3, have the same bytes."""
    return bytes([row // 2 if row < 4 else row]) * 32


GIVEN = [0, 1, 0, 0, 1, 1, 0, 1]


def suspect(row, **changed):
    return Suspect(
        **{
            "row": row,
            "rank": row + 1,
            "path": f"{row}.png",
            "given_label": LABELS[GIVEN[row]],
            "suggested_label": "dog",
            "suggested_probability": 0.9,
            "is_suspect": True,
            "score": 0.9,
            "error_probability": 0.9,
            "self_confidence": 0.1,
            "conflict": 0,
            "why": "",
            "sha256": digest(row).hex(),
            "line": 0,
            "column": 0,
            "top": (),
            **changed,
        }
    )


TABLE = SuspectTable(
    row=np.arange(N),
    path=[f"{row}.png" for row in range(N)],
    used=np.ones(N, np.bool_),
    labels=LABELS,
    given=np.array(GIVEN, np.int32),
    suggested=np.ones(N, np.int32),
    is_suspect=np.ones(N, np.bool_),
    score=np.full(N, 0.9),
    rank=np.arange(1, N + 1),
    conflict=np.zeros(N, np.int64),
    sha256=np.frombuffer(b"".join(map(digest, range(N))), np.uint8).reshape(N, 32),
    skipped=(),
)
LISTED = Listed(map(suspect, range(N)))


@pytest.mark.parametrize("seed", range(30))
def test_one_by_one_is_as_all_at_once(seed):
    """Rows moved, contents unknown, labels of another run, decisions taken back: the slow twin is settle."""
    rng = np.random.default_rng(seed)
    decisions = []
    for _ in range(40):
        about = int(rng.integers(N))
        choice = str(rng.choice(["keep", "relabel", "remove", "unreviewed"]))
        decisions.append(
            Decision(
                row=about if rng.random() < 0.6 else int(rng.integers(2 * N)),
                choice=choice,
                label="dog" if choice == "relabel" else "",
                given_label=str(rng.choice([LABELS[GIVEN[about]], "cat", "bird"], p=[0.8, 0.1, 0.1])),
                path=str(rng.choice([f"{about}.png", "", "moved.png"], p=[0.6, 0.2, 0.2])),
                sha256=str(rng.choice([digest(about).hex(), "", "ee" * 32], p=[0.8, 0.1, 0.1])),
            )
        )
    shown = {}
    for row, decision in LISTED.placed(decisions):
        shown[row] = (decision.choice, decision.label)
    shown = {row: said for row, said in shown.items() if said[0] != "unreviewed"}
    assert shown == {d.row: (d.choice, d.label) for d in settle(decisions, TABLE).decisions}
    assert shown


def test_what_is_made_here_is_found_here():
    for row in range(N):
        decision = LISTED.decision(row, "keep", "")
        assert LISTED.placed([decision]) == [(row, decision)]


def test_labels_alone_are_told_apart_by_path():
    """A run of labels alone has no content: rows with one label are not one image."""
    listed = Listed([suspect(2, sha256=""), suspect(3, sha256="")])
    decision = listed.decision(2, "keep", "")
    assert listed.placed([decision]) == [(2, decision)]
    assert listed.placed([Decision(3, "keep", "", "cat", "2.png", "")]) == []
    assert 2 in listed
    assert 0 not in listed
