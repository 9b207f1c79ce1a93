"""What labelling tools say of each image: their files' structures, as documented, read into answers."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from labelscrub.errors import DataError
from labelscrub.review_records import REMOVE_CHOICE

_CHOICE = "choice"  # reporting.label_studio's from_name
KNOWN = (
    "give decisions.jsonl, or what `labelscrub export` wrote and a tool gave back: Label Studio's JSON or "
    "JSON-MIN, FiftyOne's labels.json, metadata.jsonl"
)


@dataclass(frozen=True)
class Answer:
    """What a tool says of one image."""

    where: str
    """File and task or line, for messages."""
    row: int
    sha256: str
    path: str
    given: str | None
    """The label that was exported; None where the tool has lost it."""
    answers: tuple[str, ...]
    given_counts: bool
    """Whether the given label, as the answer, means keep."""
    time: float = 0.0
    """When it was given, in seconds, -inf where nobody has; the last one about an image holds."""


def parse(text: str) -> Any:
    """The document, or None where it is not one JSON value."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def label_studio(tasks: list[Any], name: str) -> Iterator[Answer]:
    """Answers of a JSON export, whose tasks have `data`, or of a JSON-MIN one, whose tasks are the data."""
    ours = 0
    for number, task in enumerate(tasks, 1):
        where = f"{name}, task {number}"
        if not isinstance(task, dict):
            raise DataError(f"{where}: not an object", KNOWN)
        data = task.get("data", task)
        if not isinstance(data, dict):
            raise DataError(f"{where}: 'data' is not an object", KNOWN)
        if "ls_id" not in data and "row" not in data:
            continue  # somebody else's task in the same project
        ours += 1
        row, sha256 = _row(data, where), _text(data, "ls_id", where).removeprefix("sha256:")
        path, given = _text(data, "path", where), _text(data, "given_label", where) or None
        found = _annotations(task, where) if "data" in task else [(_min_choices(task, where), _time(task))]
        for answers, time in found or [((), -math.inf)]:
            yield Answer(where, row, sha256, path, given, answers, True, time)
    if tasks and not ours:
        raise DataError(f"{name}: none of its {len(tasks):,} tasks is one that labelscrub exported", KNOWN)


def _annotations(task: dict[str, Any], where: str) -> list[tuple[tuple[str, ...], float]]:
    """Answers and time of each annotation that was not skipped."""
    found = []
    for annotation in _list(task, "annotations", where):
        if not isinstance(annotation, dict):
            raise DataError(f"{where}: an annotation is not an object", KNOWN)
        if annotation.get("was_cancelled"):
            continue
        by_control: dict[str, list[str]] = {}
        for result in _list(annotation, "result", where):
            if not isinstance(result, dict):
                raise DataError(f"{where}: a result is not an object", KNOWN)
            value = result.get("value")
            if result.get("type") == "choices" and isinstance(value, dict):
                control = by_control.setdefault(str(result.get("from_name")), [])
                control += _texts(value.get("choices"), where)
        controls = [by_control[_CHOICE]] if _CHOICE in by_control else list(by_control.values())
        answers = tuple(controls[0]) if len(controls) == 1 else ()
        found.append((answers, _time(annotation)))
    return found


def _min_choices(task: dict[str, Any], where: str) -> tuple[str, ...]:
    """JSON-MIN writes one choice as text, several as an object."""
    choice = task.get(_CHOICE)
    if isinstance(choice, dict):
        choice = choice.get("choices")
    return tuple(_texts([choice] if isinstance(choice, str) else choice, where))


def _time(entry: dict[str, Any]) -> float:
    """When an annotation was last changed; 0 where it does not say."""
    for key in ("updated_at", "created_at"):
        try:
            moment = datetime.fromisoformat(str(entry.get(key)))
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            continue
    return 0.0


