"""`run.json`: what a run was asked, what it found in figures, and what it ran on."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from typing import Any

from labelscrub import __version__
from labelscrub.errors import DataError
from labelscrub.records import Report
from labelscrub.reporting.text import printable

FORMAT = 1
# A list of nothing but numbers and null, as a row of the transition matrix; no string can hold its line end.
_NUMBERS = re.compile(r"\[\n([^\[\]{}\"]*)\n *\]")
LISTED_AT_MOST = 1000  # of skipped rows and of conflicts; report.parquet has them all


def run_json(report: Report, extra: Mapping[str, Any]) -> bytes:
    """The run as indented JSON; `extra` adds top-level keys. Unknown figures (NaN) are null."""
    summary = dataclasses.asdict(report.summary) | {"suspect_rate": report.summary.suspect_rate}
    document = {
        "format": FORMAT,
        "labelscrub": __version__,
        "source": str(report.manifest.source),
        "settings": report.settings,
        "summary": summary,
        "provenance": report.provenance,
        "skipped": [
            {"row": s.row, "path": s.path, "kind": s.kind, "reason": s.reason}
            for s in report.skipped[:LISTED_AT_MOST]
        ],
        "conflicts": _conflicts(report),
        **extra,
    }
    ready = {key: _jsonable(value) for key, value in document.items()}
    text = json.dumps(ready, indent=2, ensure_ascii=False, allow_nan=False)
    return (_NUMBERS.sub(_on_one_line, text) + "\n").encode()


def _on_one_line(match: re.Match[str]) -> str:
    return f"[{' '.join(match.group(1).split())}]"


def _conflicts(report: Report) -> list[dict[str, Any]]:
    """The images whose bytes occur again under another label, group by group."""
    group = report.findings.conflict
    indices = sorted(group.nonzero()[0].tolist(), key=lambda i: (group[i], report.rows[i]))[:LISTED_AT_MOST]
    names = ("conflict", "row", "path", "given_label", "sha256")
    return [{name: row[name] for name in names} for row in map(report.row, indices)]


def _jsonable(value: Any) -> Any:
    """Strict JSON: no NaN, no lone surrogate, and the same keys in the same order on every machine."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {printable(str(key)): _jsonable(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    return value


def parse_run_json(data: bytes) -> dict[str, Any]:
    """A stored run, or DataError where it is damaged or written by a newer labelscrub."""
    again = "run `labelscrub detect` again with --restart to write it anew"
    try:
        run = json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise DataError(f"run.json is damaged: {error}", again) from error
    if not isinstance(run, dict) or type(run.get("format")) is not int:
        raise DataError("run.json is damaged: it does not say which format it has", again)
    if run["format"] > FORMAT:
        raise DataError(
            f"run.json has format {run['format']}, this labelscrub ({__version__}) reads up to {FORMAT}",
            "upgrade labelscrub, or run `labelscrub detect` again with --restart",
        )
    if not isinstance(run.get("summary"), dict):
        raise DataError("run.json is damaged: it has no summary", again)
    return run
