"""What the report page knows: everything a Report says, as one JSON-ready object, the page's data island."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelscrub import __version__
from labelscrub.records import Calibration, Report, Skipped
from labelscrub.reporting.html_figures import figures, finite, rounded, unbroken
from labelscrub.reporting.text import one_line, printable, suspects_sentence

FORMAT = 2  # of the data island; 1 had no decisions and was not numbered
EMBEDDED_LIMIT = 2_000  # pictures in the page; at 3-5 KB each it stays near 10 MB
PICTURED_RANKS = 10_000  # first ranks whose pictures are made at all
CARD_LIMIT = 50_000  # suspects on the page, about 20 MB of text; suspects.csv has the rest
SKIPPED_LIMIT = 500
MATRIX_LIMIT = 20  # classes in a transition matrix that a person can read
LARGEST_CELLS = 10  # of a larger one
BINS = 40  # of the score's histogram

# Provenance that is kept off the page: what differs between two equal runs, and where on the disk things are.
_PRIVATE = {
    *("time", "times", "seconds", "started", "finished", "memory"),
    *("source", "root", "labels", "classes", "out", "tables"),
}
_SPLITS = ("train", "training", "validation", "valid", "val", "dev", "test", "testing", "eval", "evaluation")


def picture_rows(report: Report) -> list[int]:
    """Manifest rows that the page wants a picture of: suspects as ranked, each followed by its examples."""
    listed = _listed(report)[:PICTURED_RANKS]
    wanted = listed
    if report.details is not None:
        at = np.searchsorted(report.details.index, listed)
        examples = report.details.example_given[at], report.details.example_suggested[at]
        wanted = np.stack([listed, *examples], axis=1).ravel()
        wanted = wanted[wanted >= 0]
    wanted = wanted[report.sha256[wanted].any(axis=1)]  # labels alone have no pictures
    return list(dict.fromkeys(report.rows[wanted].tolist()))


def page_data(report: Report, thumbnails: Mapping[int, bytes], beside: Collection[int]) -> dict[str, Any]:
    """The island. Of `thumbnails` (row -> WebP bytes) those on the page's cards are embedded."""
    summary = report.summary
    cards = _cards(report)
    seen = [row for row in dict.fromkeys(_card_rows(cards)) if row in thumbnails]
    source = one_line(report.manifest.source.name)
    return {
        "labelscrub": __version__,
        "format": FORMAT,
        "key": _key(report, cards),
        "title": f"{source or 'images'} · labelscrub",
        "source": source,
        "headline": unbroken(suspects_sentence(summary.suspects, summary.used, summary.calibration)),
        "classes": [printable(name) for name in report.manifest.classes],
        "suspects": cards,
        "pictures": {str(row): base64.b64encode(thumbnails[row]).decode() for row in seen},
        "beside": sorted(beside),
        "picturedRanks": PICTURED_RANKS,
        "figures": figures(summary),
        "calibrated": summary.calibration is not None,
        "histogram": _histogram(report),
        "transition": _transition(summary.calibration),
        "perClass": [
            {
                "label": printable(c.label),
                "images": c.images,
                "suspects": c.suspects,
                "accuracy": finite(c.accuracy),
                "noise": finite(c.estimated_noise_rate),
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


def _listed(report: Report) -> NDArray[np.int64]:
    """(M,) index of each suspect and conflicting duplicate, first rank first."""
    f = report.findings
    order = f.order()
    return order[(f.is_suspect | (f.conflict > 0))[order]]


def _cards(report: Report) -> dict[str, Any]:
    """The ranked list as columns: a tenth of the size of a list of objects."""
    f, listed = report.findings, _listed(report)
    shown = listed[:CARD_LIMIT]
    rows = report.rows[shown].tolist()
    splits, split = _splits(report, rows)
    return {
        "total": len(listed),
        "suspects": int(np.count_nonzero(f.is_suspect)),
        "rank": f.rank[shown].tolist(),
        "row": rows,
        "path": [printable(report.manifest.paths[row]) for row in rows],
        "sha256": [bytes(digest).hex() if digest.any() else "" for digest in report.sha256[shown]],
        "given": f.given[shown].tolist(),
        "suggested": f.suggested[shown].tolist(),
        "score": rounded(f.score[shown]),
        "error": rounded(f.error_probability[shown]) if report.summary.calibration else [],
        "confidence": rounded(f.self_confidence[shown]),
        "isSuspect": f.is_suspect[shown].astype(int).tolist(),
        "conflict": f.conflict[shown].tolist(),
        "why": [printable(f.why[i]) for i in shown],
        "splits": splits,
        "split": split,
        **_details(report, shown),
    }


def _details(report: Report, shown: NDArray[np.int64]) -> dict[str, Any]:
    """Columns of what a person decides by; empty ones where the run has no details.

    `shown` (m,) are image indices; examples are manifest rows, -1 where there is none.
    """
    if report.details is None:
        return {"top": [], "topProbs": [], "suggestedProb": [], "exampleGiven": [], "exampleSuggested": []}
    details = report.details
    at = np.searchsorted(details.index, shown)

    def row_of(index: NDArray[np.int64]) -> list[int]:
        rows: list[int] = np.where(index >= 0, report.rows[index], -1).tolist()
        return rows

    return {
        "top": details.top[at].tolist(),
        "topProbs": [rounded(probs) for probs in details.top_probs[at]],
        "suggestedProb": rounded(details.suggested_prob[at]),
        "exampleGiven": row_of(details.example_given[at]),
        "exampleSuggested": row_of(details.example_suggested[at]),
    }


def _card_rows(cards: Mapping[str, Any]) -> list[int]:
    """Rows of all pictures on the cards."""
    return [*cards["row"], *cards["exampleGiven"], *cards["exampleSuggested"]]


def _key(report: Report, cards: Mapping[str, Any]) -> str:
    """Names this run on these data, the same for equal runs: what a browser keeps decisions under."""
    seen = [report.provenance.get("data"), cards["row"], cards["given"], cards["suggested"], cards["score"]]
    return hashlib.sha256(json.dumps([seen, cards["sha256"]]).encode()).hexdigest()[:24]


def _splits(report: Report, rows: list[int]) -> tuple[list[str], list[int]]:
    """Names of the splits a folder was read with (train/cat/1.png) and each row's index into them.

    Empty where the source is no folder, or all rows shown are of one split.
    """
    if report.manifest.kind != "folder":
        return [], []
    parts = [report.manifest.paths[row].split("/") for row in rows]
    if any(len(part) < 3 or part[0].lower() not in _SPLITS for part in parts):
        return [], []
    names = sorted({part[0] for part in parts}, key=lambda name: _SPLITS.index(name.lower()))
    return (names, [names.index(part[0]) for part in parts]) if len(names) > 1 else ([], [])


def _histogram(report: Report) -> dict[str, Any]:
    """Suspects and the other images used, counted by score; by error probability where there are any.

    Then there is a cut, and images that were not assessed have no probability.
    """
    f, calibration = report.findings, report.summary.calibration
    values = np.asarray(f.error_probability if calibration else f.score, np.float64)
    known = np.isfinite(values)
    counts = [
        np.histogram(values[known & chosen], BINS, (0, 1))[0].tolist()
        for chosen in (f.is_suspect, ~f.is_suspect)
    ]
    return {
        "suspects": counts[0],
        "rest": counts[1],
        "cut": finite(calibration.cut) if calibration else None,
        "unknown": int(np.count_nonzero(~known)),
    }


def _transition(calibration: Calibration | None) -> dict[str, Any]:
    """`matrix`: P(given = column | true = row), null for a row of which nothing is known; of many classes

    `largest`: [true, given, share] of the largest cells off the diagonal.
    """
    rows = np.array(calibration.transition if calibration else [], np.float64)  # (K, K)
    if len(rows) <= MATRIX_LIMIT:
        return {"matrix": [None if np.isnan(row).any() else rounded(row) for row in rows]}
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
