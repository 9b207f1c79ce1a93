import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reports import HOSTILE, calibration, make_report

from labelscrub import __version__
from labelscrub.errors import DataError
from labelscrub.reporting import parse_run_json, run_json
from labelscrub.reporting.run_json import _jsonable

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def test_run_json_parses_back():
    report = make_report()
    run = parse_run_json(run_json(report, {"files": {"clean.csv": "ab"}}))
    assert (run["format"], run["labelscrub"]) == (1, __version__)
    assert run["settings"] == {"loss": "pz", "gamma": None, "folds": 5}
    assert run["provenance"] == report.provenance
    assert run["files"] == {"clean.csv": "ab"}
    assert run["summary"]["listed"] == 15
    assert run["summary"]["suspect_rate"] == 5 / 12
    assert run["summary"]["classes"][0]["label"] == "cat"
    assert run["summary"]["confused_pairs"][0] == {"given": "cat", "suggested": "dog", "count": 2}
    assert run["skipped"][0] == {"row": 0, "path": "img/0000.png", "kind": "unreadable", "reason": "reason 0"}
    assert [entry["row"] for entry in run["conflicts"]] == [13, 14]
    assert len({entry["sha256"] for entry in run["conflicts"]}) == 1


def test_not_a_number_is_null():
    report = make_report()
    summary = dataclasses.replace(report.summary, estimated_noise_rate=float("nan"), accuracy=float("inf"))
    run = parse_run_json(run_json(dataclasses.replace(report, summary=summary), {}))
    assert run["summary"]["estimated_noise_rate"] is None
    assert run["summary"]["accuracy"] is None


def test_only_the_first_thousand_skipped_are_listed_but_all_are_counted():
    run = parse_run_json(run_json(make_report(skipped=1500, used=3), {}))
    assert len(run["skipped"]) == 1000
    assert run["summary"]["listed"] == 1503


def test_hostile_names_stay_valid_utf8_json():
    report = make_report(paths=HOSTILE[:15], skipped=15, used=0, suspects=0, conflicts=0)
    run = json.loads(run_json(report, {}).decode())
    assert run["skipped"][8]["path"] == "caf\\xe9.jpg"
    assert run["skipped"][7]["path"] == HOSTILE[7]


@given(ANY_JSON)
def test_any_extra_gives_strict_json(extra):
    json.loads(
        run_json(make_report(used=1, suspects=0, conflicts=0), {"extra": extra}), parse_constant=pytest.fail
    )


def test_order_of_keys_does_not_change_the_bytes():
    one = make_report(settings={"a": 1, "b": 2}, provenance={"x": {"p": 1, "q": 2}})
    two = make_report(settings={"b": 2, "a": 1}, provenance={"x": {"q": 2, "p": 1}})
    assert run_json(one, {}) == run_json(two, {})


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"[1]",
        b"{}",
        b'{"format": "1", "summary": {}}',
        b'{"format": true, "summary": {}}',
        b'{"format": 1}',
        b'{"format": 1, "summary": []}',
        b"[" * 100_000,
        run_json(make_report(), {})[:-20],
    ],
)
def test_damage_is_a_data_error(data):
    with pytest.raises(DataError, match="damaged"):
        parse_run_json(data)


def test_a_newer_format_is_refused_with_a_way_out():
    with pytest.raises(DataError, match="format 2") as caught:
        parse_run_json(b'{"format": 2, "summary": {}}')
    assert "upgrade labelscrub" in caught.value.fix


def test_a_calibration_comes_back_its_matrix_a_line_a_row():
    exact = calibration(cut=float("nan"))
    data = run_json(make_report(calibrated=exact), {})
    stored = parse_run_json(data)["summary"]["calibration"]
    assert stored.pop("transition") == [[0.9, 0.1, 0.0], [0.25, 0.75, 0.0], [None, None, None]]
    assert stored.pop("cut") is None
    expected = dataclasses.asdict(exact)
    assert stored == {name: expected[name] for name in stored} and len(stored) == len(expected) - 2
    assert b"        [0.25, 0.75, 0.0],\n        [null, null, null]\n" in data


def test_a_run_of_another_method_says_so():
    assert parse_run_json(run_json(make_report(), {}))["summary"]["calibration"] is None


@given(ANY_JSON)
def test_numbers_on_one_line_change_no_value(extra):
    values = _jsonable([[1, 2.5, None], extra, ["[\n1\n]"]])
    document = parse_run_json(run_json(make_report(used=1, suspects=0, conflicts=0), {"extra": values}))
    assert document["extra"] == values
