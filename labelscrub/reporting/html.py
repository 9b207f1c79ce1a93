"""`report.html`: one self-contained page that shows the suspects as pictures, without a request to anywhere.

Names come from strangers' data sets. They reach the page only in a JSON island and enter the document only
as text nodes; the Content-Security-Policy admits nothing but the one style and the one script inlined here.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Mapping
from functools import cache
from html import escape
from importlib import resources
from string import Template
from typing import Any

import numpy as np

from labelscrub import __version__
from labelscrub.records import Calibration, Report, Skipped, Summary
from labelscrub.reporting.text import (
    expected_quality,
    known,
    noise_interval,
    one_line,
    percent,
    printable,
    suspects_sentence,
    whole_percent,
)

THUMBNAIL_LIMIT = 2_000  # pictures embedded; at 3-5 KB each the page stays near 10 MB
CARD_LIMIT = 50_000  # suspects on the page, about 10 MB of text; suspects.csv has the rest
SKIPPED_LIMIT = 500
MATRIX_LIMIT = 20  # classes in a transition matrix that a person can read
LARGEST_CELLS = 10  # of a larger one

# Provenance that is kept off the page: what differs between two equal runs, and where on the disk things are.
_PRIVATE = {"time", "times", "seconds", "started", "finished", "memory", "source", "root", "labels", "out"}


def report_html(report: Report, thumbnails: Mapping[int, bytes]) -> bytes:
    """The page as UTF-8. `thumbnails`: manifest row -> WebP bytes; those of the first ranks are embedded."""
    style, script, s = _asset("report.css"), _asset("report.js"), report.summary
    page = Template(_asset("report.html")).substitute(
        style=style,
        style_hash=_csp_hash(style),
        script=script,
        script_hash=_csp_hash(script),
        title=escape(f"{one_line(report.manifest.source.name) or 'images'} · labelscrub"),
        source=escape(one_line(report.manifest.source.name)),
        headline=escape(_unbroken(suspects_sentence(s.suspects, s.used, s.calibration))),
        version=escape(__version__),
        data=_island(_page_data(report, thumbnails)),
    )
    return page.encode()


@cache
def _asset(name: str) -> str:
    """A template as text with "\\n" line ends, as the browser sees it: what the hashes are taken of."""
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _csp_hash(inlined: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(inlined.encode()).digest()).decode() + "'"


def _island(data: Any) -> str:
    """JSON that can't end its script element, whatever the names hold."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def _page_data(report: Report, thumbnails: Mapping[int, bytes]) -> dict[str, Any]:
    summary = report.summary
    return {
        "classes": [printable(name) for name in report.manifest.classes],
        "suspects": _cards(report, thumbnails),
        "figures": _figures(summary),
        "calibrated": summary.calibration is not None,
        "transition": _transition(summary.calibration),
        "perClass": [
            {
                "label": printable(c.label),
                "images": c.images,
                "suspects": c.suspects,
                "accuracy": _finite(c.accuracy),
                "noise": _finite(c.estimated_noise_rate),
                "assessed": c.assessed,
            }
            for c in summary.classes
        ],
        "reasons": {printable(reason): count for reason, count in sorted(summary.reasons.items())},
        "skipped": [_skipped(s) for s in report.skipped[:SKIPPED_LIMIT]],
        "skippedTotal": len(report.skipped),
        "notAssessed": [printable(name) for name in summary.not_assessed],
        "notes": [printable(note) for note in summary.notes],
        "settings": _facts(report.settings),
        "provenance": _facts(report.provenance),
    }


