"""Which suspects go, when a yes is needed, and what makes a report stale."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelscrub.curation import SuspectTable, changed_rows, needs_confirmation, read_report, select
from labelscrub.errors import DataError, UsageError
from labelscrub.records import Findings, Manifest, Report, Skipped, Summary
from labelscrub.reporting import report_parquet


def table(given, score, suspect=None, *, labels=("cat", "dog"), unused=()):
    """Rows ranked by falling score; `unused` ones were skipped."""
    count = len(given)
    used = ~np.isin(np.arange(count), unused)
    score = np.where(used, np.asarray(score, float), np.nan)
    rank = np.zeros(count, np.int64)
    rank[np.argsort(-np.where(used, score, -1), kind="stable")] = np.arange(1, count + 1)
    return SuspectTable(
        row=np.arange(count),
        path=[f"{i}.png" for i in range(count)],
        used=used,
        labels=labels,
        given=np.asarray(given, np.int32),
        suggested=np.zeros(count, np.int32),
        is_suspect=used if suspect is None else np.asarray(suspect, bool) & used,
        score=score,
        rank=np.where(used, rank, 0),
        conflict=np.zeros(count, np.int64),
        sha256=np.full((int(used.sum()), 32), 7, np.uint8),
        skipped=tuple(Skipped(int(i), f"{i}.png", "missing", "no such file") for i in unused),
    )


def manifest(count=4, labels=None, paths=None, classes=("cat", "dog"), skipped=()):
    paths = paths or [f"{i}.png" for i in range(count)]
    labels = np.zeros(len(paths), np.int32) if labels is None else np.asarray(labels, np.int32)
    return Manifest(None, "folder", None, classes, paths, paths, labels, skipped)


# Selecting


def test_all_suspects_go_by_default():
    assert select(table([0, 0, 1, 1], [0.9, 0.1, 0.8, 0.7], [1, 0, 1, 1], unused=[3])).tolist() == [
        1,
        0,
        1,
        0,
    ]


def test_selections_narrow_one_another():
    t = table([0, 0, 0, 1, 1, 1], [0.9, 0.8, 0.3, 0.7, 0.6, 0.2])
    rows = lambda **options: np.flatnonzero(select(t, **options)).tolist()  # noqa: E731
    assert rows(min_score=0.3) == [0, 1, 2, 3, 4]
    assert rows(max_per_class=1) == [0, 3]
    assert rows(top=3) == [0, 1, 3]
    assert rows(max_per_class=1, top=1) == [0]
    assert rows(min_score=0.75, max_per_class=5, top=5) == [0, 1]
    assert rows(min_score=1) == rows(top=0) == rows(max_per_class=0) == []


@settings(max_examples=200, deadline=None, derandomize=True)
@given(data=st.data())
def test_select_agrees_with_its_slow_twin(data):
    rows = data.draw(
        st.lists(
            st.tuples(st.integers(-1, 2), st.sampled_from([0, 0.25, 0.5, 1]), st.booleans()), max_size=12
        )
    )
    unused = data.draw(st.sets(st.integers(0, max(0, len(rows) - 1)), max_size=2)) if rows else set()
    t = table(
        [r[0] for r in rows],
        [r[1] for r in rows],
        [r[2] for r in rows],
        unused=sorted(unused),
        labels=("a", "b", "c"),
    )
    t = replace(t, given=np.maximum(t.given, 0))
    min_score = data.draw(st.none() | st.sampled_from([0.0, 0.3, 1.0]))
    max_per_class, top = (data.draw(st.none() | st.integers(0, 4)) for _ in range(2))
    expected, seen = [], {}
    for row in sorted(range(len(rows)), key=lambda i: t.rank[i]):
        if not t.is_suspect[row] or (min_score is not None and t.score[row] < min_score):
            continue
        seen[t.given[row]] = seen.get(t.given[row], 0) + 1
        if max_per_class is None or seen[t.given[row]] <= max_per_class:
            expected.append(row)
    chosen = select(t, min_score=min_score, max_per_class=max_per_class, top=top)
    assert np.flatnonzero(chosen).tolist() == sorted(expected[:top])


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"min_score": -0.1}, "--min-score"),
        ({"min_score": 1.1}, "--min-score"),
        ({"min_score": math.nan}, "--min-score"),
        ({"max_per_class": -1}, "--max-per-class"),
        ({"top": -1}, "--top"),
    ],
)
def test_senseless_limits_are_refused(options, name):
    with pytest.raises(UsageError, match=name):
        select(table([0], [1]), **options)


@pytest.mark.parametrize(
    ("given", "chosen", "sentence"),
    [
        ([0, 0, 1, 1], [0, 0, 0, 0], None),
        ([0, 0, 1, 1], [1, 0, 1, 0], None),  # exactly half
        ([0, 0, 0, 1, 1, 1], [1, 1, 0, 1, 1, 0], "classes 'cat' (2 of 3), 'dog' (2 of 3)"),
        ([0, 0, 0, 1], [0, 0, 0, 1], "takes most images out of class 'dog' (1 of 1)"),
        ([0, 0, 1, 1], [1, 1, 1, 1], "takes most images out of classes 'cat' (2 of 2), 'dog' (2 of 2)"),
    ],
)
def test_large_shares_need_a_yes(given, chosen, sentence):
    found = needs_confirmation(table(given, [0.5] * len(given)), np.array(chosen, bool))
    assert found is sentence or sentence in found


def test_rows_that_were_not_used_do_not_save_a_class():
    t = table([0, 0, 1, 1], [0.5] * 4, unused=[3])
    assert "'dog'" in needs_confirmation(t, np.array([0, 0, 1, 0], bool))


# Staleness


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["0.png", "1.png", "2.png"], []),
        (["0.png", "2.png"], [(1, "1.png", "gone")]),
        (["0.png", "0a.png", "1.png", "2.png"], [(1, "0a.png", "new")]),
        (["0.png", "1.png", "x.png"], [(2, "2.png", "gone"), (2, "x.png", "new")]),
        (["0.png", "1.png", "1.png", "2.png"], [(1, "1.png", "new")]),
        (["1.png", "0.png", "2.png"], [(0, "1.png", "changed"), (1, "0.png", "changed")]),
    ],
)
def test_rows_that_came_or_went_are_named(paths, expected):
    assert changed_rows(manifest(paths=paths), table([0, 0, 0], [0.5] * 3), None) == expected


def test_changed_labels_are_named():
    t = table([0, 1, 0, -1], [0.5] * 4)
    now = manifest(labels=[0, 1, 0, -1])
    assert changed_rows(now, t, None) == []
    assert changed_rows(replace(now, classes=("dog", "cat"), labels=1 - now.labels), t, None) == [
        (3, "3.png", "changed")  # 1 - -1 is a label; the others are the same names under other numbers
    ]
    for labels, row in (([1, 1, 0, -1], 0), ([0, 1, 0, 0], 3), ([0, -1, 0, -1], 1)):
        assert changed_rows(replace(now, labels=np.array(labels, np.int32)), t, None) == [
            (row, f"{row}.png", "changed")
        ]
    assert [row for row, *_ in changed_rows(replace(now, classes=("cat", "wolf")), t, None)] == [1]


def test_changed_images_are_named():
    t = table([0, 0, 0, 0], [0.5] * 4, unused=[1])
    now = manifest(skipped=t.skipped)
    fresh = t.sha256.copy()
    assert changed_rows(now, t, fresh) == []
    fresh[1, 31] ^= 1
    fresh[2] = 0
    assert changed_rows(now, t, fresh) == [(2, "2.png", "changed"), (3, "3.png", "gone")]
    assert changed_rows(replace(now, skipped=()), t, t.sha256) == [(1, "1.png", "new")]


def test_names_that_are_not_utf8_are_the_same_as_in_the_report():
    t = replace(table([0, 0], [0.5] * 2), path=["caf\\xe9.png", "\\ud800.png"])
    assert changed_rows(manifest(paths=["caf\udce9.png", "\ud800.png"]), t, t.sha256) == []


# Reading


@pytest.fixture
def report():
    """Three used rows of five, as the pipeline makes it."""
    rows = np.array([0, 2, 3])
    skipped = (
        Skipped(1, "b\udce9.png", "unreadable", "truncated"),
        Skipped(4, "a.png", "skipped", "listed twice", same_as=0),
    )
    source = manifest(
        labels=[1, 0, 0, 1, 1], paths=["a.png", "b\udce9.png", "c.png", "d.png", "a.png"], skipped=skipped
    )
    nothing = np.full(3, np.nan, np.float32)
    findings = Findings(
        rank=np.array([3, 1, 2]),
        given=source.labels[rows],
        suggested=np.array([1, 1, 0], np.int32),
        is_suspect=np.array([False, True, True]),
        by_class=np.array([False, True, True]),
        by_noise_rate=np.array([False, True, True]),
        score=np.array([0.1, 0.9, 0.8]),
        self_confidence=nothing,
        normalized_margin=nothing,
        aum=nothing,
        error_probability=nothing,
        fold=np.zeros(3, np.int16),
        assessed=np.ones(3, bool),
        conflict=np.array([0, 0, 2]),
        why=("", "x", "y"),
    )
    digests = np.arange(96, dtype=np.uint8).reshape(3, 32)
    summary = Summary(5, 3, 1, 0, 1, {}, 2, 1, 0.1, 0.9, (), (), ())
    return Report(source, rows, digests, findings, skipped, summary)


def test_a_report_is_read_as_it_was_written(report, tmp_path):
    path = tmp_path / "report.parquet"
    path.write_bytes(report_parquet(report))
    t = read_report(path)
    assert t.row.tolist() == [0, 1, 2, 3, 4]
    assert t.used.tolist() == [True, False, True, True, False]
    assert [t.labels[i] for i in t.given] == ["dog", "cat", "cat", "dog", "dog"]
    assert [t.labels[i] for i in t.suggested[t.used]] == ["dog", "dog", "cat"]
    assert t.suggested[~t.used].tolist() == [-1, -1]
    assert t.is_suspect.tolist() == [False, False, True, True, False]
    assert t.score[t.used].tolist() == [0.1, 0.9, 0.8] and np.isnan(t.score[~t.used]).all()
    assert t.rank.tolist() == [3, 0, 1, 2, 0] and t.conflict.tolist() == [0, 0, 0, 2, 0]
    assert np.array_equal(t.sha256, report.sha256)
    assert [(s.row, s.kind, s.reason, s.same_as) for s in t.skipped] == [
        (1, "unreadable", "truncated", -1),
        (4, "skipped", "listed twice", 0),
    ]
    assert changed_rows(report.manifest, t, report.sha256) == []
    assert select(t, top=1).tolist() == [False, False, True, False, False]


def test_a_missing_report_is_said(tmp_path):
    with pytest.raises(UsageError, match="no report"):
        read_report(tmp_path / "report.parquet")


def test_a_damaged_report_is_refused(report, tmp_path):
    path = tmp_path / "report.parquet"
    whole = report_parquet(report)
    rows = pq.read_table(pa.BufferReader(whole))
    broken = [b"", b"PAR1", whole[:-9], whole[: len(whole) // 2], whole.replace(b"PAR1", b"RAP1")]
    for table_ in (rows.drop_columns("score"), rows.slice(1), rows.take([1, 0, 2, 3, 4])):
        sink = pa.BufferOutputStream()
        pq.write_table(table_, sink)
        broken.append(sink.getvalue().to_pybytes())
    short = rows.set_column(rows.column_names.index("sha256"), "sha256", [["ab", None, "cd", "ef", None]])
    sink = pa.BufferOutputStream()
    pq.write_table(short, sink)
    broken.append(sink.getvalue().to_pybytes())
    at = whole.index(b"PAR1") + 40  # in the first page
    broken.append(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    for data in broken:
        path.write_bytes(data)
        with pytest.raises(DataError, match=r"report\.parquet is damaged"):
            read_report(path)
