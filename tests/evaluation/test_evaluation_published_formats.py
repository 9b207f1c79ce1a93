"""The published files are read as torchvision reads them, and nothing in them is run."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import published_sets as sets
import pytest

from labelscrub.errors import DataError, EnvironmentProblem
from labelscrub.evaluation import inert_pickle
from labelscrub.evaluation.dataset_files import KNOWN
from labelscrub.evaluation.published_formats import read_cifar_split, read_idx_split

CIFAR10_PYTHON, CIFAR10_BINARY = KNOWN["cifar10"].layouts
CIFAR100_PYTHON, CIFAR100_BINARY = KNOWN["cifar100"].layouts
EVERY = np.arange


def read_pair(folder: Path, split: str = "train"):
    stem = sets.STEMS[split]
    return read_idx_split(folder / f"{stem}-images-idx3-ubyte", folder / f"{stem}-labels-idx1-ubyte", 28, 10)


@pytest.mark.filterwarnings("ignore")  # torchvision's and NumPy's own, about old files
def test_torchvision_reads_the_same(tmp_path, monkeypatch):
    from torchvision import datasets
    from torchvision.datasets import cifar

    images, labels = sets.grey(20)
    sets.write_idx(tmp_path / "MNIST" / "raw", images, labels)
    sets.write_idx(tmp_path / "MNIST" / "raw", images[:7], labels[:7], split="test")
    theirs = datasets.MNIST(str(tmp_path))
    ours = read_pair(tmp_path / "MNIST" / "raw")
    np.testing.assert_array_equal(ours.labels, theirs.targets)
    np.testing.assert_array_equal(ours.images(EVERY(20))[..., 0], theirs.data)

    monkeypatch.setattr(cifar, "check_integrity", lambda path, md5=None: True)
    images, labels = sets.coloured(23, 10)
    names = list(KNOWN["cifar10"].classes)
    sets.write_folder(tmp_path / "cifar-10-batches-py", sets.cifar10_python(images, labels, names=names))
    theirs = datasets.CIFAR10(str(tmp_path))
    ours = read_cifar_split(tmp_path / "cifar-10-batches-py", CIFAR10_PYTHON, "train", 10)
    np.testing.assert_array_equal(ours.labels, theirs.targets)
    assert ours.classes == tuple(theirs.classes)
    np.testing.assert_array_equal(ours.images(EVERY(23)), theirs.data)

    fine = {"fine_label_names": list(KNOWN["cifar100"].classes), "coarse_label_names": ["x"] * 20}
    batch = {"data": sets.planar(images), "fine_labels": labels.tolist(), "coarse_labels": [0] * 23}
    files = {"train": sets.python2_pickle(batch), "meta": sets.python2_pickle(fine)}
    sets.write_folder(tmp_path / "cifar-100-python", files)
    theirs = datasets.CIFAR100(str(tmp_path))
    ours = read_cifar_split(tmp_path / "cifar-100-python", CIFAR100_PYTHON, "train", 100)
    np.testing.assert_array_equal(ours.labels, theirs.targets)
    assert ours.classes == tuple(theirs.classes)
    np.testing.assert_array_equal(ours.images(EVERY(23)), theirs.data)


def test_some_of_the_images():
    """Chosen rows over several batches, and none from one of them."""
    images, _ = sets.coloured(20, 10)
    from labelscrub.evaluation.published_formats import RawSplit

    chosen = np.array([0, 1, 3, 12, 19])
    raw = RawSplit(np.array_split(sets.planar(images), 5), np.zeros(20, np.int32), (32, 32, 3))
    np.testing.assert_array_equal(raw.images(chosen), images[chosen])
    assert not raw.parts


def test_reading_keeps_no_second_copy(tmp_path):
    images, labels = sets.coloured(5000, 10)
    sets.write_folder(tmp_path, sets.cifar10_python(images, labels))
    size = images.nbytes
    del images
    tracemalloc.start()
    raw = read_cifar_split(tmp_path, CIFAR10_PYTHON, "train", 10)
    read = tracemalloc.get_traced_memory()[0]
    pixels = raw.images(EVERY(5000))
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert pixels.nbytes == size
    assert read < 1.2 * size
    assert after < 1.5 * size  # the parts are gone, though `raw` is still there


@pytest.mark.parametrize("protocol", [None, 2, 3, 4])
def test_pickles_of_any_python(tmp_path, protocol):
    images, labels = sets.coloured(10, 10)
    sets.write_folder(
        tmp_path, sets.cifar10_python(images, labels, protocol=protocol, names=list("abcdefghij"))
    )
    raw = read_cifar_split(tmp_path, CIFAR10_PYTHON, "train", 10)
    np.testing.assert_array_equal(raw.labels, labels)
    np.testing.assert_array_equal(raw.images(EVERY(10)), images)
    assert raw.classes == tuple("abcdefghij")


@pytest.mark.parametrize("dtype", ["u1", "i1", "<i2", ">i4", "<i8", ">u8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_come_back_as_they_were(dtype, order):
    array = np.asarray(np.arange(12).reshape(3, 4), np.dtype(dtype), order=order)
    for raw in (sets.python2_pickle(array), pickle.dumps(array, 2), pickle.dumps(array, 4)):
        np.testing.assert_array_equal(inert_pickle.as_array(inert_pickle.load(io.BytesIO(raw))), array)


def test_cifar100_binary_has_the_fine_label_second(tmp_path):
    images, labels = sets.coloured(6, 100)
    coarse = np.full((6, 1), 19, np.uint8)
    sets.write_folder(
        tmp_path, {"test.bin": np.hstack([coarse, labels[:, None], sets.planar(images)]).tobytes()}
    )
    raw = read_cifar_split(tmp_path, CIFAR100_BINARY, "test", 100)
    np.testing.assert_array_equal(raw.labels, labels)
    np.testing.assert_array_equal(raw.images(EVERY(6)), images)


class Evil:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


def evil_pickles(marker: str) -> dict[str, bytes]:
    """Pickles that ordinary unpickling follows; every one with a batch's keys or nothing at all."""
    shell = f"touch {marker}"
    quoted = marker.encode()
    return {
        "system": pickle.dumps({"data": Evil(os.system, shell), "labels": [0]}),
        "system, protocol 0": pickle.dumps({"data": Evil(os.system, shell)}, 0),
        "eval": pickle.dumps(Evil(eval, f"open({marker!r}, 'w')")),
        "open": pickle.dumps([Evil(open, marker, "w")]),
        "getattr": b"\x80\x02cbuiltins\ngetattr\n(cos\nsystem\nU\x08__call__tR.",
        "INST": b"(S'touch " + quoted + b"'\nios\nsystem\n.",
        "OBJ": b"(cos\nsystem\nS'touch " + quoted + b"'\no.",
        "dotted name": b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.",
        "through numpy": b"\x80\x02cnumpy\nload\nU" + bytes([len(quoted)]) + quoted + b"\x85R.",
        "numpy's own modules": b"\x80\x02cnumpy.core.multiarray\nos\n.",
        "extension": b"\x80\x02\x82\x01.",
        "persistent id": b"\x80\x02U\x01xQ.",
        "codec": b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00xX\x03\x00\x00\x00hex\x86R.",
    }


