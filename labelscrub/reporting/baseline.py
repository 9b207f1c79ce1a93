"""The baseline of `labelscrub check`: known suspects and what people decided about them; bytes in and out.

    {"tool": "labelscrub baseline", "format": 1, "entries": [
    {"sha256": "9f...", "given_label": "cat", "path": "images/17.png", "suggested_label": "dog",
     "verdict": "relabel", "label": "dog"},
    ...
    ]}

One entry a line, sorted, so that a change of one label is a change of one line. An entry is about an image
under a label: where either changes, it is about something else. Runs of labels alone have no images: there
the path takes their place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from labelscrub.errors import DataError, UsageError
from labelscrub.review_records import CHOICES, Decision, Suspect

TOOL, FORMAT = "labelscrub baseline", 1
UNREVIEWED = "unreviewed"
_FIX = "restore the file from your version control; labelscrub never overwrites what it can't read"

Key = tuple[str, str]
"""(sha256 of the image, or "path:" and its path where there is no image, and the given label)."""


@dataclass(frozen=True)
class Entry:
    """One known suspect."""

    sha256: str
    """Of the image's bytes, in hexadecimal; "" where the run had labels alone."""
    given_label: str
    path: str
    suggested_label: str
    verdict: str
    """One of CHOICES: what people decided."""
    label: str = ""
    """The right label, with the verdict relabel."""

    @property
    def key(self) -> Key:
        return _key(self.sha256, self.path, self.given_label)


@dataclass(frozen=True)
class Compared:
    """The suspects of a run held against a baseline."""

    new: tuple[Suspect, ...]
    """By rank, as are the known ones."""
    known: tuple[Suspect, ...]
    undone: int
    """Known ones that people decided to relabel or remove, and that are still in the data."""
    known_rows: frozenset[int]
    """Rows of all listed images, conflicting duplicates too, that the baseline knows under their label."""


def suspect_key(suspect: Suspect) -> Key:
    """What a suspect is known by."""
    return _key(suspect.sha256, suspect.path, suspect.given_label)


def _key(sha256: str, path: str, given_label: str) -> Key:
    return sha256 or f"path:{path}", given_label


def parse_baseline(data: bytes, name: str) -> dict[Key, Entry]:
    """The entries of a baseline; DataError, naming `name`, where it is damaged or not one."""
    try:
        document = json.loads(data.decode("utf-8-sig"))  # some editors put a mark before it
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name} is no baseline of labelscrub, or damaged: {error}", _FIX) from error
    if not isinstance(document, dict) or document.get("tool") != TOOL:
        raise DataError(f"{name} is no baseline of labelscrub", "name the file that --update-baseline wrote")
    if type(document.get("format")) is not int or document["format"] > FORMAT:
        raise DataError(
            f"{name} has format {document.get('format')!r}, this labelscrub reads up to {FORMAT}",
            "upgrade labelscrub",
        )
    if not isinstance(document.get("entries"), list):
        raise DataError(f"{name} is damaged: it has no list of entries", _FIX)
    entries: dict[Key, Entry] = {}
    for number, item in enumerate(document["entries"], 1):
        entry = _entry(item, f"{name}, entry {number}")
        if entry.key in entries:
            raise DataError(
                f"{name}, entry {number}: a second one about {entry.path} as {entry.given_label!r}",
                "delete one of the two lines",
            )
        entries[entry.key] = entry
    return entries


def _entry(item: Any, where: str) -> Entry:
    if not isinstance(item, Mapping):
        raise DataError(f"{where}: not an object", _FIX)
    where += f" ({item['path']})" if isinstance(item.get("path"), str) else ""
    for key in ("sha256", "given_label", "path", "suggested_label", "verdict"):
        if not isinstance(item.get(key), str):
            raise DataError(f"{where}: '{key}' is {item.get(key)!r}, not a text", _FIX)
    sha256, verdict, label = item["sha256"], item["verdict"], item.get("label", "")
    if not _is_digest(sha256):
        raise DataError(f"{where}: 'sha256' is not 64 hexadecimal digits", _FIX)
    if verdict not in CHOICES:
        raise DataError(f"{where}: 'verdict' is {verdict!r}, not one of {', '.join(CHOICES)}", _FIX)
    if not isinstance(label, str) or bool(label) != (verdict == "relabel"):
        raise DataError(
            f"{where}: 'label' is {label!r}; a right label goes with relabel, and only there", _FIX
        )
    return Entry(sha256, item["given_label"], item["path"], item["suggested_label"], verdict, label)


