"""Places of exported images: safe, never the same, and the source's own path where that is fine."""

from __future__ import annotations

import re
import unicodedata
from os.path import splitext

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reports import HOSTILE

from labelscrub.reporting.safe_places import Places


@pytest.mark.parametrize(
    "path",
    ["1.png", "cat/1.png", "a b/c (2).JPG", "café/ß.jpeg", "a.tar.gz/x", "no-extension", "train/1.png"],
)
def test_a_path_that_is_fine_stays(path):
    assert Places().place(path) == path


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("../../etc/1.png", "etc/1.png"),
        ("/srv/img/1.png", "srv/img/1.png"),
        ("a/./b//1.png", "a/b/1.png"),
        ("..", "image"),
        (".hidden/.1.png", "_hidden/_1.png"),
        ("__pycache__/1.png", "_pycache__/1.png"),
        ("C:\\x.png", "C__x.png"),
        ("caf\udce9.png", "caf_.png"),
        ("tail./1.png ", "tail_/1.png_"),
        ("\u202egnp.exe", "_gnp.exe"),
    ],
)
def test_what_is_not_fine_is_replaced(path, place):
    assert Places().place(path) == place


def test_collisions_get_numbers_as_fiftyone_gives_them():
    places = Places()
    asked = ["a/1.png", "a/1.png", "A/1.PNG", "a/1-2.png", "a/1.png", "caf\u00e9.png", "cafe\u0301.png"]
    assert [places.place(path) for path in asked] == [
        "a/1.png",
        "a/1-2.png",
        "A/1-3.PNG",
        "a/1-2-2.png",
        "a/1-4.png",
        "caf\u00e9.png",
        "cafe\u0301-2.png",
    ]


def test_no_file_where_a_folder_is_and_no_folder_where_a_file_is():
    places = Places()
    asked = ("a", "a/b.png", "c/d.png", "c", "e.png", "e/f.png")
    assert [places.place(path) for path in asked] == ["a", "b.png", "c/d.png", "c-2", "e.png", "e/f.png"]
    places = Places(stems=True)
    assert [places.place(path) for path in ("e.png", "e/f.png")] == ["e.png", "e/f.png"]


def test_stems_differ_where_asked_for():
    assert [Places(stems=True).place("a.jpg"), Places().place("a.jpg")] == ["a.jpg", "a.jpg"]
    places = Places(stems=True)
    assert [places.place(path) for path in ("a.jpg", "a.png", "b/a.png", "a.of-many-characters")] == [
        "a.jpg",
        "a-2.png",
        "b/a.png",
        "a-3.of-many-characters",
    ]


# Names that `datasets` sorts into splits (its data_files.py: SPLIT_KEYWORDS, NON_WORDS_CHARS), and names that
# only look so.
@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("train/1.png", "trainset/1.png"),
        ("x-test/val_1.png", "x-testset/valset_1.png"),
        ("cat/eval.png", "cat/evalset.png"),
        ("my training 3/1.png", "my trainingset 3/1.png"),
        ("train_test.png", "trainset_testset.png"),
        ("trains/latest.png", "trains/latest.png"),
        ("Train/1.png", "Train/1.png"),
    ],
)
def test_names_of_splits_are_changed_where_asked_for(path, place):
    assert Places(splits=False).place(path) == place


def is_safe(place):
    names = place.split("/")
    return (
        all(names)
        and not any(name.startswith((".", "__")) for name in names)
        and all(len(name.encode()) <= 200 for name in names)
        and len(place.encode()) <= 1200
        and not re.search(r'[\x00-\x1f<>:"|?*\\]', place)
    )


def test_hostile_names_get_safe_places():
    places = Places(stems=True, splits=False)
    given = [places.place(path) for path in (*HOSTILE, "x" * 400 + ".png", "y/" * 900 + "1.png", "é" * 300)]
    assert all(map(is_safe, given))
    assert given[-3].endswith("x.png") and given[-2] == "1.png"


@settings(deadline=None, derandomize=True)
@given(st.lists(st.text("aA.b/_-2\udce9 é", max_size=8), max_size=12), st.booleans())
def test_places_never_meet(paths, stems):
    places = Places(stems=stems)
    given = [places.place(path) for path in paths]
    assert all(map(is_safe, given))
    # a slow twin: what a file system that ignores case and accents' writing would be left with
    folded = [unicodedata.normalize("NFC", place.casefold()) for place in given]
    assert len(set(folded)) == len(folded)
    folders = {"/".join(place.split("/")[:n]) for place in folded for n in range(1, place.count("/") + 1)}
    assert not folders & set(folded)
    keys = {splitext(place)[0] for place in folded}  # noqa: PTH122  (FiftyOne's rule)
    assert len(keys) == len(folded) or not stems
