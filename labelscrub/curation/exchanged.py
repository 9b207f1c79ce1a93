"""Decisions read back from the tools that `labelscrub export` writes for, recognised by content.

An image's answer is its label as the tool has it now. In Label Studio somebody gave it, so the given label
again means keep. In FiftyOne and in metadata.jsonl it was there from the start, so it means nothing unless
the image says "decision": "keep". Several answers, or none, decide nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labelscrub.curation.answers import KNOWN, Answer, fiftyone, label_studio, metadata, parse
from labelscrub.curation.decisions import parse_decisions
from labelscrub.curation.select import SuspectTable
from labelscrub.errors import DataError, UsageError
from labelscrub.review_records import Choice, Decision, choice_name

_FOLDERS = ("labels.json", "metadata.jsonl")


@dataclass(frozen=True)
class Returned:
    """What a tool gave back."""

    decisions: tuple[Decision, ...]
    undecided: int
    """Images without an answer, or with several: an earlier decision about them still holds."""


def read_any_decisions(path: Path, table: SuspectTable, classes: Sequence[str]) -> Returned:
    """The decisions in a file, or in a FiftyOne or Hugging Face folder.

    table: the run they are for; it says which label an image was given where the tool has lost that.
    classes: of the run, with those that no image has.

    Raises:
        UsageError: there is no such file.
        DataError: none of the formats, or a damaged one; it names the file and the task or line.
    """
    path, text = _read(path)
    name = str(path)
    document = parse(text)
    if isinstance(document, list):
        answers = list(label_studio(document, name))
    elif isinstance(document, dict) and "labels" in document and "row" not in document:
        answers = list(fiftyone(document, name))
    elif _is_metadata(text):
        answers = list(metadata(text, name))
    elif _is_object(text):
        return Returned(tuple(parse_decisions(text, name)), 0)
    else:
        raise DataError(f"{name} {'is not JSON' if document is None else 'holds no decisions'}", KNOWN)
    last: dict[tuple[int, str], Answer] = {}
    for answer in answers:
        key = answer.row, answer.sha256
        if key not in last or answer.time >= last[key].time:
            last[key] = answer
    reader = _Reader(table, classes)
    decisions = [reader.decision(answer) for answer in last.values()]
    decided = tuple(decision for decision in decisions if decision)
    return Returned(decided, len(decisions) - len(decided))


def _read(path: Path) -> tuple[Path, str]:
    if path.is_dir():
        found = [path / name for name in _FOLDERS if (path / name).is_file()]
        if len(found) != 1:
            has = f"both {' and '.join(_FOLDERS)}" if found else f"neither {' nor '.join(_FOLDERS)}"
            raise UsageError(f"{path} has {has}", KNOWN)
        path = found[0]
    try:
        return path, path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise UsageError(f"there are no decisions in {path}", KNOWN) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text", KNOWN) from error


def _first_line(text: str) -> Any:
    return parse(next((line for line in text.split("\n") if line.strip()), ""))


def _is_object(text: str) -> bool:
    """Whether it may be decisions.jsonl, of which an empty one has no decision."""
    return not text.strip() or isinstance(_first_line(text), dict)


def _is_metadata(text: str) -> bool:
    first = _first_line(text)
    named = isinstance(first, dict) and ("file_name" in first or "original_label" in first)
    return named and "choice" not in first


class _Reader:
    """What answers come to in one run; looked up, for there may be a million, and thousands of classes."""

    def __init__(self, table: SuspectTable, classes: Sequence[str]) -> None:
        self._table = table
        self._classes = frozenset(classes)
        self._shown: dict[str, list[str]] = {}
        for name in classes:
            self._shown.setdefault(choice_name(name), []).append(name)
        self._used = table.used.nonzero()[0]

    def decision(self, answer: Answer) -> Decision | None:
        """What an answer comes to; None where it decides nothing."""
        if len(answer.answers) != 1:
            return None
        given = answer.given if answer.given is not None else self._given_now(answer)

        def decided(choice: Choice, label: str = "") -> Decision:
            return Decision(answer.row, choice, label, given, answer.path, answer.sha256)

        said = answer.answers[0]
        if said in (given, choice_name(given)):
            return decided("keep") if answer.given_counts else None
        meant = [said] if said in self._classes else self._shown.get(said, [])
        if len(meant) == 1:
            return decided("relabel", meant[0])
        if said.strip(" []").lower() == "remove":
            return decided("remove")
        problem = "could be several classes" if meant else "is no class of the run"
        raise DataError(
            f"{answer.where}: the answer {said[:80]!r} {problem}", "correct it there, or in the file"
        )

    def _given_now(self, answer: Answer) -> str:
        """The label that the run has for the image in the row it was exported from."""
        table, used = self._table, self._used
        at = int(used.searchsorted(answer.row))
        same_row = at < len(used) and used[at] == answer.row
        if same_row and answer.sha256 in ("", bytes(table.sha256[at]).hex()):
            return table.labels[int(table.given[answer.row])]
        cause = f"{answer.where}: row {answer.row} is another image now, and its label then is not said"
        raise DataError(cause, "export again from this run")
