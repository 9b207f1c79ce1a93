"""Labels from a file in the data set's order: by name or by number, and CIFAR-10N's own format."""

from __future__ import annotations

import os
import pickle
import zipfile

import numpy as np
import pytest
import torch

from labelscrub.errors import DataError, UsageError
from labelscrub.evaluation.given_labels import read_given_labels

CLASSES = ("airplane", "automobile", "bird")
OWN = np.array([0, 1, 2, 2], np.int32)


def read(path, classes=CLASSES, own=OWN):
    return read_given_labels(path, classes, own).tolist()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.txt", "bird\nbird\nairplane\nautomobile\n"),
        ("labels.txt", "2\n2\n0\n1"),
        ("labels.csv", "label\nbird\nbird\nairplane\nautomobile\n"),
        ("labels.csv", "index,label\n0,2\n1,2\n2,0\n3,1\n"),
    ],
)
def test_names_or_numbers(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert read(tmp_path / name) == [2, 2, 0, 1]


@pytest.mark.parametrize("labels", [[2, 2, 0, 1], ["bird", "bird", "airplane", "automobile"]])
def test_numpy(tmp_path, labels):
    np.save(tmp_path / "labels.npy", np.array(labels))
    assert read(tmp_path / "labels.npy") == [2, 2, 0, 1]


def test_digits_are_names_first(tmp_path):
    """Classes named by numbers in another order: "2" is the class of that name."""
    (tmp_path / "labels.txt").write_text("2\n0\n1\n2\n")
    assert read(tmp_path / "labels.txt", ("2", "1", "0")) == [0, 2, 1, 0]
    assert read(tmp_path / "labels.txt", ("0", "1", "2")) == [2, 0, 1, 2]


def test_more_classes_than_labels_in_use(tmp_path):
    (tmp_path / "labels.txt").write_text("10\n2\n0\n10\n")
    assert read(tmp_path / "labels.txt", tuple("abcdefghijklm")) == [10, 2, 0, 10]


def test_no_label_is_unknown(tmp_path):
    (tmp_path / "labels.txt").write_text("bird\n\nairplane\n\n")
    assert read(tmp_path / "labels.txt") == [2, -1, 0, -1]
    np.save(tmp_path / "labels.npy", [2, -1, 0, -1])
    assert read(tmp_path / "labels.npy") == [2, -1, 0, -1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("bird\ncat\nbird\nbird\n", "label of image 1 is 'cat', no class"),
        ("2\n1\n0\n3\n", "label of image 3 is '3', no class"),
        ("bird\nbird\n", "2 labels, but the data set has 4 images"),
    ],
)
def test_labels_that_do_not_fit(tmp_path, text, said):
    (tmp_path / "labels.txt").write_text(text)
    with pytest.raises(DataError, match=said):
        read(tmp_path / "labels.txt")


def cifar_n(path, **more):
    """As CIFAR-10N is published: NumPy's arrays in a dict that torch.save wrote."""
    content = {
        "clean_label": OWN.astype(np.int64),
        "worse_label": np.array([2, 2, 0, 1]),
        "aggre_label": torch.tensor([1, 1, 1, 1]),
        "random_label1": [0, 0, 0, 2],
        "note": "text",
        "weights": np.array([0.5, 1.5]),
        **more,
    }
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    ("key", "labels"),
    [
        ("worse_label", [2, 2, 0, 1]),
        ("aggre_label", [1, 1, 1, 1]),
        ("random_label1", [0, 0, 0, 2]),
        ("clean_label", [0, 1, 2, 2]),
    ],
)
def test_cifar_n(tmp_path, key, labels):
    assert read(f"{cifar_n(tmp_path / 'human.pt')}:{key}") == labels


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.dtype(">i8")])
@pytest.mark.parametrize("legacy", [True, False])
def test_cifar_n_as_other_versions_write_it(tmp_path, dtype, legacy):
    path = tmp_path / "human.pt"
    content = {"worse_label": np.array([2, 2, 0, 1], dtype)}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    assert read(f"{path}:worse_label") == [2, 2, 0, 1]
    if not legacy:  # NumPy 1's name for what NumPy 2 calls numpy._core
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in members.items():
                archive.writestr(name, data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
        assert read(f"{path}:worse_label") == [2, 2, 0, 1]


def test_a_key_must_be_there(tmp_path):
    path = cifar_n(tmp_path / "human.pt")
    with pytest.raises(UsageError, match="clean_label, worse_label, aggre_label, random_label1\n"):
        read(path)
    with pytest.raises(UsageError, match="no labels named 'worst'; it has: clean_label"):
        read(f"{path}:worst")
    with pytest.raises(UsageError, match="no labels named 'weights'"):
        read(f"{path}:weights")


def test_a_colon_in_the_name(tmp_path):
    path = cifar_n(tmp_path / "run:1.pt")
    assert read(f"{path}:worse_label") == [2, 2, 0, 1]
    (tmp_path / "a:b.txt").write_text("0\n1\n2\n2\n")
    assert read(tmp_path / "a:b.txt") == [0, 1, 2, 2]
    with pytest.raises(UsageError, match="has no keys"):
        read(f"{tmp_path / 'a:b.txt'}:label")


def test_clean_labels_prove_the_order(tmp_path):
    path = cifar_n(tmp_path / "human.pt", clean_label=OWN[::-1].copy())
    with pytest.raises(DataError, match="another order"):
        read(f"{path}:worse_label")


@pytest.mark.parametrize(
    ("labels", "said"),
    [([0, 1, 2], "3 labels"), ([0, 1, 2, 3], "image 3 is '3'"), ([0, 1, 2, -2], "has the label -2")],
)
def test_cifar_n_that_does_not_fit(tmp_path, labels, said):
    path = cifar_n(tmp_path / "human.pt", noisy_label=np.array(labels))
    with pytest.raises(DataError, match=said):
        read(f"{path}:noisy_label")


class Evil:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("legacy", [True, False])
def test_nothing_in_a_torch_file_is_run(tmp_path, legacy):
    marker, path = tmp_path / "was-run", tmp_path / "evil.pt"
    content = {"noisy_label": Evil(marker)}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(DataError, match=r"evil\.pt is damaged, or holds more than labels"):
        read(f"{path}:noisy_label")
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(DataError):
        read(f"{path}:noisy_label")
    assert not marker.exists()
    pickle.loads(path.read_bytes())
    assert marker.exists()  # it would have


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04"])
def test_damaged_torch_files(tmp_path, content):
    (tmp_path / "human.pt").write_bytes(content)
    with pytest.raises(DataError, match=r"human\.pt is damaged"):
        read(f"{tmp_path / 'human.pt'}:worse_label")


def test_what_is_no_dict_or_not_there(tmp_path):
    torch.save(torch.arange(4), tmp_path / "tensor.pt")
    with pytest.raises(DataError, match="no dict"):
        read(f"{tmp_path / 'tensor.pt'}:worse_label")
    with pytest.raises(UsageError, match="does not exist"):
        read(f"{tmp_path / 'absent.pt'}:worse_label")
    with pytest.raises(UsageError, match="does not exist"):
        read(tmp_path / "absent.txt")