def _cards(report: Report, thumbnails: Mapping[int, bytes]) -> dict[str, Any]:
    """The ranked list as columns: a tenth of the size of a list of objects."""
    f = report.findings
    order = f.order()
    listed = order[(f.is_suspect | (f.conflict > 0))[order]]
    shown = listed[:CARD_LIMIT]
    rows = report.rows[shown].tolist()
    pictures = [thumbnails.get(row, b"") for row in rows[:THUMBNAIL_LIMIT]]
    return {
        "total": len(listed),
        "suspects": int(np.count_nonzero(f.is_suspect)),
        "pictureLimit": THUMBNAIL_LIMIT,
        "rank": f.rank[shown].tolist(),
        "row": rows,
        "path": [printable(report.manifest.paths[row]) for row in rows],
        "given": f.given[shown].tolist(),
        "suggested": f.suggested[shown].tolist(),
        "score": _rounded(f.score[shown]),
        "error": _rounded(f.error_probability[shown]) if report.summary.calibration else [],
        "confidence": _rounded(f.self_confidence[shown]),
        "isSuspect": f.is_suspect[shown].astype(int).tolist(),
        "conflict": f.conflict[shown].tolist(),
        "why": [printable(f.why[i]) for i in shown],
        "picture": [base64.b64encode(picture).decode() for picture in pictures],
    }


def _rounded(values: Any) -> list[float | None]:
    return [_finite(round(float(value), 5)) for value in values]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _unbroken(text: str) -> str:
    """No line ends between a number and its percent sign."""
    return text.replace(" %", "\N{NO-BREAK SPACE}%")


def _figures(s: Summary) -> list[list[str]]:
    """(figure, what it is, what it is made of) for the strip at the top."""
    unused = s.unreadable + s.missing + s.skipped
    parts = f"{s.unreadable:,} unreadable + {s.missing:,} missing + {s.skipped:,} skipped"
    noise, accuracy = known(s.estimated_noise_rate, percent), known(s.accuracy, percent)
    noise_detail = "share of labels that are wrong, from confident learning's joint"
    if s.calibration is not None:
        noise_detail = f"95 % interval {noise_interval(s.calibration)}"
    figures = [
        [f"{s.suspects:,}", "suspect labels", f"{percent(s.suspect_rate)} of the images used"],
        [noise, "estimated noise rate", noise_detail],
        [accuracy, "accuracy", "how often the surrogate network agrees with the given label"],
        [f"{s.listed:,}", "images listed", f"= {s.used:,} used + " + (parts if unused else "0 not used")],
    ]
    if s.calibration is not None:
        figures.insert(2, _expected(s.calibration))
    if s.conflicts:
        figures.insert(
            1,
            [f"{s.conflicts:,}", "conflicting duplicates", "same bytes under different labels; listed first"],
        )
    return [list(map(_unbroken, figure)) for figure in figures]


def _expected(c: Calibration) -> list[str]:
    aim = "the highest F1" if c.aim == "f1" else one_line(c.aim).replace("=", " ")
    quality = expected_quality(c).partition(", F1")[0] or "nothing is above the cut"
    return [known(c.expected_f1, whole_percent), "expected F1 of the suspects", f"{quality}; cut for {aim}"]


def _transition(calibration: Calibration | None) -> dict[str, Any]:
    """`matrix`: P(given = column | true = row), null for a row of which nothing is known; of many classes

    `largest`: [true, given, share] of the largest cells off the diagonal.
    """
    rows = np.array(calibration.transition if calibration else [], np.float64)  # (K, K)
    if len(rows) <= MATRIX_LIMIT:
        return {"matrix": [None if np.isnan(row).any() else _rounded(row) for row in rows]}
    rows[np.isnan(rows)] = 0
    np.fill_diagonal(rows, 0)
    cells = np.argsort(-rows, axis=None, kind="stable")[:LARGEST_CELLS].tolist()
    largest = [(*divmod(cell, len(rows)), round(float(rows.flat[cell]), 5)) for cell in cells]
    return {"largest": [cell for cell in largest if cell[2] > 0]}


def _skipped(s: Skipped) -> list[Any]:
    return [s.row, printable(s.path), s.kind, printable(s.reason)]


def _facts(values: Mapping[str, Any], prefix: str = "") -> list[list[str]]:
    """Flat (name, value) pairs in the given order, without what is unset or may differ between equal runs."""
    facts = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        if value is None or _PRIVATE & set(re.split(r"[^a-z]+", key.lower())):
            continue
        if isinstance(value, Mapping):
            facts += _facts(value, f"{name} ")
        else:
            facts.append([printable(name), printable(_shown(value))])
    return facts


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
