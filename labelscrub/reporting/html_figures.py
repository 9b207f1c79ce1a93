"""The strip of figures at the top of the report page, and how numbers are written on it."""

from __future__ import annotations

import math
from typing import Any

from labelscrub.records import Calibration, Summary
from labelscrub.reporting.text import (
    expected_quality,
    known,
    noise_interval,
    one_line,
    percent,
    whole_percent,
)


def rounded(values: Any) -> list[float | None]:
    """Enough digits for a page, and null for what is not known."""
    return [finite(round(float(value), 5)) for value in values]


def finite(value: float) -> float | None:
    """JSON has no NaN."""
    return value if math.isfinite(value) else None


def unbroken(text: str) -> str:
    """No line ends between a number and its percent sign."""
    return text.replace(" %", "\N{NO-BREAK SPACE}%")


def figures(s: Summary) -> list[list[str]]:
    """(figure, what it is, what it is made of) for the strip at the top."""
    unused = s.unreadable + s.missing + s.skipped
    parts = f"{s.unreadable:,} unreadable + {s.missing:,} missing + {s.skipped:,} skipped"
    noise, accuracy = known(s.estimated_noise_rate, percent), known(s.accuracy, percent)
    noise_detail = "share of labels that are wrong, from confident learning's joint"
    if s.calibration is not None:
        noise_detail = f"95 % interval {noise_interval(s.calibration)}"
    strip = [
        [f"{s.suspects:,}", "suspect labels", f"{percent(s.suspect_rate)} of the images used"],
        [noise, "estimated noise rate", noise_detail],
        [accuracy, "accuracy", "how often the surrogate network agrees with the given label"],
        [f"{s.listed:,}", "images listed", f"= {s.used:,} used + " + (parts if unused else "0 not used")],
    ]
    if s.calibration is not None:
        strip.insert(2, _expected(s.calibration))
    if s.conflicts:
        strip.insert(
            1,
            [f"{s.conflicts:,}", "conflicting duplicates", "same bytes under different labels; listed first"],
        )
    return [list(map(unbroken, figure)) for figure in strip]


def _expected(c: Calibration) -> list[str]:
    aim = "the highest F1" if c.aim == "f1" else one_line(c.aim).replace("=", " ")
    quality = expected_quality(c).partition(", F1")[0] or "nothing is above the cut"
    return [known(c.expected_f1, whole_percent), "expected F1 of the suspects", f"{quality}; cut for {aim}"]