@pytest.mark.parametrize("name", evil_pickles("x"))
def test_nothing_in_a_pickle_is_run(tmp_path, name):
    marker = tmp_path / "was-run"
    evil = evil_pickles(str(marker))[name]
    images, labels = sets.coloured(10, 10)
    good = sets.cifar10_python(images, labels)
    for place in ("data_batch_3", "batches.meta"):
        sets.write_folder(tmp_path / place, {**good, place: evil})
        with pytest.raises(DataError, match=place):
            read_cifar_split(tmp_path / place, CIFAR10_PYTHON, "train", 10)
    assert not marker.exists()


def test_the_evil_pickles_are_evil(tmp_path):
    """Ordinary unpickling does run them: the test above is of something."""
    marker = tmp_path / "was-run"
    for name in ("system", "system, protocol 0", "eval", "open", "INST", "OBJ"):
        result = pickle.loads(evil_pickles(str(marker))[name])
        assert marker.exists(), name
        for item in result if isinstance(result, list) else [result]:
            if hasattr(item, "close"):
                item.close()
        marker.unlink()


def forged(
    shape: object = (1, 3072), code: str = "u1", order: str = "|", data: object = bytes(3072)
) -> bytes:
    """A batch whose array's parts are given one by one."""
    parts = sets.pickled2
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n" + parts((0,)) + parts("b") + b"tR("
    dtype = (
        b"cnumpy\ndtype\n"
        + parts((code, 0, 1))
        + b"R"
        + parts((3, order, None, None, None, -1, -1, 0))
        + b"b"
    )
    array += parts(1) + parts(shape) + dtype + parts(False) + parts(data) + b"tb"
    return b"\x80\x02}(" + parts("data") + array + parts("labels") + parts([3]) + b"u."


@pytest.mark.parametrize(
    "forgery",
    [
        {"code": "O8"},  # pointers made of bytes, had NumPy itself been asked
        {"code": "V3072"},
        {"code": "f8"},
        {"order": "?"},
        {"shape": (1, 3073)},
        {"shape": (-1, -3072)},
        {"shape": (2**31 - 1, 2**31 - 1)},
        {"shape": "1"},
        {"shape": (1, "3072")},
        {"data": [1, 2, 3]},
        {"data": None},
        {"shape": (3072,)},
        {"shape": (3072, 1)},
        {"shape": (0, 3072), "data": b""},
    ],
    ids=str,
)
def test_arrays_that_lie_about_themselves(tmp_path, forgery):
    (tmp_path / "test_batch").write_bytes(forged(**forgery))
    with pytest.raises(DataError, match="test_batch is no batch of images"):
        read_cifar_split(tmp_path, CIFAR10_PYTHON, "test", 10)
    (tmp_path / "test_batch").write_bytes(forged())
    assert read_cifar_split(tmp_path, CIFAR10_PYTHON, "test", 10).labels.tolist() == [3]


GOOD_BATCH = {"data": np.zeros((2, 3072), np.uint8), "labels": [0, 9]}


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        ({**GOOD_BATCH, "labels": [0, 10]}, "label of image 1 is 10, not 0 to 9"),
        ({**GOOD_BATCH, "labels": [-1, 0]}, "label of image 0 is -1"),
        ({**GOOD_BATCH, "labels": [0]}, "2 images, but 1 labels"),
        ({**GOOD_BATCH, "labels": ["0", "1"]}, "no list of whole numbers"),
        ({**GOOD_BATCH, "labels": None}, "no list of whole numbers"),
        ({"data": GOOD_BATCH["data"]}, "has no 'labels'"),
        ({"labels": [0]}, "has no 'data'"),
        ({**GOOD_BATCH, "data": np.zeros((2, 3072), np.int16)}, "int16"),
        ([1], "holds no dict"),
    ],
)
def test_batches_that_are_wrong(tmp_path, batch, said):
    (tmp_path / "test_batch").write_bytes(sets.python2_pickle(batch))
    with pytest.raises(DataError, match=f"test_batch.*{said}"):
        read_cifar_split(tmp_path, CIFAR10_PYTHON, "test", 10)


