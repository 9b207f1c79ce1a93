"""What people decided: `decisions.jsonl`, one JSON object a line, as page, review and prune share it.

    {"row": 17, "path": "images/17.png", "given_label": "cat", "sha256": "9f...", "choice": "relabel",
     "label": "dog"}

A journal only grows: of several lines about one row the last holds, and the choice "unreviewed" takes an
earlier one back. Other keys (a time, a name) may stand in a line and are not read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labelscrub.curation.select import SuspectTable
from labelscrub.errors import DataError, UsageError
from labelscrub.review_records import CHOICES, Decision

_NO_IMAGE = "0" * 64


def decision_line(decision: Decision, **more: Any) -> str:
    """One line of the journal, with its line end; ASCII, so no name can break it. `more` are further keys."""
    entry = {
        "row": decision.row,
        "path": decision.path,
        "given_label": decision.given_label,
        "sha256": decision.sha256,
        "choice": decision.choice,
        **({"label": decision.label} if decision.choice == "relabel" else {}),
        **more,
    }
    return json.dumps(entry) + "\n"


def parse_decisions(text: str, name: str) -> list[Decision]:
    """The decisions of a journal in the order they were made; DataError names `name` and the line.

    A last line without its end was cut short by a crash while it was written, and is left out.
    """
    lines = text.split("\n")
    complete, rest = lines[:-1], lines[-1]
    decisions = [_decision(line, f"{name}, line {n}") for n, line in enumerate(complete, 1) if line.strip()]
    if rest.strip():
        try:
            decisions.append(_decision(rest, f"{name}, line {len(lines)}"))
        except DataError:
            if not decisions:
                raise
    return decisions


def read_decisions(path: Path) -> list[Decision]:
    """The decisions in a journal file."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        fix = "save them from report.html, or decide with `labelscrub review`"
        raise UsageError(f"there are no decisions in {path}", fix) from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 text", "give the decisions.jsonl that the page saved"
        ) from error
    return parse_decisions(text, str(path))


def _decision(line: str, where: str) -> Decision:
    fix = 'a decision is {"row": 3, "given_label": "cat", "choice": "relabel", "label": "dog", ...}'
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not JSON", fix) from error
    if not isinstance(entry, dict):
        raise DataError(f"{where}: not a JSON object", fix)
    row, choice, label = entry.get("row"), entry.get("choice"), entry.get("label", "")
    texts = [entry.get(key, "") for key in ("given_label", "path", "sha256")]
    if type(row) is not int or row < 0:
        raise DataError(f"{where}: 'row' is {row!r}, not a row's number", fix)
    if choice not in CHOICES:
        raise DataError(f"{where}: 'choice' is {choice!r}, not one of {', '.join(CHOICES)}", fix)
    if not all(isinstance(text, str) for text in (label, *texts)):
        raise DataError(f"{where}: label, given_label, path and sha256 are texts", fix)
    if choice == "relabel" and not label:
        raise DataError(f"{where}: relabel without the right label", fix)
    return Decision(row, choice, label if choice == "relabel" else "", *texts)


@dataclass(frozen=True)
class Settled:
    """Decisions held against the run they are to be applied to."""

    decisions: tuple[Decision, ...]
    """The last one of each row, unreviewed ones left out, with the row as this run has it; by row."""
    strange: tuple[Decision, ...]
    """Those about images or labels that this run does not have: nothing is done for them."""


def last_words(decisions: Iterable[Decision]) -> list[Decision]:
    """Of several decisions about one thing only the last, in the order in which these were made."""
    last: dict[tuple[int, str, str, str], Decision] = {}
    for decision in decisions:
        key = decision.row, decision.path, decision.sha256, decision.given_label
        last.pop(key, None)
        last[key] = decision
    return list(last.values())


def settle(decisions: Iterable[Decision], table: SuspectTable) -> Settled:
    """Which decisions hold, and for which rows of `table`.

    A decision is about an image under a label: where its row holds another image or label now (rows were
    added or removed since), it holds for the rows that have this image (sha256) under this label.
    """
    used = table.used.nonzero()[0].tolist()
    digests = dict(zip(used, (bytes(digest).hex() for digest in table.sha256), strict=True))
    by_content: dict[tuple[str, str], list[int]] | None = None
    settled: dict[int, Decision] = {}
    strange = []
    for decision in last_words(decisions):
        if _fits(decision, decision.row, table, digests):
            rows: Sequence[int] = [decision.row]
        else:
            if by_content is None:
                by_content = {}
                for row, digest in digests.items():
                    label = table.labels[table.given[row]]
                    by_content.setdefault((digest, label), []).append(row)
            rows = by_content.get((decision.sha256, decision.given_label), []) if decision.sha256 else []
        if not rows and decision.choice != "unreviewed":
            strange.append(decision)
        for row in rows:
            settled[row] = Decision(
                row,
                decision.choice,
                decision.label,
                table.labels[table.given[row]],
                table.path[row],
                digests.get(row, "").replace(_NO_IMAGE, ""),
            )
    held = [settled[row] for row in sorted(settled) if settled[row].choice != "unreviewed"]
    return Settled(tuple(held), tuple(strange))


def _fits(decision: Decision, row: int, table: SuspectTable, digests: dict[int, str]) -> bool:
    """Whether the run's row is what the decision is about, as far as the decision says."""
    if row not in digests or table.labels[table.given[row]] != decision.given_label:
        return False
    return decision.sha256 in ("", digests[row]) and decision.path in ("", table.path[row])
