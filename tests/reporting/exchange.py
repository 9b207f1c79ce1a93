"""Suspects by plain rules, for the formats of other tools."""

from __future__ import annotations

from labelscrub.review_records import Suspect

CLASSES = ("cat", "dog", "ship")


def suspect(row: int = 0, given: str = "cat", suggested: str = "dog") -> Suspect:
    return Suspect(
        row=row,
        rank=row + 1,
        path=f"{given}/{row}.png",
        given_label=given,
        suggested_label=suggested,
        suggested_probability=0.75,
        is_suspect=True,
        score=0.9,
        error_probability=float("nan"),
        self_confidence=0.125,
        conflict=0,
        why="0.75 dog, 0.13 cat",
        sha256=f"{row:064x}",
        line=0,
        column=0,
        top=(("dog", 0.75), ("cat", 0.125)),
    )
