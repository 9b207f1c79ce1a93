import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelscrub.curation.decisions import decision_line, parse_decisions, read_decisions, settle
from labelscrub.curation.select import SuspectTable
from labelscrub.errors import DataError, UsageError
from labelscrub.review_records import CHOICES, Decision

TEXT = st.text(st.characters(codec="utf-8"), max_size=12)


def digest(number):
    return f"{number:064x}"


def table(given, *, contents=None, paths=None, used=None):
    """A report's table: classes cat, dog, ship; content i is the digest of number i + 1."""
    n = len(given)
    used = np.ones(n, bool) if used is None else np.array(used)
    contents = np.arange(1, n + 1) if contents is None else np.array(contents)
    sha256 = np.array([list(bytes.fromhex(digest(c))) for c in contents], np.uint8).reshape(n, 32)
    return SuspectTable(
        row=np.arange(n),
        path=paths or [f"{i}.png" for i in range(n)],
        used=used,
        labels=("cat", "dog", "ship"),
        given=np.array(given, np.int32),
        suggested=np.zeros(n, np.int32),
        is_suspect=np.ones(n, bool),
        score=np.ones(n),
        rank=np.arange(1, n + 1),
        conflict=np.zeros(n, np.int64),
        sha256=sha256[used],
        skipped=(),
    )


def decision(row, choice="remove", *, label="", given_label="cat", path=None, content=None):
    content = row + 1 if content is None else content
    path = f"{row}.png" if path is None else path
    return Decision(row, choice, label, given_label, path, digest(content) if content else "")


decisions = st.builds(
    lambda row, choice, label, *texts: Decision(row, choice, label if choice == "relabel" else "", *texts),
    st.integers(0, 10**12),
    st.sampled_from(CHOICES),
    TEXT.filter(bool),
    TEXT,
    TEXT,
    TEXT,
)


@given(st.lists(decisions))
def test_what_is_written_is_read_again(made):
    text = "".join(decision_line(d, time="2026-01-01T00:00:00Z") for d in made)
    assert text.isascii() and text.count("\n") == len(made)
    assert parse_decisions(text, "d.jsonl") == made


def test_blank_lines_do_no_harm_and_neither_does_a_last_line_that_was_cut_short():
    line = decision_line(decision(3))
    assert parse_decisions(f"\n{line}\r\n{line}  \n" + line[:20], "d") == [decision(3)] * 2
    assert parse_decisions(line.strip(), "d") == [decision(3)]  # an editor may leave out the last line end


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[1]", "not a JSON object"),
        ('{"choice": "keep"}', "'row' is None"),
        ('{"row": true, "choice": "keep"}', "'row' is True"),
        ('{"row": -1, "choice": "keep"}', "'row' is -1"),
        ('{"row": 1, "choice": "drop"}', "'drop', not one of keep, relabel, remove, unreviewed"),
        ('{"row": 1, "choice": ["keep"]}', "not one of"),
        ('{"row": 1, "choice": "relabel"}', "without the right label"),
        ('{"row": 1, "choice": "relabel", "label": 7}', "are texts"),
        ('{"row": 1, "choice": "keep", "path": null}', "are texts"),
    ],
)
def test_a_bad_line_is_named(line, said):
    with pytest.raises(DataError, match=r"d\.jsonl, line 2: ") as error:
        parse_decisions(f"{decision_line(decision(0))}{line}\n{decision_line(decision(1))}", "d.jsonl")
    assert said in str(error.value)


def test_a_file_that_is_nothing_but_rubbish_is_not_taken_for_a_torn_line(tmp_path):
    with pytest.raises(DataError, match="line 1"):
        parse_decisions("path,label", "labels.csv")
    with pytest.raises(UsageError, match="no decisions"):
        read_decisions(tmp_path / "decisions.jsonl")
    (tmp_path / "decisions.jsonl").write_bytes(b"\xff\xfe{")
    with pytest.raises(DataError, match="not UTF-8"):
        read_decisions(tmp_path / "decisions.jsonl")