@pytest.mark.parametrize("names", [["a"] * 9, "abcdefghij", [1] * 10])
def test_class_names_that_are_wrong(tmp_path, names):
    files = {"test_batch": sets.python2_pickle(GOOD_BATCH)}
    files["batches.meta"] = sets.python2_pickle({"label_names": names})
    sets.write_folder(tmp_path, files)
    with pytest.raises(DataError, match=r"batches\.meta has no 10 label_names"):
        read_cifar_split(tmp_path, CIFAR10_PYTHON, "test", 10)


@pytest.mark.parametrize("length", [0, 1, 100, 3000])
def test_a_pickle_cut_off(tmp_path, length):
    images, labels = sets.coloured(10, 10)
    files = sets.cifar10_python(images, labels)
    sets.write_folder(tmp_path, {**files, "data_batch_2": files["data_batch_2"][:length]})
    with pytest.raises(DataError, match="data_batch_2 is damaged"):
        read_cifar_split(tmp_path, CIFAR10_PYTHON, "train", 10)


def test_a_batch_that_is_not_there(tmp_path):
    images, labels = sets.coloured(10, 10)
    for layout, files in (
        (CIFAR10_PYTHON, sets.cifar10_python(images, labels)),
        (CIFAR10_BINARY, sets.cifar10_binary(images, labels)),
    ):
        gone = layout.files["train"][3]
        del files[gone]
        sets.write_folder(tmp_path / layout.folder, files)
        sets.write_archive(tmp_path / layout.archive, layout.folder, files)
        for place in (tmp_path / layout.folder, tmp_path / layout.archive):
            with pytest.raises(DataError, match=f"{place} has no {gone}"):
                read_cifar_split(place, layout, "train", 10)


@pytest.mark.parametrize("length", [0, 3072, 3074])
def test_records_cut_off(tmp_path, length):
    (tmp_path / "test_batch.bin").write_bytes(bytes(length))
    with pytest.raises(DataError, match=r"test_batch\.bin is cut off"):
        read_cifar_split(tmp_path, CIFAR10_BINARY, "test", 10)


