"""Data sets by name and sources, as records that training accepts."""

from __future__ import annotations

import dataclasses
import hashlib
import io
from pathlib import Path

import numpy as np
import pictures
import published_sets as sets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from labelscrub import data
from labelscrub.config import Settings
from labelscrub.errors import DataError, UsageError
from labelscrub.evaluation import dataset_files
from labelscrub.evaluation.datasets import choose, load_dataset


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty working directory, and no Debian packages but our own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dataset_files, "DEFAULT_ROOTS", (Path(), Path("data"), tmp_path / "usr/datasets"))
    return tmp_path


def load(name, root=None, *, limit=None, image_size=None, settings=None, **more):
    return load_dataset(
        name,
        data_root=root,
        limit=limit,
        settings=settings or Settings.of(image_size=image_size),
        cache_dir=Path("cache"),
        workers=0,
        **more,
    )


def fingerprint(dataset):
    return data.data_fingerprint(dataset.manifest, dataset.images)


def test_the_records(here):
    images, labels = sets.grey(40)
    sets.write_idx(here / "root" / "fashion-mnist", images, labels)
    dataset = load("fashion-mnist", here / "root")
    manifest, found = dataset.manifest, dataset.images
    np.testing.assert_array_equal(found.pixels, images[..., None])
    assert (found.pixels.dtype, manifest.labels.dtype) == (np.uint8, np.int32)
    np.testing.assert_array_equal(manifest.labels[found.rows], labels)
    assert manifest.paths[:2] == ["train/00000", "train/00001"]
    assert set(manifest.files) == {""}
    assert manifest.source == here / "root" / "fashion-mnist"
    assert manifest.classes[0] == "T-shirt/top"
    assert bytes(found.sha256[7]) == hashlib.sha256(images[7].tobytes()).digest()
    assert (dataset.name, dataset.truth) == ("fashion-mnist", None)
    assert manifest.notes == (f"{manifest.source} has 40 images, not the 60,000 of fashion-mnist",)
    data.require_trainable(manifest, found, Settings().source, 2)


def test_training_accepts_them_with_other_labels(here):
    from labelscrub.pipeline import predicting
    from labelscrub.store import RunDirectory

    kinds = [pictures.CLASSES[k % 3] for k in range(48)]
    images = np.stack([np.asarray(pictures.picture(kind, k, 28)) for k, kind in enumerate(kinds)])
    labels = np.arange(48, dtype=np.uint8) % 3
    sets.write_idx(here / "mnist", images, labels)
    dataset = load("mnist")
    noisy = dataset.manifest.labels.copy()
    noisy[:3] = (noisy[:3] + 1) % 3
    manifest = dataclasses.replace(dataset.manifest, labels=noisy)
    settings = Settings.of(**{**pictures.QUICK, "epochs": 2, "folds": 2})
    with RunDirectory.open(here / "run") as run:
        predictions, _ = predicting.train(
            run, manifest, dataset.images, settings, {"data": fingerprint(dataset)}, lambda event: None
        )
    assert predictions.pred_probs.shape == (48, 10)
    assert fingerprint(dataset) != data.data_fingerprint(manifest, dataset.images)


@pytest.mark.parametrize("folder", ["", "mnist", "MNIST/raw", "MNIST"])
@pytest.mark.parametrize(("packed", "dot"), [(False, "-"), (True, "-"), (False, "."), (True, ".")])
def test_idx_files_wherever_and_however(here, folder, packed, dot):
    images, labels = sets.grey(30)
    sets.write_idx(here / "plain", images, labels)
    sets.write_idx(here / "root" / folder, images, labels, packed=packed, dot=dot)
    sets.write_idx(here / "root" / folder, images[:9], labels[:9], split="test", packed=packed, dot=dot)
    dataset, test = load("mnist", here / "root"), load("mnist", here / "root", split="test")
    assert fingerprint(dataset) == fingerprint(load("mnist", here / "plain"))
    assert (len(dataset.manifest), len(test.manifest)) == (30, 9)
    assert test.manifest.paths[8] == "test/00008"
    assert fingerprint(test) != fingerprint(dataset)


