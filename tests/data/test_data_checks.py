"""What is too little to train on, and what makes two data sets the same."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from labelscrub.config import SourceSettings
from labelscrub.data import data_fingerprint, require_trainable
from labelscrub.errors import DataError, UsageError
from labelscrub.records import Images, Manifest, Skipped

CLASSES = ("cat", "dog")


def data(labels, skipped=(), lost=(), classes=CLASSES):
    """A manifest with these labels, and images of every row that is neither skipped nor lost."""
    paths = [f"{i}.jpg" for i in range(len(labels))]
    manifest = Manifest(
        source=Path("x"), kind="csv", root=Path("x"), classes=classes, paths=paths, files=paths,
        labels=np.array(labels, np.int32), skipped=tuple(skipped),
    )  # fmt: skip
    gone = {item.row for item in (*skipped, *lost)}
    rows = np.array([i for i in range(len(labels)) if i not in gone], np.int64)
    sha256 = np.tile(rows[:, None].astype(np.uint8), (1, 32))
    return manifest, Images(np.zeros((len(rows), 4, 4, 1), np.uint8), rows, sha256, skipped=tuple(lost))


def lose(rows, kind, reason="gone"):
    return [Skipped(row, f"{row}.jpg", kind, reason) for row in rows]


def test_enough():
    require_trainable(*data([0, 1] * 5), SourceSettings(), 5)
    three = data([0] * 5 + [1] * 5 + [2], classes=("cat", "dog", "rare"))
    require_trainable(*three, SourceSettings(), 5)  # the third class is just not assessed


@pytest.mark.parametrize(
    ("made", "folds", "cause"),
    [
        (data([]), 5, "lists no images"),
        (data([0, 1], lose([0, 1], "skipped", "no label")), 5, "none of the 2 .* 2 no label"),
        (data([0] * 10), 5, "at least 2 classes with usable images, but only 'cat'"),
        (data([0] * 9 + [1], lost=lose([9], "unreadable")), 5, "at least 2 classes"),
        (data([0, 1, 1]), 2, "only 3 usable"),
        (data([0, 1] * 3), 4, "no class has as many usable images"),
        (data([0] * 50 + [1]), 5, "only one class has as many usable images"),  # bad_inputs B05
        (data([0, 1] * 5, lose([0, 1], "missing")), 5, r"2 of 10 .* \(2 gone\), more than --max-missing 0.1"),
        (data([0, 1] * 5, lose([0], "missing"), lose([1], "missing")), 5, "2 of 10 .* missing"),
        (data([0, 1] * 5, lose([9], "unreadable"), lose(range(5), "unreadable")), 5, "6 of 10 .* unreadable"),
        (data(list(range(20)), classes=tuple(map(str, range(20)))), 5, "look like ids"),
    ],
)  # fmt: skip
def test_too_little(made, folds, cause):
    with pytest.raises(DataError, match=cause) as caught:
        require_trainable(*made, SourceSettings(), folds)
    assert caught.value.fix


def test_copies_of_one_picture_are_nothing_to_learn_from():
    """bad_inputs I16."""
    manifest, images = data([0, 1] * 10)
    same = dataclasses.replace(images, sha256=np.tile(images.sha256[:1], (20, 1)))
    with pytest.raises(DataError, match="only 1 different among 20 images"):
        require_trainable(manifest, same, SourceSettings(), 5)
    require_trainable(manifest, same, SourceSettings(), 0)  # brought probabilities need no folds


def test_limits_can_be_raised():
    made = data([0, 1] * 10, lose([0, 1], "missing") + lose(range(2, 8), "unreadable"))
    require_trainable(*made, SourceSettings(), 5)
    with pytest.raises(DataError, match=r"--max-unreadable 0\.2"):
        require_trainable(*made, SourceSettings(max_unreadable=0.2), 5)
    require_trainable(*data([0, 1] * 10, lose(range(10), "missing")), SourceSettings(max_missing=0.5), 5)


def test_more_folds_than_images_is_a_usage_error():
    with pytest.raises(UsageError, match="--folds 20 is more than the 10"):
        require_trainable(*data([0, 1] * 5), SourceSettings(), 20)


def test_fingerprint_sees_every_change():
    manifest, images = data([0, 1, 0, 1], lose([3], "missing"))
    lost = data([0, 1, 0, 1], lose([3], "unreadable"))
    other = images.sha256.copy()
    other[1, 31] ^= 1
    replace = dataclasses.replace
    seen = [
        data_fingerprint(manifest, images),
        data_fingerprint(*lost),
        data_fingerprint(manifest, replace(images, sha256=other)),
        data_fingerprint(replace(manifest, classes=("cat", "dog", "x")), images),
        data_fingerprint(replace(manifest, classes=("catd", "og")), images),
        data_fingerprint(replace(manifest, labels=manifest.labels[::-1]), images),
        data_fingerprint(replace(manifest, paths=["0.jp", "g1.jpg", *manifest.paths[2:]]), images),
        data_fingerprint(replace(manifest, paths=["\udce9", *manifest.paths[1:]]), images),
        data_fingerprint(replace(manifest, groups=["1", "2", "3", "4"]), images),
    ]
    assert len(set(seen)) == len(seen)
    assert data_fingerprint(*data([0, 1, 0, 1], lose([3], "missing"))) == seen[0]
    # where it lies is not what it is
    assert data_fingerprint(replace(manifest, root=Path("y"), source=Path("y")), images) == seen[0]


def test_fingerprint_of_more_rows_than_a_block():
    count = (1 << 14) + 3
    one = data_fingerprint(*data([0, 1] * (count // 2)))
    assert one == data_fingerprint(*data([0, 1] * (count // 2)))
    assert one != data_fingerprint(*data([0, 1] * (count // 2 - 1) + [1, 0]))
