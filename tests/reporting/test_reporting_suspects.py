import io
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from reports import HOSTILE, calibration, make_report

from labelscrub.errors import DataError, UsageError
from labelscrub.records import Details
from labelscrub.reporting.suspects import read_suspects
from labelscrub.reporting.tables import report_parquet
from labelscrub.reporting.text import printable


def with_details(report):
    """Each listed image with two top classes, an example of either label but for the first, and a place."""
    f = report.findings
    index = np.flatnonzero(f.is_suspect | (f.conflict > 0))
    m, classes = len(index), len(report.manifest.classes)
    top = np.stack([(f.given[index] + 1) % classes, f.given[index]], axis=1).astype(np.int32)
    top_probs = np.tile(np.array([0.75, 0.125], np.float32), (m, 1))
    example = np.arange(m) - 1
    details = Details(index, top, top_probs, np.full(m, 0.75, np.float32), example, example)
    return replace(report, details=details, places=np.stack([np.arange(m), np.arange(m) * 2], axis=1))


def stored(report, folder):
    path = folder / "report.parquet"
    path.write_bytes(report_parquet(report))
    return path


@pytest.mark.parametrize("calibrated", [None, calibration()])
def test_suspects_are_read_back_as_the_report_has_them(tmp_path, calibrated):
    report = with_details(make_report(calibrated=calibrated))
    found = read_suspects(stored(report, tmp_path))
    assert [s.rank for s in found] == [1, 2, 3, 4, 5, 6, 7]
    for suspect, plain in zip(found, report.suspects(), strict=True):
        for name in (
            "row",
            "path",
            "given_label",
            "suggested_label",
            "is_suspect",
            "conflict",
            "why",
            "sha256",
        ):
            assert getattr(suspect, name) == plain[name]
        assert suspect.score == plain["score"]
        same = suspect.error_probability == pytest.approx(plain["error_probability"], nan_ok=True)
        assert same
        at = int(np.flatnonzero(report.rows[report.details.index] == suspect.row)[0])
        assert (suspect.line, suspect.column) == (at, 2 * at)
        given = report.manifest.classes.index(suspect.given_label)
        assert suspect.top == ((report.manifest.classes[(given + 1) % 3], 0.75), (suspect.given_label, 0.125))
        assert suspect.suggested_probability == 0.75


def test_details_are_null_for_rows_that_are_not_listed_and_examples_are_rows(tmp_path):
    report = with_details(make_report())
    table = pq.read_table(stored(report, tmp_path)).to_pylist()
    listed = set(report.rows[report.details.index].tolist())
    names = ("suggested_probability", "top_labels", "top_probabilities")
    for row in table:
        assert all((row[name] is not None) == (row["row"] in listed) for name in names)
    rows = report.rows[report.details.index].tolist()
    assert table[rows[0]]["example_given"] is None  # -1
    assert table[rows[3]]["example_suggested"] == report.rows[2]
    assert table[rows[0]]["line"] is None and table[rows[1]]["line"] == 1


def test_hostile_names_come_back_as_the_report_shows_them(tmp_path):
    report = with_details(make_report(classes=HOSTILE[:5], paths=[*HOSTILE[:15]]))
    for suspect in read_suspects(stored(report, tmp_path)):
        assert suspect.path == printable(HOSTILE[suspect.row])
        assert suspect.given_label in {printable(name) for name in HOSTILE[:5]}


def test_a_run_of_labels_alone_has_no_digest_and_an_older_report_no_details(tmp_path):
    report = make_report()
    report = replace(report, sha256=np.zeros_like(report.sha256))
    found = read_suspects(stored(report, tmp_path))
    assert {s.sha256 for s in found} == {""}
    assert {s.top for s in found} == {()} and {s.line for s in found} == {0}
    assert all(np.isnan(s.suggested_probability) for s in found)


def test_a_run_without_suspects_gives_none(tmp_path):
    assert read_suspects(stored(make_report(suspects=0, conflicts=0), tmp_path)) == []
    assert read_suspects(stored(with_details(make_report(suspects=0, conflicts=0)), tmp_path)) == []


def test_a_missing_or_damaged_report_is_said(tmp_path):
    with pytest.raises(UsageError, match="no report"):
        read_suspects(tmp_path / "report.parquet")
    path = stored(make_report(), tmp_path)
    whole = path.read_bytes()
    sink = io.BytesIO()
    pq.write_table(pa.table({"row": [1]}), sink)
    for broken in (b"", whole[:-9], whole[: len(whole) // 2], sink.getvalue()):
        path.write_bytes(broken)
        with pytest.raises(DataError, match="damaged"):
            read_suspects(path)
