"""The baseline: what stays over rescans, what comes and goes, and that a damaged one is never taken."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from listings import listing_of
from reports import HOSTILE, make_report

from labelscrub.errors import DataError, UsageError
from labelscrub.reporting.baseline import (
    Entry,
    baseline_bytes,
    compare,
    decide,
    parse_baseline,
    suspect_key,
    update,
)
from labelscrub.review_records import Decision

LISTING = listing_of(make_report())
SUSPECTS = [suspect for suspect in LISTING if suspect.is_suspect]
DUPLICATES = [suspect for suspect in LISTING if not suspect.is_suspect]


def decision(suspect, choice, label="", **other):
    made = Decision(suspect.row, choice, label, suspect.given_label, suspect.path, suspect.sha256)
    return replace(made, **other)


def stored(entries):
    return parse_baseline(baseline_bytes(entries), "known.json")


def test_new_suspects_come_in_unreviewed_and_duplicates_do_not():
    entries = update({}, LISTING)
    assert entries.keys() == {suspect_key(suspect) for suspect in SUSPECTS}
    assert len(SUSPECTS) == 5 and len(DUPLICATES) == 2
    assert {entry.verdict for entry in entries.values()} == {"unreviewed"}
    compared = compare(entries, LISTING)
    assert (compared.new, compared.known, compared.undone) == ((), tuple(SUSPECTS), 0)


def test_what_nobody_decided_goes_with_its_suspect_and_what_people_decided_stays():
    first, second, third = SUSPECTS[:3]
    entries = update({}, SUSPECTS[:3])
    entries = decide(entries, [decision(first, "keep"), decision(second, "relabel", "cow")], LISTING)
    rescanned = stored(update(entries, [SUSPECTS[3]]))
    assert {entry.path: (entry.verdict, entry.label) for entry in rescanned.values()} == {
        first.path: ("keep", ""),
        second.path: ("relabel", "cow"),
        SUSPECTS[3].path: ("unreviewed", ""),
    }
    again = update(rescanned, SUSPECTS)
    assert again[suspect_key(first)].verdict == "keep"
    assert again[suspect_key(third)].verdict == "unreviewed"


def test_decisions_to_change_something_are_counted_while_nothing_has_changed():
    one, two, three = SUSPECTS[:3]
    made = [decision(one, "keep"), decision(two, "relabel", "cow"), decision(three, "remove")]
    entries = update(decide({}, made, LISTING), LISTING)
    assert compare(entries, LISTING).undone == 2
    relabelled = [replace(SUSPECTS[1], given_label="cow")]
    compared = compare(entries, relabelled)
    assert (compared.new, compared.undone) == (tuple(relabelled), 0), "another label is another thing"


def test_the_last_decision_about_an_image_holds_and_unreviewed_takes_back():
    one, two = SUSPECTS[:2]
    made = [
        decision(one, "remove"),
        decision(two, "keep"),
        decision(one, "keep"),
        decision(two, "unreviewed"),
    ]
    entries = update(decide({}, made, LISTING), LISTING)
    assert [entries[suspect_key(s)].verdict for s in (one, two)] == ["keep", "unreviewed"]
    assert two.path not in {e.path for e in update(decide({}, made, LISTING), [one]).values()}


def test_a_decision_is_put_in_also_where_the_image_is_no_suspect():
    gone = decision(SUSPECTS[0], "keep", sha256="ab" * 32, path="elsewhere.png", row=999)
    entries = stored(update(decide({}, [gone, decision(DUPLICATES[0], "remove")], LISTING), []))
    assert [(e.path, e.verdict) for e in entries.values()] == [
        ("elsewhere.png", "keep"),
        (DUPLICATES[0].path, "remove"),
    ]
    assert compare(entries, LISTING).known_rows == {DUPLICATES[0].row}


def test_a_decision_without_bytes_is_looked_up_by_its_row():
    one = SUSPECTS[0]
    entries = decide({}, [decision(one, "keep", sha256="", path="")], LISTING)
    assert entries.keys() == {suspect_key(one)}
    for other in ({"row": 999}, {"given_label": "cow"}):
        with pytest.raises(UsageError, match=r"the decision on row .* says neither sha256 nor path"):
            decide({}, [decision(one, "keep", **{"sha256": "", "path": "", **other})], LISTING)
    with pytest.raises(DataError, match="not 64 hexadecimal digits"):
        decide({}, [decision(one, "keep", sha256="9f")], LISTING)


def test_labels_alone_are_known_by_their_path():
    alone = [replace(suspect, sha256="") for suspect in SUSPECTS]
    entries = stored(update({}, alone))
    assert len(entries) == 5 and compare(entries, alone).new == ()
    moved = [replace(alone[0], path="other")]
    assert compare(entries, moved).new == tuple(moved)
    kept = decide(entries, [decision(alone[0], "keep")], alone)
    assert update(kept, [])[suspect_key(alone[0])].verdict == "keep"


def test_copies_under_one_label_are_one_entry_and_both_known():
    copy = replace(SUSPECTS[0], path="zzz.png", row=99)
    entries = update({}, [copy, SUSPECTS[0]])
    assert [entry.path for entry in entries.values()] == [SUSPECTS[0].path]
    assert compare(entries, [copy, SUSPECTS[0]]).new == ()


def test_the_file_is_sorted_with_an_entry_a_line():
    data = baseline_bytes(update({}, SUSPECTS))
    assert data == baseline_bytes(update({}, SUSPECTS[::-1]))
    lines = data.decode().splitlines()
    assert len(lines) == 2 + len(SUSPECTS)
    paths = [json.loads(line.rstrip(","))["path"] for line in lines[1:-1]]
    assert paths == sorted(paths)
    fewer = baseline_bytes(update({}, SUSPECTS[1:])).decode().splitlines()
    assert set(fewer) < set(lines), "what is not affected keeps its line"
    assert json.loads(baseline_bytes({})) == {"tool": "labelscrub baseline", "format": 1, "entries": []}


TEXTS = st.text(max_size=8) | st.sampled_from(HOSTILE)
DIGESTS = st.binary(min_size=32, max_size=32).map(bytes.hex) | st.just("")
ENTRIES = st.tuples(
    DIGESTS, TEXTS, TEXTS, TEXTS, st.sampled_from(["keep", "remove", "unreviewed", "relabel"])
)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(ENTRIES, max_size=6))
def test_any_name_survives_the_file(items):
    entries = [Entry(*item, label="cow" if item[4] == "relabel" else "") for item in items]
    known = {entry.key: entry for entry in entries}
    data = baseline_bytes(known)
    assert data.isascii() and len(data.splitlines()) == 2 + len(known)
    assert parse_baseline(data, "x") == known
    assert baseline_bytes(parse_baseline(data, "x")) == data


GOOD = json.loads(baseline_bytes(update({}, SUSPECTS)))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no baseline"),
        (b"\xff\xfe", "no baseline"),
        (b"path,label\na.png,cat\n", "no baseline"),
        (b"[" * 100_000, "no baseline"),
        (b"[]", "no baseline"),
        (b'{"tool": "labelscrub check"}', "no baseline"),
        (baseline_bytes(update({}, SUSPECTS))[:-20], "damaged"),
        (json.dumps(GOOD | {"format": 2}).encode(), "format 2"),
        (json.dumps(GOOD | {"format": None}).encode(), "format None"),
        (json.dumps(GOOD | {"entries": {}}).encode(), "no list of entries"),
    ],
)
def test_a_damaged_or_foreign_file_is_a_data_error(data, said):
    with pytest.raises(DataError, match=said) as caught:
        parse_baseline(data, "known.json")
    assert "known.json" in caught.value.cause and len(caught.value.cause) < 500


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"verdict": "kept"}, "'verdict' is 'kept', not one of keep"),
        ({"verdict": None}, "'verdict' is None, not a text"),
        ({"verdict": "relabel"}, "a right label goes with relabel"),
        ({"label": "dog"}, "a right label goes with relabel"),
        ({"verdict": "relabel", "label": 3}, "'label' is 3"),
        ({"sha256": "9F" * 32}, "'sha256' is not 64"),
        ({"sha256": "9f"}, "'sha256' is not 64"),
        ({"given_label": 7}, "'given_label' is 7"),
    ],
)
def test_a_bad_entry_is_named(change, said):
    entries = [dict(entry) for entry in GOOD["entries"]]
    entries[2] |= change
    with pytest.raises(DataError, match=said) as caught:
        parse_baseline(json.dumps(GOOD | {"entries": entries}).encode(), "known.json")
    assert f"known.json, entry 3 ({entries[2]['path']})" in caught.value.cause


def test_a_file_that_an_editor_saved_its_way_is_read():
    entries = update({}, SUSPECTS)
    saved = b"\xef\xbb\xbf" + baseline_bytes(entries).replace(b"\n", b"\r\n")
    assert parse_baseline(saved, "known.json") == entries


def test_an_entry_of_no_shape_and_a_second_one_are_named():
    with pytest.raises(DataError, match=r"known\.json, entry 1: not an object"):
        parse_baseline(json.dumps(GOOD | {"entries": [3]}).encode(), "known.json")
    twice = [*GOOD["entries"], {**GOOD["entries"][0], "verdict": "keep"}]
    with pytest.raises(DataError, match=r"entry 6: a second one about img/0003.png as 'cat'"):
        parse_baseline(json.dumps(GOOD | {"entries": twice}).encode(), "known.json")