def test_the_last_decision_of_a_row_holds_and_unreviewed_takes_it_back():
    made = [
        decision(0, "remove"),
        decision(1, "keep"),
        decision(0, "relabel", label="dog"),
        decision(1, "unreviewed"),
        decision(2, "keep", given_label="dog"),
    ]
    settled = settle(made, table([0, 0, 1]))
    assert [(d.row, d.choice, d.label) for d in settled.decisions] == [(0, "relabel", "dog"), (2, "keep", "")]
    assert settled.strange == ()


def test_decisions_follow_their_image_to_another_row():
    moved = table([1, 0, 0], contents=[9, 1, 2], paths=["new.png", "0.png", "1.png"])
    settled = settle([decision(0), decision(1, "keep")], moved)
    assert [(d.row, d.choice, d.path) for d in settled.decisions] == [
        (1, "remove", "0.png"),
        (2, "keep", "1.png"),
    ]


def test_a_decision_holds_for_all_rows_with_the_same_image_and_label_only_where_its_row_has_another():
    twice = table([0, 0, 1], contents=[5, 5, 5])
    here = settle([decision(0, content=5)], twice)
    assert [d.row for d in here.decisions] == [0]  # the copy was decided on by itself, or not at all
    elsewhere = settle([decision(7, content=5)], twice)
    assert [d.row for d in elsewhere.decisions] == [0, 1]  # never row 2: there the image has another label


def test_rows_that_write_the_same_path_and_hold_the_same_image_are_decided_one_by_one():
    t = table(
        [0, 0, 1], contents=[5, 5, 5], paths=["0.png", "0.png", "0.png"]
    )  # train/ and test/metadata.csv
    made = [decision(row, choice, path="0.png", content=5) for row, choice in ((0, "keep"), (1, "remove"))]
    assert [(d.row, d.choice) for d in settle(made, t).decisions] == [(0, "keep"), (1, "remove")]


def test_the_last_word_holds_also_where_the_image_had_another_row_before():
    t = table([1, 0], contents=[9, 1], paths=["new.png", "0.png"])
    made = [decision(0, "remove"), decision(1, "keep", path="0.png", content=1)]
    assert [(d.row, d.choice) for d in settle(made, t).decisions] == [(1, "keep")]
    assert [(d.row, d.choice) for d in settle([made[1], made[0]], t).decisions] == [(1, "remove")]
    taken_back = decision(1, "unreviewed", path="0.png", content=1)
    assert settle([*made, taken_back], t).decisions == ()


@pytest.mark.parametrize(
    "other",
    [
        decision(0, given_label="dog"),  # relabelled since
        decision(0, content=77),  # another picture since
        decision(0, path="other.png", content=77),
        decision(9, content=0),  # no such row, and no digest to find it by
        decision(1),  # a row that was not used
    ],
)
def test_decisions_about_something_else_are_strange(other):
    t = table([0, 0], used=[True, False])
    settled = settle([other], t)
    assert settled.decisions == () and settled.strange == (other,)


def test_taking_back_what_is_no_longer_there_is_not_strange():
    assert settle([decision(0, "unreviewed", content=77)], table([0])).strange == ()


def test_runs_of_labels_alone_go_by_row_and_path():
    t = table([0, 1])
    t = replace(t, sha256=np.zeros((2, 32), np.uint8))
    made = [decision(0, content=0), decision(1, content=0)]
    settled = settle(made, t)
    assert [(d.row, d.sha256) for d in settled.decisions] == [(0, "")]
    assert settled.strange == (made[1],)  # given as cat, but row 1 is a dog


def test_a_line_is_what_the_page_and_other_tools_write():
    entry = json.loads(decision_line(decision(4, "relabel", label="dog", given_label="caf\u00e9"), by="ann"))
    assert entry == {
        "row": 4,
        "path": "4.png",
        "given_label": "caf\u00e9",
        "sha256": digest(5),
        "choice": "relabel",
        "label": "dog",
        "by": "ann",
    }
    assert "label" not in json.loads(decision_line(decision(4)))
