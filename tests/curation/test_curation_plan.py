"""Decisions and suspects as changes of a manifest."""

from __future__ import annotations

import numpy as np
import pytest

from labelscrub.curation.decisions import settle
from labelscrub.curation.plan import chosen_suspects, class_numbers, decided, strange_sentence
from labelscrub.curation.select import SuspectTable
from labelscrub.errors import DataError
from labelscrub.records import Manifest
from labelscrub.review_records import Decision

CLASSES = ("cat", "dog", "sh\udcffip")  # the last one is not UTF-8: the report shows it as sh\xffip


def manifest(folder, classes=CLASSES):
    labels = np.arange(4, dtype=np.int32) % 3
    paths = [f"{i}.png" for i in range(4)]
    return Manifest(folder, "folder", folder, classes, paths, paths, labels)


def table():
    return SuspectTable(
        row=np.arange(4),
        path=[f"{i}.png" for i in range(4)],
        used=np.ones(4, bool),
        labels=("dog", "cat", r"sh\xffip"),  # in order of appearance, as in a report
        given=np.array([1, 0, 2, 1], np.int32),
        suggested=np.array([0, 2, 1, 1], np.int32),
        is_suspect=np.array([True, True, True, False]),
        score=np.ones(4),
        rank=np.arange(1, 5),
        conflict=np.zeros(4, np.int64),
        sha256=np.zeros((4, 32), np.uint8),
        skipped=(),
    )


def choice_of(folder, *decisions):
    return decided(settle(decisions, table()), manifest(folder))


def test_each_decision_does_what_it_says(tmp_path):
    choice = choice_of(
        tmp_path,
        Decision(0, "relabel", r"sh\xffip", "cat", "0.png", ""),
        Decision(1, "keep", "", "dog", "1.png", ""),
        Decision(2, "remove", "", r"sh\xffip", "2.png", ""),
        Decision(3, "relabel", "cat", "cat", "3.png", ""),  # the label it has
    )
    assert (choice.remove, choice.relabel) == ((2,), {0: 2})
    assert choice.leaving(4).tolist() == [True, False, True, False]


@pytest.mark.parametrize(
    ("label", "hint"), [("dgo", "did you mean 'dog'"), ("zebra", "classes are cat, dog")]
)
def test_a_label_that_is_no_class_is_refused_by_name(tmp_path, label, hint):
    with pytest.raises(DataError, match=f"row 0.*'{label}', which is no class") as raised:
        choice_of(tmp_path, Decision(0, "relabel", label, "cat", "0.png", ""))
    assert hint in raised.value.fix


def test_a_label_that_two_classes_look_like_is_refused(tmp_path):
    both = manifest(tmp_path, ("cat", r"d\xff", "d\udcff"))
    assert class_numbers(both) == {"cat": 0, r"d\xff": -2}
    settled = settle([Decision(0, "relabel", r"d\xff", "cat", "0.png", "")], table())
    with pytest.raises(DataError, match="two classes"):
        decided(settled, both)


def test_suspects_go_or_get_their_suggested_label(tmp_path):
    chosen = np.array([True, True, False, False])
    assert chosen_suspects(table(), manifest(tmp_path), chosen, relabel=False).remove == (0, 1)
    assert chosen_suspects(table(), manifest(tmp_path), chosen, relabel=True).relabel == {0: 1, 1: 2}


def test_a_suggested_label_that_two_classes_look_like_is_refused(tmp_path):
    both = manifest(tmp_path, ("cat", "dog", "sh\udcffip", r"sh\xffip"))
    with pytest.raises(DataError, match=r"row 1 \(1\.png\).*two classes"):
        chosen_suspects(table(), both, np.array([True, True, False, False]), relabel=True)


def test_strange_decisions_are_counted_and_three_are_named():
    strange = [Decision(row, "remove", "", "cat", f"{row}.png", "") for row in range(7, 12)]
    sentence = strange_sentence(strange)
    assert sentence.startswith("5 decisions are")
    assert all(f"row {row} ({row}.png" in sentence for row in (7, 8, 9)) and "and 2 more" in sentence
    assert strange_sentence(strange[:1]).startswith("1 decision is")
    assert strange_sentence([]) == ""
