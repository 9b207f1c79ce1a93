"""What a code-scanning alert or an annotation says of a suspect label or a conflicting duplicate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from labelscrub.reporting.text import one_line, shortened, whole_percent
from labelscrub.reporting.verdict import Verdict
from labelscrub.review_records import Suspect

SUSPECT, DUPLICATE = "suspect-label", "conflicting-duplicate"
_NOT_OF_SUSPECTS = ("fail-on-conflicting-duplicates", "fail-on-unreadable")
_NAME = 80  # characters of a label in a message


@dataclass(frozen=True)
class Alert:
    """One finding at one place."""

    rule: str
    """SUSPECT or DUPLICATE."""
    level: Literal["error", "warning"]
    """An error where a gate on such findings failed."""
    suspect: Suspect
    file: str
    """Absolute path of what the alert is in: the manifest, or in an image folder the image."""
    is_new: bool | None
    """Whether the baseline does not know it; None without a baseline."""
    text: str
    """One line for people, names in it made printable."""


def alerts(verdict: Verdict) -> list[Alert]:
    """All there is to point at, by rank: conflicting duplicates, and suspects that the baseline doesn't know.

    An image that is both is pointed at for both.
    """
    assert verdict.listing is not None
    found = []
    known = verdict.compared.known_rows if verdict.compared is not None else frozenset()
    for suspect in verdict.listing:
        is_new = None if verdict.compared is None else suspect.row not in known
        if suspect.conflict:
            found.append(_alert(verdict, suspect, DUPLICATE, is_new))
        if suspect.is_suspect and is_new is not False:
            found.append(_alert(verdict, suspect, SUSPECT, is_new))
    return found


def _alert(verdict: Verdict, suspect: Suspect, rule: str, is_new: bool | None) -> Alert:
    failed = {gate.name for gate in verdict.gates if not gate.passed}
    decides = (
        "fail-on-conflicting-duplicates" in failed if rule == DUPLICATE else failed - {*_NOT_OF_SUSPECTS}
    )
    text = _duplicate_text(suspect) if rule == DUPLICATE else _suspect_text(suspect)
    level: Literal["error", "warning"] = "error" if decides else "warning"
    return Alert(rule, level, suspect, verdict.places.file_of(suspect), is_new, text)


def _suspect_text(suspect: Suspect) -> str:
    given, suggested = _name(suspect.given_label), _name(suspect.suggested_label)
    probability = suspect.suggested_probability
    sure = "" if math.isnan(probability) else f" ({whole_percent(probability)})"
    return f"Label '{given}' looks wrong: '{suggested}' is more likely{sure}. Image: {_name(suspect.path)}"


def _duplicate_text(suspect: Suspect) -> str:
    given = _name(suspect.given_label)
    return (
        f"The same image is listed under other labels than '{given}' too, so one of them is wrong. "
        f"Image: {_name(suspect.path)} (group {suspect.conflict})"
    )


def _name(text: str) -> str:
    return shortened(one_line(text), _NAME)
