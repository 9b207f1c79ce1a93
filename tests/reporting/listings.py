"""Stored runs with listed images, in memory and on disk, out of the Reports of reports.py."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

from reports import make_report

from labelscrub.config_limits import Limits
from labelscrub.reporting import judge, parse_run_json, report_parquet, run_json
from labelscrub.reporting.baseline import compare
from labelscrub.reporting.text import printable
from labelscrub.review_records import Suspect

FOLDER = {"source": "/srv/repo/animals", "source_kind": "folder", "tables": []}
TABLE = {
    "source": "/srv/repo/labels.csv",
    "source_kind": "csv",
    "tables": [{"path": "/srv/repo/labels.csv", "first_row": 0}],
}


def listing_of(report, probability=0.93, place=(0, 0)):
    """The report's suspects and conflicts as they are read back; each at `place` plus its row's number."""
    line, column = place
    return [
        Suspect(
            row=item["row"],
            rank=item["rank"],
            path=printable(item["path"]),
            given_label=printable(item["given_label"]),
            suggested_label=printable(item["suggested_label"]),
            suggested_probability=probability,
            is_suspect=item["is_suspect"],
            score=item["score"],
            error_probability=math.nan,
            self_confidence=item["self_confidence"],
            conflict=item["conflict"],
            why=item["why"],
            sha256=item["sha256"],
            line=line + item["row"] if line else 0,
            column=column,
            top=(),
        )
        for item in report.suspects()
    ]


def judged(report, *, entries=None, listing=None, **limits):
    """The verdict on a report, with its listing; held against `entries` where there is a baseline."""
    listing = listing_of(report) if listing is None else listing
    compared = None if entries is None else compare(entries, listing)
    if compared is not None:
        limits["baseline"] = "known.json"
    run = parse_run_json(run_json(report, {})) | {"out": "labelscrub-out"}
    return judge(run, Limits(**limits), listing=listing, compared=compared)


def write_run(folder: Path, report=None, **arguments):
    """A finished run as `check` finds it; returns its path as a text."""
    report = report or make_report(**arguments)
    folder.mkdir(parents=True, exist_ok=True)
    table = report_parquet(report)
    (folder / "report.parquet").write_bytes(table)
    files = {"report.parquet": hashlib.sha256(table).hexdigest()}
    data = run_json(report, {"files": files})
    (folder / "run.json").write_bytes(data)
    (folder / "run.json.sha256").write_text(f"{hashlib.sha256(data).hexdigest()}  run.json\n")
    assert json.loads(data)["labelscrub"]
    return str(folder)
