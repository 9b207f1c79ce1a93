"""True labels from a column or a file, by path or by row; what does not fit is said or refused."""

from __future__ import annotations

import numpy as np
import pytest

from labelscrub.config import SourceSettings
from labelscrub.data import read_source
from labelscrub.errors import DataError, UsageError
from labelscrub.evaluation.truth import OTHER_CLASS, UNKNOWN, read_truth

SETTINGS = SourceSettings()
TABLE = "path,label,human\n0.png,cat,cat\n1.png,dog,cat\n2.png,dog,\n3.png,cat,dog\n"


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.csv").write_text(TABLE)
    return read_source(tmp_path / "m.csv", SETTINGS)  # classes: cat 0, dog 1


def test_a_column(source):
    truth = read_truth(source, "human", SETTINGS)
    assert truth.labels.dtype == np.int32
    assert (truth.labels.tolist(), truth.origin, truth.notes) == (
        [0, 0, UNKNOWN, 1],
        "column 'human' of m.csv",
        (),
    )


def test_a_column_wins_over_a_file_of_its_name_which_a_path_still_means(source, tmp_path):
    (tmp_path / "m.csv").write_text(TABLE.replace("human", "t.txt"))
    (tmp_path / "t.txt").write_text("dog\ndog\ndog\ndog\n")
    assert read_truth(source, "t.txt", SETTINGS).labels.tolist() == [0, 0, UNKNOWN, 1]
    assert read_truth(source, "./t.txt", SETTINGS).labels.tolist() == [1, 1, 1, 1]


def test_a_table_is_matched_by_path_and_what_is_not_matched_is_said(source, tmp_path):
    (tmp_path / "t.csv").write_text("path,label\n3.png,dog\n1.png,dog\n9.png,cat\n0.png,cat\n3.png,dog\n")
    truth = read_truth(source, "t.csv", SETTINGS)
    assert truth.labels.tolist() == [0, 1, UNKNOWN, 1]
    assert truth.notes == (
        "rows not in t.csv: 1 of 4; the first is 2.png",
        "paths in t.csv that the source does not list: 1; one is 9.png",
    )


def test_paths_that_are_all_others_or_contradict_are_refused(source, tmp_path):
    (tmp_path / "t.csv").write_text("path,label\nimages/0.png,cat\n")
    with pytest.raises(DataError, match=r"none of the source's paths: 'images/0\.png' there, '0\.png' here"):
        read_truth(source, "t.csv", SETTINGS)
    (tmp_path / "t.csv").write_text("path,label\n0.png,cat\n0.png,dog\n")
    with pytest.raises(DataError, match=r"gives 0\.png two true labels: 'cat' and 'dog'"):
        read_truth(source, "t.csv", SETTINGS)


@pytest.mark.parametrize(
    "values",
    [np.array(["cat", "cat", "", "dog"]), np.array([0, 0, -1, 1]), "cat\ncat\n\ndog\n", "0\n0\n-1\n1"],
)
def test_a_file_of_labels_is_aligned_with_the_rows(source, tmp_path, values):
    name = "t.txt" if isinstance(values, str) else "t.npy"
    if isinstance(values, str):
        (tmp_path / name).write_text(values)
    else:
        np.save(tmp_path / name, values)
    truth = read_truth(source, name, SETTINGS)
    assert truth.labels.tolist() == [0, 0, UNKNOWN, 1]
    numbers = "0" in str(values)
    note = f"numbers in {name} were read as places in the run's order of classes: 0 is 'cat', 1 is 'dog'"
    assert truth.notes == ((note,) if numbers else ())


def test_numbers_that_are_class_names_are_names(tmp_path):
    # as text 10 comes before 2: its place is 1
    (tmp_path / "m.csv").write_text("path,label\na,1\nb,10\nc,2\n")
    source = read_source(tmp_path / "m.csv", SETTINGS)
    np.save(tmp_path / "t.npy", np.array([1, 2, 10]))
    truth = read_truth(source, str(tmp_path / "t.npy"), SETTINGS)
    assert [source.classes[label] for label in truth.labels] == ["1", "2", "10"]
    assert truth.notes == ()


@pytest.mark.parametrize(
    ("values", "message"),
    [([0, 1], "2 labels, but the source lists 4 rows"), ([0, 1, 2, 1], "label 2, but the run has 2 classes")],
)
def test_files_that_do_not_fit_are_refused(source, tmp_path, values, message):
    np.save(tmp_path / "t.npy", np.array(values))
    with pytest.raises(DataError, match=message):
        read_truth(source, "t.npy", SETTINGS)


def test_a_class_that_the_run_does_not_know_makes_the_given_label_wrong(source, tmp_path):
    (tmp_path / "t.txt").write_text("cat\neel\ndog\n-1\n")
    truth = read_truth(source, "t.txt", SETTINGS)
    assert truth.labels.tolist() == [0, OTHER_CLASS, 1, UNKNOWN]
    assert len(truth.notes) == 1 and truth.notes[0].startswith(
        "true labels that are no class of the run: 1 ('eel')"
    )


def test_a_truth_in_other_words_is_refused(source, tmp_path):
    (tmp_path / "m.csv").write_text(TABLE.replace(",cat\n", ",0\n").replace(",dog\n", ",1\n"))
    with pytest.raises(
        DataError, match="no true label in column 'human' is a class of the run: '0', '1' there"
    ):
        read_truth(source, "human", SETTINGS)
    (tmp_path / "t.txt").write_text("\n\n\n\n")
    with pytest.raises(DataError, match="all are blank"):
        read_truth(source, "t.txt", SETTINGS)


@pytest.mark.parametrize(
    ("truth", "message"),
    [
        ("label", "holds the labels that the run judged"),
        ("path", "m.csv: column 'path' is the column of the images or image paths; and there is no file"),
        (
            "humen",
            "no column 'humen'; its columns are: 'path', 'label', 'human'; and there is no file 'humen'",
        ),
        ("", "no column ''"),
        ("t.pickle", "t.pickle is of no known kind"),
    ],
)
def test_what_is_no_truth_is_a_usage_error(source, tmp_path, truth, message):
    (tmp_path / "t.pickle").write_bytes(b"")
    with pytest.raises(UsageError, match=message):
        read_truth(source, truth, SETTINGS)


def test_a_folder_takes_a_file(tmp_path):
    for name in ("a/1.png", "b/2.png", "b/3.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    source = read_source(tmp_path, SETTINGS)
    (tmp_path / "t.csv").write_text("path,true_label,label\nb/2.png,a,b\na/1.png,a,a\nb/3.png,b,b\n")
    assert read_truth(source, str(tmp_path / "t.csv"), SETTINGS).labels.tolist() == [0, 0, 1]
    with pytest.raises(UsageError, match="no columns; and there is no file 'true_label'"):
        read_truth(source, "true_label", SETTINGS)