def cifar10_places(root: Path, images, labels) -> list[Path]:
    """The same data in every packing, each in a root of its own."""
    names = list(dataset_files.KNOWN["cifar10"].classes)
    python = sets.cifar10_python(images, labels, names=names)
    binary = sets.cifar10_binary(images, labels)
    sets.write_folder(root / "a/cifar-10-batches-py", python)
    sets.write_folder(root / "b/cifar-10-batches-bin", binary)
    sets.write_archive(root / "c/cifar-10-python.tar.gz", "cifar-10-batches-py", python)
    sets.write_archive(root / "d/cifar10/cifar-10-binary.tar.gz", "cifar-10-batches-bin", binary)
    sets.write_folder(root / "e/cifar-10", python)
    sets.write_folder(root / "f", sets.cifar10_python(images, labels, protocol=4))
    return [root / letter for letter in "abcdef"]


@pytest.mark.parametrize("limit", [None, 11])
def test_cifar_is_the_same_however_it_is_packed(here, limit):
    images, labels = sets.coloured(33, 10)
    chosen = choose(33, limit)
    found = set()
    for place in cifar10_places(here, images, labels):
        dataset = load("cifar10", place, limit=limit)
        np.testing.assert_array_equal(dataset.images.pixels, images[chosen])
        np.testing.assert_array_equal(dataset.manifest.labels, labels[chosen])
        found.add(fingerprint(dataset))
        assert fingerprint(load("cifar-10", place, limit=limit)) in found
    assert len(found) == 1


def test_cifar100(here):
    images, labels = sets.coloured(12, 100)
    batch = {"data": sets.planar(images), "fine_labels": labels.tolist(), "coarse_labels": [0] * 12}
    names = {"fine_label_names": list(dataset_files.KNOWN["cifar100"].classes)}
    files = {"train": sets.python2_pickle(batch), "meta": sets.python2_pickle(names)}
    sets.write_folder(here / "a/cifar-100-python", files)
    records = np.hstack([np.zeros((12, 1), np.uint8), labels[:, None], sets.planar(images)])
    sets.write_archive(
        here / "b/cifar-100-binary.tar.gz", "cifar-100-binary", {"train.bin": records.tobytes()}
    )
    first, second = load("cifar100", here / "a"), load("cifar-100", here / "b")
    assert fingerprint(first) == fingerprint(second)
    assert first.manifest.classes[-1] == "worm"
    np.testing.assert_array_equal(second.images.pixels, images)
    np.testing.assert_array_equal(second.manifest.labels, labels)
    assert second.name == "cifar100"


def test_class_names_from_the_files(here):
    images, labels = sets.coloured(10, 10)
    sets.write_folder(here / "cifar10", sets.cifar10_python(images, labels, names=list("abcdefghij")))
    assert load("cifar10").manifest.classes == tuple("abcdefghij")


@pytest.mark.parametrize("place", ["mnist", "data/mnist", "data/MNIST/raw", "usr/datasets/mnist", "."])
def test_where_it_is_looked_for_unasked(here, place):
    sets.write_idx(here / place, *sets.grey(5))
    assert load("mnist").manifest.source.resolve() == (here / place).resolve()


def test_what_is_not_there(here):
    with pytest.raises(UsageError) as caught:
        load("fashion-mnist")
    assert caught.value.cause.startswith(
        "the files of fashion-mnist are not in fashion-mnist, data/fashion-mnist,"
    )
    assert caught.value.fix == (
        "install Debian's package dataset-fashion-mnist, or put train-images-idx3-ubyte.gz and "
        "train-labels-idx1-ubyte.gz in one of these, or in DIR/fashion-mnist with --data-root DIR"
    )
    (here / "root").mkdir()
    with pytest.raises(UsageError, match=r"put cifar-10-python\.tar\.gz or cifar-10-binary\.tar\.gz in"):
        load("cifar10", here / "root")
    with pytest.raises(UsageError, match=r"t10k-labels-idx1-ubyte\.gz"):
        load("mnist", here / "root", split="test")
    with pytest.raises(UsageError, match=r"--data-root .*absent is no folder"):
        load("mnist", here / "absent")


