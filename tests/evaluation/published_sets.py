"""Small data sets in the formats in which MNIST and CIFAR are published, for the tests of their readers."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

STEMS = {"train": "train", "test": "t10k"}


def grey(count: int, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """(count, 28, 28) noise and (count,) labels 0 to 9."""
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (count, 28, 28), np.uint8), generator.integers(0, 10, count, np.uint8)


def coloured(count: int, classes: int, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """(count, 32, 32, 3) noise and (count,) labels."""
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (count, 32, 32, 3), np.uint8), generator.integers(
        0, classes, count, np.uint8
    )


def idx_bytes(values: NDArray[np.uint8]) -> bytes:
    """(n, ...) bytes as an idx file."""
    return struct.pack(f">I{values.ndim}I", 0x0800 + values.ndim, *values.shape) + values.tobytes()


def write_idx(
    folder: Path,
    images: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    *,
    split: str = "train",
    packed: bool = False,
    dot: str = "-",
) -> None:
    """A pair of idx files as MNIST's."""
    folder.mkdir(parents=True, exist_ok=True)
    for what, values in (("images", images), ("labels", labels)):
        name = f"{STEMS[split]}-{what}{dot}idx{values.ndim}-ubyte"
        content = idx_bytes(values)
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)


def python2_pickle(value: object) -> bytes:
    """Protocol 2 as Python 2 wrote the published files: texts are byte strings, arrays numpy.core's."""
    return b"\x80\x02" + pickled2(value) + b"."


def pickled2(value: object) -> bytes:
    """One value, without the frame of a pickle."""
    if isinstance(value, str | bytes):
        raw = value.encode() if isinstance(value, str) else value
        return b"T" + struct.pack("<I", len(raw)) + raw
    if isinstance(value, bool):
        return b"\x88" if value else b"\x89"
    if value is None:
        return b"N"
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    if isinstance(value, tuple):
        return b"(" + b"".join(map(pickled2, value)) + b"t"
    if isinstance(value, list):
        return b"](" + b"".join(map(pickled2, value)) + b"e"
    if isinstance(value, dict):
        return b"}(" + b"".join(pickled2(key) + pickled2(item) for key, item in value.items()) + b"u"
    assert isinstance(value, np.ndarray)
    new = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n" + pickled2((0,)) + pickled2("b") + b"tR"
    dtype = b"cnumpy\ndtype\n" + pickled2((value.dtype.str[1:], 0, 1)) + b"R"
    dtype += pickled2((3, value.dtype.str[0], None, None, None, -1, -1, 0)) + b"b"
    fortran = not value.flags.c_contiguous
    state = pickled2(1) + pickled2(value.shape) + dtype + pickled2(fortran) + pickled2(value.tobytes("A"))
    return new + b"(" + state + b"tb"


def planar(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(n, 3072) red, green, blue."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)).reshape(len(images), -1)


def cifar10_python(
    images: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    *,
    protocol: int | None = None,
    names: list[str] | None = None,
) -> dict[str, bytes]:
    """Files of the python version, pickled by Python 2, or with this protocol of Python 3."""

    def dumped(value: object) -> bytes:
        return python2_pickle(value) if protocol is None else pickle.dumps(value, protocol)

    files = {}
    for number, rows in enumerate(np.array_split(np.arange(len(images)), 5), start=1):
        files[f"data_batch_{number}"] = dumped(
            {
                "batch_label": f"training batch {number} of 5",
                "labels": labels[rows].tolist(),
                "data": planar(images[rows]),
                "filenames": [f"{row}.png" for row in rows.tolist()],
            }
        )
    if names is not None:
        files["batches.meta"] = dumped({"num_cases_per_batch": 10000, "label_names": names, "num_vis": 3072})
    return files


def cifar10_binary(images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> dict[str, bytes]:
    """Files of the binary version."""
    records = np.hstack([labels[:, None], planar(images)])
    parts = np.array_split(records, 5)
    return {f"data_batch_{number}.bin": part.tobytes() for number, part in enumerate(parts, start=1)}


def write_folder(folder: Path, files: dict[str, bytes]) -> None:
    """The files as they are after unpacking."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def write_archive(path: Path, folder: str, files: dict[str, bytes]) -> None:
    """The files as a .tar.gz, in an order of no use, as the published ones are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        entry = tarfile.TarInfo(folder)
        entry.type = tarfile.DIRTYPE
        archive.addfile(entry)
        for name in sorted(files, reverse=True):
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size = len(files[name])
            archive.addfile(entry, io.BytesIO(files[name]))
