"""The two tables: `suspects.csv`, ranked, for people; `report.parquet`, every listed row, for programs."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from labelscrub.records import Details, Report
from labelscrub.reporting.text import printable

CSV_COLUMNS = (
    "rank",
    "path",
    "row",
    "given_label",
    "suggested_label",
    "is_suspect",
    "score",
    "self_confidence",
    "normalized_margin",
    "aum",
    "error_probability",
    "by_class",
    "by_noise_rate",
    "fold",
    "conflict",
    "why",
    "sha256",
)


def suspects_csv(report: Report) -> bytes:
    """The ranked list, conflicting duplicates first, as RFC 4180 with a header line, UTF-8 and "\\n"."""
    lines = [",".join(CSV_COLUMNS)]
    lines += [",".join(_cell(row[name]) for name in CSV_COLUMNS) for row in report.suspects()]
    return ("\n".join(lines) + "\n").encode()


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return _text_cell(value)
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _text_cell(text: str) -> str:
    """Quoted where needed. (The csv module leaves a CR unquoted before Python 3.13, which ends the row.)"""
    text = printable(text)
    if text.startswith(("=", "+", "-", "@", "\t", "\r")):  # a spreadsheet would run it as a formula
        text = "'" + text
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\n\r') else text


def report_parquet(report: Report) -> bytes:
    """Every listed row, in source order, a checksum on each page; what a row has no finding for is null."""
    listed, used = len(report.manifest), len(report.rows)
    index = np.full(listed, -1, np.int64)  # (R,) which finding a row has
    index[report.rows] = np.arange(used)
    columns = {"row": pa.array(np.arange(listed)), "path": _strings(report.manifest.paths)}
    columns |= _status_columns(report, index)
    classes = _strings(report.manifest.classes)
    labels = report.manifest.labels
    columns["given_label"] = classes.take(pa.array(labels, pa.int64(), mask=np.asarray(labels) < 0))
    findings = pa.table(_finding_columns(report, classes))
    findings = findings.take(pa.array(index, mask=index < 0))
    columns |= {name: findings[name] for name in findings.column_names}
    if report.details is not None:
        columns |= _detail_columns(report, report.details, classes)
    table = pa.table(columns)
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    return sink.getvalue()


def _status_columns(report: Report, index: NDArray[np.int64]) -> dict[str, pa.Array]:
    """Status, reason and same_as of every row; `index` (R,) is -1 where a row has no finding."""
    status = np.where(index >= 0, "used", "").astype(object)
    reason = np.full(len(index), None, object)
    same_as = np.full(len(index), -1, np.int64)
    for skipped in report.skipped:
        status[skipped.row] = skipped.kind
        reason[skipped.row] = printable(skipped.reason)
        same_as[skipped.row] = skipped.same_as
    lost = np.flatnonzero(status == "")
    if len(lost):
        raise ValueError(f"row {lost[0]} is neither used nor skipped: a stage dropped it")
    return {
        "status": pa.array(status, pa.string()),
        "reason": pa.array(reason, pa.string()),
        "same_as": pa.array(same_as, mask=same_as < 0),
    }


def _finding_columns(report: Report, classes: pa.Array) -> dict[str, pa.Array]:
    """Columns of N, in the order of `Report.row`."""
    f = report.findings

    def numbers(values: NDArray[Any]) -> pa.Array:
        return pa.array(values, from_pandas=True)  # NaN: not known, so null

    return {
        "rank": numbers(f.rank),
        "suggested_label": classes.take(pa.array(f.suggested)),
        "is_suspect": numbers(f.is_suspect),
        "score": numbers(f.score),
        "self_confidence": numbers(f.self_confidence),
        "normalized_margin": numbers(f.normalized_margin),
        "aum": numbers(f.aum),
        "error_probability": numbers(f.error_probability),
        "by_class": numbers(f.by_class),
        "by_noise_rate": numbers(f.by_noise_rate),
        "fold": numbers(f.fold),
        "assessed": numbers(f.assessed),
        "conflict": numbers(f.conflict),
        "why": _strings(f.why),
        "sha256": _hex(report.sha256),
    }


def _detail_columns(report: Report, details: Details, classes: pa.Array) -> dict[str, pa.Array]:
    """Columns of R, null but for the listed images: what a person who decides, or another tool, needs."""
    at = np.full(len(report.manifest), -1, np.int64)  # (R,) which line of `details` a row has
    at[report.rows[details.index]] = np.arange(len(details.index))
    offsets = pa.array(np.arange(len(details.top) + 1) * details.top.shape[1], pa.int32())
    places = np.zeros((len(details.index), 2), np.int64) if report.places is None else report.places

    def example(index: NDArray[np.int64]) -> pa.Array:
        return pa.array(report.rows[index], mask=index < 0)

    columns = {
        "suggested_probability": pa.array(details.suggested_prob),
        "top_labels": pa.ListArray.from_arrays(offsets, classes.take(pa.array(details.top.ravel()))),
        "top_probabilities": pa.ListArray.from_arrays(offsets, pa.array(details.top_probs.ravel())),
        "example_given": example(details.example_given),
        "example_suggested": example(details.example_suggested),
        "line": pa.array(places[:, 0], mask=places[:, 0] == 0),
        "column": pa.array(places[:, 1], mask=places[:, 1] == 0),
    }
    take = pa.array(at, mask=at < 0)
    return {name: column.take(take) for name, column in columns.items()}


def _strings(texts: Any) -> pa.Array:
    return pa.array([printable(text) for text in texts], pa.string())


def _hex(digests: NDArray[np.uint8]) -> pa.Array:
    """(N, 32) bytes -> N strings of 64 digits, without a Python object each."""
    digits = np.frombuffer(np.ascontiguousarray(digests).tobytes().hex().encode(), "S64")
    return pa.array(digits, pa.binary()).cast(pa.string())