def test_half_of_a_pair(here):
    sets.write_idx(here / "mnist", *sets.grey(5))
    (here / "mnist/train-labels-idx1-ubyte").unlink()
    with pytest.raises(UsageError, match="train-images-idx3-ubyte is there, but its labels are not"):
        load("mnist")


def test_a_folder_of_ones_own_by_the_same_name(here):
    sets.write_idx(here / "data/mnist", *sets.grey(5))
    pictures.write_folder(here / "mnist", each=4, wrong=0)
    with pytest.raises(
        UsageError, match="mnist is a data set, found in data/mnist, and also the name"
    ) as caught:
        load("mnist")
    assert "write ./mnist for the one here, or --data-root data" in caught.value.fix
    assert load("mnist", here / "data").images.pixels.shape == (5, 28, 28, 1)
    assert load("./mnist").manifest.classes == pictures.CLASSES
    (here / "data/mnist/train-images-idx3-ubyte").unlink()
    (here / "data/mnist/train-labels-idx1-ubyte").unlink()
    with pytest.raises(
        UsageError, match=r"are not in .*\n.*; \./mnist is how the folder or file here is named"
    ):
        load("mnist")


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize(("asked", "there"), [("mnist", "fashion-mnist"), ("fashion-mnist", "mnist")])
def test_one_set_is_not_read_for_the_other(here, asked, there, split):
    begins = dict(dataset_files.KNOWN[there].begins)[split]
    labels = np.array([*begins, 0, 1], np.uint8)
    sets.write_idx(here / "root", sets.grey(12)[0], labels, split=split)
    with pytest.raises(DataError, match=f"is of {there} .*, not of {asked}"):
        load(asked, here / "root", split=split)
    assert len(load(there, here / "root", split=split).manifest) == 12


def test_limit_takes_the_same_images_whatever_else_is_asked(here):
    images, labels = sets.grey(50)
    sets.write_idx(here / "mnist", images, labels)
    ten = load("mnist", limit=10)
    assert ten.manifest.paths == sorted(set(ten.manifest.paths))
    rows = [int(path.removeprefix("train/")) for path in ten.manifest.paths]
    np.testing.assert_array_equal(ten.images.pixels[..., 0], images[rows])
    np.testing.assert_array_equal(ten.manifest.labels, labels[rows])
    np.testing.assert_array_equal(ten.images.rows, np.arange(10))
    # numpy's generator is the same on every machine: a change of these images would change every figure
    assert rows == sorted(np.random.default_rng(0).permutation(50)[:10].tolist())
    assert set(ten.manifest.paths) < set(load("mnist", limit=20, image_size=32).manifest.paths)
    whole = load("mnist")
    for limit in (50, 51, 10**9):
        assert fingerprint(load("mnist", limit=limit)) == fingerprint(whole)
    with pytest.raises(UsageError, match="--limit must be at least 1"):
        load("mnist", limit=0)


