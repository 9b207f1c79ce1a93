"""Labels: nothing merged, no ids, no lists, no measurements."""

import pytest

from labelscrub.config import SourceSettings
from labelscrub.data.labels import class_indices, similar_names
from labelscrub.data.rows import LabelCodes
from labelscrub.errors import DataError, UsageError


def classes_of(texts, names=None, **settings):
    labels = LabelCodes()
    for text in texts:
        labels.codes.append(labels[text])
    return class_indices(labels, SourceSettings(**settings), names, "m.csv")


def test_classes_are_sorted_as_text_and_missing_labels_are_minus_one():
    classes, indices = classes_of(["b", None, "10", "9", "b", "nan"])
    assert classes == ("10", "9", "b")
    assert indices.tolist() == [2, -1, 0, 1, 2, -1]


def test_no_label_at_all():
    classes, indices = classes_of([None, ""])
    assert classes == () and indices.tolist() == [-1, -1]


def test_schema_names_keep_their_order():
    classes, indices = classes_of(["cat", "ant"], ("zebra", "cat", "ant"))
    assert classes == ("zebra", "cat", "ant") and indices.tolist() == [1, 2]


def test_class_list_keeps_unseen_names_and_refuses_others(tmp_path):
    path = tmp_path / "names.txt"
    path.write_bytes(b"\xef\xbb\xbfunseen\r\nb \r\na\r\n")
    classes, indices = classes_of(["a", "b "], classes=str(path))
    assert classes == ("unseen", "b ", "a") and indices.tolist() == [2, 1]
    with pytest.raises(DataError, match="row 1: label 'b' is not in"):
        classes_of(["a", "b"], classes=str(path))


@pytest.mark.parametrize("content", [b"", b"a\nb\na\n", b"caf\xe9\n", None])
def test_class_lists_that_are_none(tmp_path, content):
    if content is not None:
        (tmp_path / "names.txt").write_bytes(content)
    with pytest.raises(UsageError, match="--classes"):
        classes_of(["a"], classes=str(tmp_path / "names.txt"))


@pytest.mark.parametrize(
    "texts",
    [
        ["a,b", "a", "b"],
        ["a|b", "a", "c"],
        ["a;b", "b;c", "c"],
        ["a, b", "a", "b"],
        ["['a']", "b"],
        ["a,b", "b,c", "a,c"],
    ],
)
def test_lists_of_labels_are_refused(texts):
    with pytest.raises(DataError, match=r"row 0: label .* single-label data only"):
        classes_of(texts)


@pytest.mark.parametrize(
    "texts",
    [
        ["projectile, missile", "missile", "tench, Tinca tinca"],  # ImageNet's names
        ["a,b", "c", "d"],
        ["1", "1.0", "2"],
        ["0.5", "1.5"] * 30,
        [str(i) for i in range(19)],
    ],
)
def test_odd_classes_that_are_kept(texts):
    assert set(classes_of(texts)[0]) == set(texts)


@pytest.mark.parametrize("texts", [["0.25", "0.5", "1"], [f"{i / 7:.3f}" for i in range(1, 25)] * 9])
def test_measurements_are_refused(texts):
    with pytest.raises(DataError, match="decimal numbers"):
        classes_of(texts)


def test_ids_are_refused_unless_listed(tmp_path):
    texts = [f"id{i}" for i in range(11)] * 1 + ["x"] * 9 + ["y"]
    with pytest.raises(DataError, match="look like ids"):
        classes_of(texts)
    (tmp_path / "names.txt").write_text("\n".join(sorted(set(texts))))
    assert len(classes_of(texts, classes=str(tmp_path / "names.txt"))[0]) == 13


def test_similar_names():
    assert similar_names(("Cat", "dog", "dogs")) == ()
    (note,) = similar_names(("cat", "cat ", "\xe9", "e\u0301"))
    assert note.endswith("'cat' and 'cat '; 'é' and 'e\\u0301'")