def test_a_record_with_a_label_out_of_range(tmp_path):
    (tmp_path / "test_batch.bin").write_bytes(bytes(3073) + b"\x0a" + bytes(3072))
    with pytest.raises(DataError, match="label of image 1 is 10"):
        read_cifar_split(tmp_path, CIFAR10_BINARY, "test", 10)


def test_a_damaged_archive(tmp_path):
    images, labels = sets.coloured(10, 10)
    path = tmp_path / CIFAR10_BINARY.archive
    sets.write_archive(path, CIFAR10_BINARY.folder, sets.cifar10_binary(images, labels))
    whole = path.read_bytes()
    damaged = [whole[:length] for length in (1, 9, 100, len(whole) // 2, len(whole) - 4)]
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1  # in noise stored as it is: only the checksum at the end tells
    for content in (*damaged, bytes(flipped), b"", b"no archive at all", gzip.compress(b"no tar file")):
        path.write_bytes(content)
        with pytest.raises(DataError, match=path.name):
            read_cifar_split(path, CIFAR10_BINARY, "train", 10)
    path.write_bytes(whole)
    np.testing.assert_array_equal(read_cifar_split(path, CIFAR10_BINARY, "train", 10).labels, labels)


GOOD_IMAGES, GOOD_LABELS = (sets.idx_bytes(values) for values in sets.grey(5))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("images", "labels", "said"),
    [
        (GOOD_IMAGES[:-1], GOOD_LABELS, "images.* is cut off: 3,919 of 3,920 bytes"),
        (GOOD_IMAGES[:16], GOOD_LABELS, "images.* is cut off"),
        (GOOD_IMAGES[:9], GOOD_LABELS, "images.* is cut off in its header"),
        (GOOD_IMAGES, GOOD_LABELS[:6], "labels.* is cut off in its header"),
        (GOOD_IMAGES, GOOD_LABELS[:-2], "labels.* is cut off: 3 of 5"),
        (GOOD_IMAGES + b"\0", GOOD_LABELS, "images.* goes on after the 5 images"),
        (GOOD_IMAGES, GOOD_LABELS + b"\0", "labels.* goes on after the 5 labels"),
        (b"", GOOD_LABELS, "images.* begins with 0, not with 2051"),
        (GOOD_LABELS, GOOD_LABELS, "images.* begins with 2049, not with 2051"),
        (GOOD_IMAGES, GOOD_IMAGES, "labels.* begins with 2051, not with 2049"),
        (GOOD_IMAGES, sets.idx_bytes(np.zeros(4, np.uint8)), "has 5 images, but .*labels.* has 4 labels"),
        (
            GOOD_IMAGES,
            sets.idx_bytes(np.full(5, 10, np.uint8)),
            "labels.*the label of image 0 is 10, not 0 to 9",
        ),
        (sets.idx_bytes(np.zeros((5, 28, 27), np.uint8)), GOOD_LABELS, "images.* of 28x27 pixels, not 28x28"),
        (struct.pack(">4I", 2051, 2**32 - 1, 28, 28) + bytes(784), GOOD_LABELS, "images.*(damaged|cut off)"),
        (sets.idx_bytes(np.zeros((0, 28, 28), np.uint8)), GOOD_LABELS, "images.* has no images"),
    ],
)
def test_idx_files_that_are_wrong(tmp_path, images, labels, said, packed):
    pack = gzip.compress if packed else bytes
    (tmp_path / "train-images-idx3-ubyte").write_bytes(pack(images))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(pack(labels))
    with pytest.raises(DataError, match=said):
        read_pair(tmp_path)


def test_a_damaged_gzip_file(tmp_path):
    images, labels = sets.grey(5)
    sets.write_idx(tmp_path, images, labels)
    path = tmp_path / "train-images-idx3-ubyte"
    whole = gzip.compress(path.read_bytes(), mtime=0)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for content in (whole[:5], whole[: len(whole) // 2], whole[:-4], bytes(flipped)):
        path.write_bytes(content)
        with pytest.raises(DataError, match=path.name):
            read_pair(tmp_path)
    path.write_bytes(whole)  # a gzip file without .gz, as browsers leave them
    np.testing.assert_array_equal(read_pair(tmp_path).images(EVERY(5))[..., 0], images)


def test_a_file_that_can_not_be_read(tmp_path):
    images, labels = sets.grey(5)
    sets.write_idx(tmp_path, images, labels)
    (tmp_path / "train-images-idx3-ubyte").unlink()
    (tmp_path / "train-images-idx3-ubyte").mkdir()
    with pytest.raises(EnvironmentProblem, match="train-images-idx3-ubyte can't be read: Is a directory"):
        read_pair(tmp_path)