@pytest.mark.parametrize("size", [8, 12, 40])
def test_another_size_is_as_of_image_files(here, size):
    images, labels = sets.grey(6)
    sets.write_idx(here / "mnist", images, labels)
    for index, (image, label) in enumerate(zip(images, labels % 2, strict=True)):
        (here / "folder" / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(here / f"folder/{label}/{index}.png")
    resized = load("mnist", image_size=size)
    files = load("./folder", image_size=size)
    order = [int(Path(path).stem) for path in files.manifest.paths]
    np.testing.assert_array_equal(resized.images.pixels[order], files.images.pixels)
    assert fingerprint(resized) == fingerprint(load("mnist", image_size=28))
    colours, labels = sets.coloured(5, 10)
    sets.write_folder(here / "cifar10", sets.cifar10_binary(colours, labels))
    assert load("cifar10", image_size=size).images.pixels.shape == (5, size, size, 3)


def test_given_labels_make_the_own_ones_the_truth(here):
    images, labels = sets.coloured(20, 10)
    sets.write_folder(here / "cifar10", sets.cifar10_binary(images, labels))
    noisy = (labels + (np.arange(20) % 4 == 0)) % 10
    np.save(here / "noisy.npy", noisy)
    dataset = load("cifar10", given=Path("noisy.npy"), limit=9)
    rows = choose(20, 9)
    np.testing.assert_array_equal(dataset.manifest.labels, noisy[rows])
    np.testing.assert_array_equal(dataset.truth, labels[rows])
    assert dataset.truth.dtype == np.int32

    np.save(here / "better.npy", np.where(np.arange(20) < 10, labels.astype(int), -1))
    dataset = load("cifar10", truth="better.npy")
    np.testing.assert_array_equal(dataset.manifest.labels, labels)
    np.testing.assert_array_equal(dataset.truth[:10], labels[:10])
    assert (dataset.truth[10:] == -1).all()

    dataset = load("cifar10", given=Path("noisy.npy"), truth="better.npy")
    np.testing.assert_array_equal(dataset.manifest.labels, noisy)
    assert (dataset.truth[10:] == -1).all()
    with pytest.raises(DataError, match=r"better\.npy: image 10 has no label"):
        load("cifar10", given=Path("better.npy"))


def test_a_source_is_read_as_detect_reads_it(here):
    pictures.write_csv(here, each=6, wrong=1)
    (here / "images/dark/dark-002.png").write_bytes(b"broken")
    dataset = load("labels.csv")
    settings = Settings()
    manifest = data.read_source(Path("labels.csv"), settings.source)
    images = data.load_images(
        manifest,
        data.image_shape(manifest, settings.source, None),
        settings.source,
        cache_dir=here / "other",
        workers=0,
    )
    assert fingerprint(dataset) == data.data_fingerprint(manifest, images)
    np.testing.assert_array_equal(dataset.images.pixels, images.pixels)
    assert [skipped.path for skipped in dataset.images.skipped] == ["images/dark/dark-002.png"]
    assert (dataset.name, dataset.truth) == ("labels.csv", None)
    with pytest.raises(UsageError, match=r"other labels can't be given for labels\.csv"):
        load("labels.csv", given=Path("noisy.npy"))


def test_limit_of_a_source_decodes_no_other_image(here):
    pictures.write_csv(here, each=8, wrong=0)
    with (here / "labels.csv").open("a") as file:
        file.write("998,images/absent.png,dark,x\n999,images/dark/dark-000.png,,x\n")
    whole = load("labels.csv")
    part = load("labels.csv", limit=10)
    rows = [whole.manifest.paths.index(path) for path in part.manifest.paths]
    assert len(rows) == 10
    assert rows == sorted(rows)
    places = np.searchsorted(whole.images.rows, rows)
    np.testing.assert_array_equal(part.images.pixels, whole.images.pixels[places])
    np.testing.assert_array_equal(part.images.sha256, whole.images.sha256[places])
    np.testing.assert_array_equal(part.manifest.labels, whole.manifest.labels[rows])
    for path in set(whole.manifest.paths[:24]) - set(part.manifest.paths):
        (here / path).write_bytes(b"broken")
    again = load("labels.csv", limit=10)
    assert fingerprint(again) == fingerprint(part)
    assert not again.images.skipped
    assert "10 of 24 usable rows are used, chosen at random" in part.manifest.notes


def test_limit_of_a_source_keeps_size_and_columns(here):
    """The size is that of all images; groups, spans and truth go with their rows."""
    pictures.write_folder(here / "images", each=8, wrong=0)
    for file in sorted((here / "images").rglob("*.png"))[:12]:
        Image.open(file).resize((30, 30)).save(file)
    rows = []
    for number, file in enumerate(sorted((here / "images").rglob("*.png"))):
        label = file.parent.name
        rows.append(f"{file.relative_to(here)},{label},{label if number % 3 else 'left'},g{number // 2}\n")
    (here / "labels.csv").write_text("path,label,true_label,patient\n" + "".join(rows))
    settings = Settings.of(group_column="patient")
    whole = load("labels.csv", settings=settings, truth="true_label")
    part = load("labels.csv", settings=settings, truth="true_label", limit=7)
    index = [whole.manifest.paths.index(path) for path in part.manifest.paths]
    assert part.images.pixels.shape[1:] == whole.images.pixels.shape[1:]
    np.testing.assert_array_equal(part.truth, whole.truth[index])
    wanted = [pictures.CLASSES.index(rows[row].split(",")[2]) for row in index]
    np.testing.assert_array_equal(part.truth, wanted)
    assert part.manifest.groups == [f"g{row // 2}" for row in index]
    table = (here / "labels.csv").read_bytes()
    for (start, stop), row in zip(part.manifest.spans, index, strict=True):
        assert table[start:stop].decode() == rows[row]


def test_truth_skips_what_was_skipped(here):
    pictures.write_csv(here, each=4, wrong=1)
    lines = (here / "labels.csv").read_text().splitlines()
    true = [line.split(",")[1].split("/")[2].split("-")[0] for line in lines[1:]]
    (here / "truth.txt").write_text("\n".join(true))
    (here / lines[3].split(",")[1]).write_bytes(b"broken")
    dataset = load("labels.csv", truth="truth.txt")
    expected = [pictures.CLASSES.index(name) for row, name in enumerate(true) if row != 2]
    assert dataset.truth.tolist() == expected
    given = dataset.manifest.labels[dataset.images.rows]
    assert (given != dataset.truth).sum() == len(
        [1 for row in range(12) if row != 2 and wrong(lines[row + 1])]
    )


def wrong(line: str) -> bool:
    """Whether a row of pictures.write_csv has the folder of another class than its picture."""
    _, label, name = line.split(",")[1].split("/")
    return label != name.split("-")[0]


def test_limit_of_embedded_images(here):
    rows = []
    for number in range(18):
        stream = io.BytesIO()
        kind = pictures.CLASSES[number % 3]
        pictures.picture(kind, number).save(stream, "png")
        rows.append({"image": {"bytes": stream.getvalue(), "path": f"{number}.png"}, "label": kind})
    (here / "set/data").mkdir(parents=True)
    for shard, part in enumerate((rows[:7], rows[7:])):
        pq.write_table(
            pa.Table.from_pylist(part),
            here / f"set/data/train-{shard:05d}-of-00002.parquet",
            row_group_size=3,
        )
    whole, part = load("./set"), load("./set", limit=6)
    index = choose(18, 6)
    np.testing.assert_array_equal(part.images.pixels, whole.images.pixels[index])
    np.testing.assert_array_equal(part.manifest.labels, whole.manifest.labels[index])


def test_splits_of_a_source(here):
    pictures.write_folder(here / "set/train", each=4, wrong=0)
    pictures.write_folder(here / "set/test", each=2, wrong=0)
    train, test = load("set"), load("set", split="test")
    assert (len(train.manifest), len(test.manifest)) == (12, 6)
    assert "of the splits, test is read" in test.manifest.notes
    both = load("set", split="test", settings=Settings.of(split="all"))
    assert len(both.manifest) == 18
    assert len(load("set/train", split="test").manifest) == 12  # has none: what is named is read
    with pytest.raises(UsageError, match="absent: no such file or folder"):
        load("absent", split="test")
    with pytest.raises(UsageError, match="has no split 'nope'"):
        load("set", settings=Settings.of(split="nope"))


def test_a_source_with_the_path_of_a_data_set_is_a_source(here):
    sets.write_idx(here / "mnist", *sets.grey(5))
    with pytest.raises((UsageError, DataError)) as caught:
        load("./mnist")
    assert "mnist" in caught.value.cause