def fiftyone(document: dict[str, Any], name: str) -> Iterator[Answer]:
    """Answers of a labels.json: one label an image, or several, each bare or with attributes."""
    labels, names = document["labels"], document.get("classes")
    if not isinstance(labels, dict):
        raise DataError(f"{name}: 'labels' is not an object", KNOWN)
    ours = 0
    for key, label in labels.items():
        where = f"{name}, {key!r}"
        entries = label if isinstance(label, list) else [label]
        attributes: dict[str, Any] = {}
        for entry in entries:
            attributes |= _attributes(entry, where)
        if "row" not in attributes:
            continue
        ours += 1
        found = [entry.get("label") if isinstance(entry, dict) else entry for entry in entries]
        answers = [_class_name(each, names, where) for each in found if each is not None]
        yield _existing(attributes, "given_label", answers, where)
    if labels and not ours:
        cause = f"{name}: none of its {len(labels):,} labels has the attributes that labelscrub exported"
        raise DataError(cause, "export from FiftyOne with include_attributes=True")


def _attributes(entry: Any, where: str) -> dict[str, Any]:
    attributes = entry.get("attributes") if isinstance(entry, dict) else None
    if not isinstance(attributes, dict | None):
        raise DataError(f"{where}: 'attributes' is not an object", KNOWN)
    return attributes or {}


def _class_name(label: Any, names: Any, where: str) -> str:
    """A label, which FiftyOne may write as its place in `classes`."""
    if type(label) is int and isinstance(names, list) and 0 <= label < len(names):
        label = names[label]
    if not isinstance(label, str):
        raise DataError(f"{where}: its label is {str(label)[:80]!r}, not a text", KNOWN)
    return label


def metadata(text: str, name: str) -> Iterator[Answer]:
    """Answers of a metadata.jsonl."""
    for number, line in enumerate(text.split("\n"), 1):
        where = f"{name}, line {number}"
        if not line.strip():
            continue
        entry = parse(line)
        if not isinstance(entry, dict):
            raise DataError(f"{where}: not a JSON object", KNOWN)
        label = entry.get("label")
        answers = [] if label is None else [_class_name(label, None, where)]
        yield _existing(entry, "original_label", answers, where)


def _existing(entry: dict[str, Any], given: str, answers: Sequence[str], where: str) -> Answer:
    """An answer that was there when the image was exported, and may have been changed since."""
    decision = _text(entry, "decision", where).strip().lower()
    if decision not in ("", "keep", "relabel", "remove"):
        raise DataError(f"{where}: 'decision' is {decision[:80]!r}, not keep, relabel or remove", KNOWN)
    return Answer(
        where,
        _row(entry, where),
        _text(entry, "sha256", where),
        _text(entry, "source_path", where),
        _text(entry, given, where) or None,
        (REMOVE_CHOICE,) if decision == "remove" else tuple(answers),
        decision == "keep",
    )


def _row(entry: dict[str, Any], where: str) -> int:
    row = entry.get("row")
    if isinstance(row, float) and row.is_integer():
        row = int(row)  # pandas, where a column had a gap
    if type(row) is not int or not 0 <= row < 1 << 62:
        raise DataError(f"{where}: 'row' is {str(row)[:80]!r}, not a row's number", KNOWN)
    return row


def _text(entry: dict[str, Any], key: str, where: str) -> str:
    """A text of an entry; "" where it is missing or null."""
    value = entry.get(key)
    if not isinstance(value, str | None):
        raise DataError(f"{where}: {key!r} is not a text", KNOWN)
    return value or ""


def _list(entry: dict[str, Any], key: str, where: str) -> list[Any]:
    """A list of an entry; empty where it is missing or null."""
    value = entry.get(key)
    if not isinstance(value, list | None):
        raise DataError(f"{where}: {key!r} is not a list", KNOWN)
    return value or []


def _texts(value: Any, where: str) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise DataError(f"{where}: its answers are not a list of texts", KNOWN)
    return value
