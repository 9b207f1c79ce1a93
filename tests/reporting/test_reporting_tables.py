import csv
import dataclasses
import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reports import HOSTILE, calibration, make_report

from labelscrub.reporting.tables import CSV_COLUMNS, report_parquet, suspects_csv
from labelscrub.reporting.text import printable

ANY_TEXT = st.text(st.characters(codec=None), max_size=20)


def read_csv(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode(), newline=""), strict=True))


def read_parquet(data: bytes) -> pa.Table:
    return pq.read_table(io.BytesIO(data), page_checksum_verification=True)


def test_csv_is_the_ranked_list_conflicts_first():
    report = make_report()
    rows = read_csv(suspects_csv(report))
    assert [row["rank"] for row in rows] == [str(r) for r in range(1, 8)]
    assert [row["conflict"] for row in rows] == ["1", "1", "0", "0", "0", "0", "0"]
    for text, plain in zip(rows, report.suspects(), strict=True):
        assert text["path"] == plain["path"]
        assert text["sha256"] == plain["sha256"]
        assert float(text["score"]) == pytest.approx(plain["score"], rel=1e-5)


def test_csv_columns_keep_the_order_of_report_row():
    in_row = [name for name in make_report().row(0) if name in CSV_COLUMNS]
    assert list(CSV_COLUMNS) == in_row


def test_csv_unknown_figures_are_empty_and_floats_have_six_digits():
    row = read_csv(suspects_csv(make_report(used=3, suspects=2, conflicts=0, classes=("a", "b"))))[1]
    assert row["aum"] == row["error_probability"] == ""
    assert row["score"] == "0.5"
    assert row["by_class"] == "true"


def test_csv_of_no_suspects_is_its_header():
    assert suspects_csv(make_report(suspects=0, conflicts=0)).decode() == ",".join(CSV_COLUMNS) + "\n"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_csv_formulas_are_neutralised_in_every_text_column(text):
    report = make_report(classes=(text, text + "b"), paths=[text] * 15)
    row = read_csv(suspects_csv(report))[0]
    for name in ("path", "given_label", "suggested_label"):
        assert row[name].startswith("'" + text)


@given(paths=st.lists(ANY_TEXT, min_size=3, max_size=3), label=ANY_TEXT)
def test_csv_parses_back_whatever_the_names(paths, label):
    report = make_report(
        classes=(label, label + "2"), paths=paths, used=3, suspects=3, conflicts=0, skipped=0
    )
    rows = read_csv(suspects_csv(report))
    assert len(rows) == 3
    for row, path in zip(rows, paths, strict=True):
        expected = printable(path)
        assert row["path"] in (expected, "'" + expected)
        assert row["path"][:1] not in tuple("=+-@\t\r")


def test_parquet_has_every_listed_row_with_its_status():
    report = make_report(skipped=3, used=12)
    table = read_parquet(report_parquet(report))
    assert table["row"].to_pylist() == list(range(15))
    assert table["status"].to_pylist() == ["unreadable", "missing", "skipped"] + ["used"] * 12
    assert table["reason"].to_pylist()[:4] == ["reason 0", "reason 1", "reason 2", None]
    for name in ("rank", "score", "is_suspect", "sha256", "suggested_label", "why"):
        assert table[name].to_pylist()[:3] == [None] * 3


def test_parquet_agrees_with_report_row():
    report = make_report()
    table = read_parquet(report_parquet(report))
    for index in range(len(report.rows)):
        expected = {k: None if v != v else v for k, v in report.row(index).items()}  # NaN is stored as null
        (stored,) = table.slice(int(report.rows[index]), 1).to_pylist()
        assert {name: stored[name] for name in expected} == pytest.approx(expected)


def test_parquet_rows_need_not_be_listed_in_order_of_use():
    report = make_report(used=4, skipped=2, conflicts=0)
    scattered = np.array([0, 2, 3, 5])
    skipped = tuple(dataclasses.replace(s, row=r) for s, r in zip(report.skipped, (1, 4), strict=True))
    table = read_parquet(report_parquet(dataclasses.replace(report, rows=scattered, skipped=skipped)))
    assert table["status"].to_pylist() == ["used", "unreadable", "used", "used", "missing", "used"]
    assert table["rank"].to_pylist() == [1, None, 2, 3, None, 4]


def test_parquet_refuses_to_drop_a_row_silently():
    report = make_report()
    with pytest.raises(ValueError, match="row 2 is neither"):
        report_parquet(dataclasses.replace(report, skipped=report.skipped[:2]))


@pytest.mark.parametrize(("used", "skipped"), [(0, 3), (1, 0), (0, 0)])
def test_parquet_of_next_to_nothing_keeps_its_columns(used, skipped):
    report = make_report(used=used, skipped=skipped, suspects=0, conflicts=0)
    table = read_parquet(report_parquet(report))
    assert table.num_rows == used + skipped
    assert table.schema.names == read_parquet(report_parquet(make_report())).schema.names


def test_parquet_takes_hostile_names():
    report = make_report(paths=HOSTILE[:15], classes=HOSTILE[:3])
    assert read_parquet(report_parquet(report))["path"].to_pylist() == [printable(p) for p in HOSTILE[:15]]


def test_parquet_notices_a_flipped_bit_in_its_pages():
    data = bytearray(report_parquet(make_report()))
    table = read_parquet(bytes(data))
    column = (
        pq.ParquetFile(io.BytesIO(bytes(data)))
        .metadata.row_group(0)
        .column(table.schema.names.index("score"))
    )
    data[column.data_page_offset + column.total_compressed_size // 2 + 8] ^= 1
    with pytest.raises(OSError):
        read_parquet(bytes(data))


def test_tables_have_the_same_bytes_again():
    assert suspects_csv(make_report()) == suspects_csv(make_report())
    assert report_parquet(make_report()) == report_parquet(make_report())
    other_times = make_report(provenance={"times": {"train": 99.0}})
    assert report_parquet(other_times) == report_parquet(make_report())


def test_error_probabilities_are_in_both_tables_and_the_list_falls():
    report = make_report(calibrated=calibration(), conflicts=1)
    rows = read_csv(suspects_csv(report))
    assert rows[0]["error_probability"] == ""  # the conflict, which was not assessed
    listed = [float(row["error_probability"]) for row in rows[1:]]
    assert listed == pytest.approx([row["score"] for row in report.suspects()[1:]], rel=1e-5)
    assert listed == sorted(listed, reverse=True) and len(listed) == 5
    stored = read_parquet(report_parquet(report))["error_probability"]
    assert stored.null_count == 3 + 1  # three rows were not used
    assert stored.to_pylist()[3:-1] == pytest.approx(report.findings.score[:-1])
