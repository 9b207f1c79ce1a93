"""What flows between a finished run, the people who review it and the tools they use for that."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args


@dataclass(frozen=True)
class Suspect:
    """One listed image of a stored run, as formatters and other tools get it; names as in the report."""

    row: int
    rank: int
    path: str
    given_label: str
    suggested_label: str
    suggested_probability: float
    """In 0..1; NaN where a run of an older version did not store it."""
    is_suspect: bool
    """False for an image that is listed only as a conflicting duplicate."""
    score: float
    error_probability: float
    """In 0..1; NaN where the run is not calibrated or the image not assessed."""
    self_confidence: float
    conflict: int
    """Group of same-bytes images with different labels, from 1; 0 is none."""
    why: str
    sha256: str
    """Of the image's bytes, in hexadecimal; "" where the run had labels alone."""
    line: int
    """In the text manifest, from 1; 0 where there is none."""
    column: int
    """Of the label's cell in that line, from 1, in characters; 0 where it is not known."""
    top: tuple[tuple[str, float], ...]
    """(label, probability) of the most probable classes, at most five; () in a run of an older version."""


Choice = Literal["keep", "relabel", "remove", "unreviewed"]
CHOICES: tuple[str, ...] = get_args(Choice)


@dataclass(frozen=True)
class Decision:
    """What a person decided about one image's label. Of several about one row the last one holds."""

    row: int
    choice: Choice
    """"unreviewed" takes an earlier decision back."""
    label: str
    """The right label, with "relabel"; else ""."""
    given_label: str
    path: str
    """As the report shows it."""
    sha256: str
    """Of the image's bytes, in hexadecimal; "" where the run had labels alone."""


REMOVE_CHOICE = "[remove]"
"""The answer beside the class names that a labelling tool offers: the image is to go."""

_NO_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def choice_name(label: str) -> str:
    """A class name as a labelling tool's XML configuration can have it: U+FFFD for what no XML may hold."""
    return _NO_XML.sub("\ufffd", label)
