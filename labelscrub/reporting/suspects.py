"""The listed images of a stored run: report.parquet read back for formatters and other tools."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from labelscrub.errors import DataError, UsageError
from labelscrub.review_records import Suspect

_COLUMNS = (
    "row",
    "rank",
    "path",
    "given_label",
    "suggested_label",
    "is_suspect",
    "score",
    "error_probability",
    "self_confidence",
    "conflict",
    "why",
    "sha256",
)
_DETAILS = ("suggested_probability", "top_labels", "top_probabilities", "line", "column")
_NO_IMAGE = "0" * 64


def read_suspects(path: Path, *, all_used: bool = False) -> list[Suspect]:
    """Suspects and conflicting duplicates of a report.parquet, first rank first; with `all_used` every image.

    Raises:
        UsageError: there is no such file.
        DataError: it is not a report, or damaged.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    wanted = pc.field("is_suspect") | (pc.field("conflict") > 0)
    if all_used:
        wanted = pc.field("status") == "used"
    names = [*_COLUMNS, *(["normalized_margin"] if all_used else [])]
    if not path.is_file():
        raise UsageError(f"there is no report in {path.parent}", "run `labelscrub detect` first")
    try:
        stored = set(pq.read_schema(path).names)
        table = pq.read_table(
            path,
            columns=[*names, *(name for name in _DETAILS if name in stored)],
            filters=wanted,
            page_checksum_verification=True,
        )
        return [_suspect(row) for row in table.sort_by("rank").to_pylist()]
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        cause = f"{path} is damaged: {' '.join(str(error).split())[:200]}"
        raise DataError(cause, "run the same detect command again: it writes the report anew") from error


def _suspect(row: dict[str, Any]) -> Suspect:
    known = {name: row[name] for name in _COLUMNS}
    known["sha256"] = "" if row["sha256"] == _NO_IMAGE else row["sha256"]
    error, suggested = row["error_probability"], row.get("suggested_probability")
    if suggested is None and "normalized_margin" in row:  # stored of the listed images alone
        agreed = row["suggested_label"] == row["given_label"]
        given = row["self_confidence"]
        suggested = given if agreed else min(max(given - row["normalized_margin"], 0.0), 1.0)
    known["error_probability"] = math.nan if error is None else error
    return Suspect(
        **known,
        suggested_probability=math.nan if suggested is None else suggested,
        line=row.get("line") or 0,
        column=row.get("column") or 0,
        top=tuple(zip(row.get("top_labels") or (), row.get("top_probabilities") or (), strict=True)),
    )