def _is_digest(sha256: str) -> bool:
    return not sha256 or re.fullmatch("[0-9a-f]{64}", sha256) is not None


def baseline_bytes(entries: Mapping[Key, Entry]) -> bytes:
    """The file: ASCII, so that no name can turn a diff around; the same entries give the same bytes."""
    ordered = sorted(entries.values(), key=lambda e: (e.path, e.given_label, e.sha256))
    lines = [
        json.dumps({name: value for name, value in vars(entry).items() if name != "label" or value})
        for entry in ordered
    ]
    head = f'{{"tool": {json.dumps(TOOL)}, "format": {FORMAT}, "entries": ['
    return (head + "".join(f"\n{line}," for line in lines).removesuffix(",") + "\n]}\n").encode()


def compare(entries: Mapping[Key, Entry], listed: Sequence[Suspect]) -> Compared:
    """Which suspects are new; images that are listed as conflicting duplicates only are none."""
    known_rows = frozenset(s.row for s in listed if suspect_key(s) in entries)
    known = tuple(s for s in listed if s.is_suspect and s.row in known_rows)
    new = tuple(s for s in listed if s.is_suspect and s.row not in known_rows)
    undone = sum(entries[suspect_key(s)].verdict in ("relabel", "remove") for s in known)
    return Compared(new, known, undone, known_rows)


def update(entries: Mapping[Key, Entry], suspects: Sequence[Suspect]) -> dict[Key, Entry]:
    """The entries after a scan that found these suspects.

    What people decided stays, also about images that are no suspects this time; of what nobody decided, only
    present suspects stay, and new ones come in.
    """
    updated = {key: entry for key, entry in entries.items() if entry.verdict != UNREVIEWED}
    for suspect in sorted(suspects, key=lambda s: s.path, reverse=True):  # of copies the first path stays
        if suspect.is_suspect:
            key = suspect_key(suspect)
            before = entries.get(key)
            now = Entry(
                suspect.sha256, suspect.given_label, suspect.path, suspect.suggested_label, UNREVIEWED
            )
            updated[key] = replace(now, verdict=before.verdict, label=before.label) if before else now
    return updated


def decide(
    entries: Mapping[Key, Entry], decisions: Iterable[Decision], listed: Iterable[Suspect]
) -> dict[Key, Entry]:
    """The entries with people's decisions in them, the last about each image; unreviewed takes one back.

    listed: the images of the run's report; a decision that names no image by its bytes is looked up there.
    """
    decided = dict(entries)
    suspects = tuple(listed)
    by_row = {suspect.row: suspect for suspect in suspects}
    by_key = {suspect_key(suspect): suspect for suspect in suspects}
    for decision in decisions:
        entry = _decided(decision, by_row, by_key)
        before = decided.get(entry.key)
        if before is not None:
            entry = replace(entry, path=before.path, suggested_label=before.suggested_label)
        decided[entry.key] = entry
    return decided


def _decided(decision: Decision, by_row: Mapping[int, Suspect], by_key: Mapping[Key, Suspect]) -> Entry:
    sha256, path = decision.sha256, decision.path
    where = f"the decision on row {decision.row} ({decision.given_label})"
    at_row = by_row.get(decision.row)
    if not sha256 and at_row is not None:
        same = at_row.given_label == decision.given_label and path in ("", at_row.path)
        sha256, path = (at_row.sha256, at_row.path) if same else (sha256, path)
    if not _is_digest(sha256):
        raise DataError(
            f"{where}: sha256 is not 64 hexadecimal digits", "give the decisions.jsonl as it was saved"
        )
    if not sha256 and not path:
        raise UsageError(
            f"{where} says neither sha256 nor path, and this run does not list that row with that label",
            "give the decisions.jsonl of this run",
        )
    found = by_key.get(_key(sha256, path, decision.given_label))
    suggested = found.suggested_label if found is not None else ""
    return Entry(sha256, decision.given_label, path, suggested, decision.choice, decision.label)
