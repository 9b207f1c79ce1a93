"""The formats in which MNIST and CIFAR are published: idx files, and CIFAR's "python" and "binary" ones."""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Literal, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from labelscrub.errors import DataError, EnvironmentProblem
from labelscrub.evaluation import inert_pickle

T = TypeVar("T")

_AGAIN = "get the file again from where it is published"
_BLOCK = 1 << 20


@dataclass(frozen=True)
class CifarLayout:
    """One way in which CIFAR-10 or CIFAR-100 is packed."""

    kind: Literal["python", "binary"]
    folder: str
    """What the archive unpacks to."""
    archive: str
    files: dict[str, tuple[str, ...]]
    """Split -> its files, in the data set's order."""
    labels: str | int
    """python: key of the labels; binary: which byte of a record is the label."""
    label_bytes: int = 0
    """binary: how many bytes of labels a record begins with."""
    names: tuple[str, str] | None = None
    """python: the file of the class names and their key."""


@dataclass(frozen=True, eq=False)
class RawSplit:
    """A split as its files have it; `images` empties it."""

    parts: list[NDArray[np.uint8]]
    """(n, C * S * S) each, channel by channel; N images together."""
    labels: NDArray[np.int32]
    """(N,)"""
    shape: tuple[int, int, int]
    """S, S, C."""
    classes: tuple[str, ...] | None = None
    """Where the files name them."""

    def images(self, chosen: NDArray[np.int64]) -> NDArray[np.uint8]:
        """(len(chosen), S, S, C) these images' pixels, ascending. Each part is freed once it is copied."""
        side, _, channels = self.shape
        if channels == 1 and len(self.parts) == 1 and len(chosen) == len(self.labels):
            return self.parts.pop().reshape(-1, *self.shape)
        pixels = np.empty((len(chosen), *self.shape), np.uint8)
        first = done = 0
        while self.parts:
            part = self.parts.pop(0)
            mine = chosen[(chosen >= first) & (chosen < first + len(part))] - first
            planes = part.reshape(-1, channels, side, side)
            for start in range(0, len(mine), 1024):  # in pieces: a copy of a piece is all the memory it takes
                rows = mine[start : start + 1024]
                pixels[done : done + len(rows)] = planes[rows].transpose(0, 2, 3, 1)
                done += len(rows)
            first += len(part)
        return pixels


def read_idx_split(images: Path, labels: Path, side: int, num_classes: int) -> RawSplit:
    """A pair of idx files, plain or gzipped."""
    pixels = _read_idx(images, "images", (side, side))
    given = _read_idx(labels, "labels", ())
    if len(pixels) != len(given):
        raise DataError(
            f"{images} has {len(pixels):,} images, but {labels} has {len(given):,} labels",
            "take both files from the same data set and split",
        )
    return RawSplit(
        [pixels.reshape(-1, side * side)], _checked(given, num_classes, str(labels)), (side, side, 1)
    )


def _read_idx(path: Path, what: str, sides: tuple[int, ...]) -> NDArray[np.uint8]:
    """(n, *sides) of an idx file of bytes, whose magic number says how many dimensions it has."""
    magic = 0x0800 + 1 + len(sides)
    with _reading(path), _open(path) as stream:
        found = int.from_bytes(stream.read(4))
        if found != magic:
            raise DataError(
                f"{path} begins with {found}, not with {magic}: it is no idx file of {what}", _AGAIN
            )
        header = stream.read(4 * (1 + len(sides)))
        if len(header) < 4 * (1 + len(sides)):
            raise DataError(f"{path} is cut off in its header", _AGAIN)
        count, *found_sides = np.frombuffer(header, ">u4").tolist()
        if tuple(found_sides) != sides:
            size = "x".join(map(str, found_sides))
            raise DataError(f"{path} has images of {size} pixels, not {sides[0]}x{sides[1]}", _AGAIN)
        try:
            values = np.empty((count, *sides), np.uint8)
        except MemoryError:
            raise DataError(
                f"{path} says that it has {count:,} {what}: its header is damaged", _AGAIN
            ) from None
        if (read := _read_into(stream, values.reshape(-1))) < values.size:
            raise DataError(f"{path} is cut off: {read:,} of {values.size:,} bytes are there", _AGAIN)
        if stream.read(1):  # also makes gzip compare its checksum
            raise DataError(f"{path} goes on after the {count:,} {what} that it says it has", _AGAIN)
    if not count:
        raise DataError(f"{path} has no {what}", _AGAIN)
    return values


def _open(path: Path) -> BinaryIO:
    """By content, not by name: browsers unpack a .gz file and keep its name."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return cast(BinaryIO, gzip.open(path)) if packed else path.open("rb")


def _read_into(stream: BinaryIO, values: NDArray[np.uint8]) -> int:
    """Fill (n,) bytes, as far as the stream goes; how many came."""
    done = 0
    while done < len(values) and (block := stream.read(min(_BLOCK, len(values) - done))):
        values[done : done + len(block)] = np.frombuffer(block, np.uint8)
        done += len(block)
    return done


def read_cifar_split(place: Path, layout: CifarLayout, split: str, num_classes: int) -> RawSplit:
    """A split of CIFAR, from its folder or from the .tar.gz as it is published."""
    files = layout.files[split]
    names_file, names_key = layout.names or ("", "")

    def read(name: str, stream: BinaryIO, where: str) -> Any:
        if name == names_file:
            return _class_names(_unpickled(stream, where), names_key, num_classes, where)
        if layout.kind == "binary":
            return _binary_batch(stream, layout, num_classes, where)
        return _python_batch(_unpickled(stream, where), str(layout.labels), num_classes, where)

    found = _read_files(place, {*files, names_file}, read)
    for name in files:
        if name not in found:
            raise DataError(f"{place} has no {name}", "put all of the data set's files there")
    batches = [found.pop(name) for name in files]
    labels = np.concatenate([labels for _, labels in batches])
    parts = [planes for planes, _ in batches]
    return RawSplit(parts, labels, (32, 32, 3), found.get(names_file))


def _read_files(
    place: Path, wanted: Collection[str], read: Callable[[str, BinaryIO, str], T]
) -> dict[str, T]:
    """What `read` makes of (name, stream, how to call it) for each wanted file that is there."""
    found = {}
    if place.is_dir():
        for name in sorted(wanted):
            path = place / name
            if name and path.is_file():
                with _reading(path), path.open("rb") as file:
                    found[name] = read(name, file, str(path))
        return found
    with _reading(place), gzip.open(place) as packed:
        with tarfile.open(fileobj=packed, mode="r:") as archive:
            for member in archive:  # in the archive's order: going back means unpacking from the start
                name = PurePosixPath(member.name).name
                if name in wanted and name not in found and member.isreg():
                    stream = cast(BinaryIO, archive.extractfile(member))
                    found[name] = read(name, stream, f"{place}: {member.name}")
        while packed.read(_BLOCK):  # to the end, where gzip compares its checksum
            pass
    return found


def _binary_batch(
    stream: BinaryIO, layout: CifarLayout, num_classes: int, where: str
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """(n, 3072) and (n,) of records that are label bytes, then red, green and blue."""
    data, record = stream.read(), layout.label_bytes + 3 * 32 * 32
    if not data or len(data) % record:
        raise DataError(f"{where} is cut off: its {len(data):,} bytes are no multiple of {record}", _AGAIN)
    records = np.frombuffer(data, np.uint8).reshape(-1, record)
    return records[:, layout.label_bytes :], _checked(records[:, int(layout.labels)], num_classes, where)


def _python_batch(
    batch: dict[str, Any], key: str, num_classes: int, where: str
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """(n, 3072) and (n,) of a pickled batch."""
    try:
        planes, labels = inert_pickle.as_array(batch["data"]), batch[key]
        if planes.dtype != np.uint8 or planes.ndim != 2 or planes.shape[1] != 3 * 32 * 32 or not len(planes):
            raise ValueError(f"its data is {planes.dtype} {planes.shape}, not uint8 (n, 3072)")
        if not isinstance(labels, list) or not all(type(label) is int for label in labels):
            raise ValueError(f"its {key} are no list of whole numbers")
        if len(labels) != len(planes):
            raise ValueError(f"it has {len(planes):,} images, but {len(labels):,} labels")
    except KeyError as error:
        raise DataError(f"{where} has no {error}: it is no batch of this data set", _AGAIN) from error
    except ValueError as error:
        raise DataError(f"{where} is no batch of images: {error}", _AGAIN) from error
    return planes, _checked(np.array(labels, object), num_classes, where)


def _class_names(names: dict[str, Any], key: str, num_classes: int, where: str) -> tuple[str, ...]:
    found = names.get(key)
    if not isinstance(found, list) or len(found) != num_classes or not all(map(_is_text, found)):
        raise DataError(f"{where} has no {num_classes} {key}", _AGAIN)
    return tuple(_text(name) for name in found)


def _unpickled(stream: BinaryIO, where: str) -> dict[str, Any]:
    """A pickled dict, its keys as text. Nothing in it is run."""
    try:
        content = inert_pickle.load(stream)
    except (OSError, zlib.error, tarfile.TarError):
        raise  # the disk or the archive, not the pickle
    except Exception as error:  # a damaged pickle has many: EOFError, IndexError, UnicodeDecodeError, ...
        raise DataError(
            f"{where} is damaged, or no file of this data set: {error or type(error).__name__}", _AGAIN
        ) from error
    if not isinstance(content, dict):
        raise DataError(f"{where} is no file of this data set: it holds no dict", _AGAIN)
    return {_text(key): value for key, value in content.items() if _is_text(key)}


def _is_text(value: object) -> bool:
    return isinstance(value, str | bytes)


def _text(value: str | bytes) -> str:
    """Text, which Python 2 wrote as bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _checked(
    labels: NDArray[Any],  # (n,)
    num_classes: int,
    where: str,
) -> NDArray[np.int32]:
    """(n,) the labels, all of them classes."""
    bad = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if len(bad):
        first = int(bad[0])
        raise DataError(
            f"{where}: the label of image {first} is {labels[first]}, not 0 to {num_classes - 1}",
            _AGAIN,
        )
    return labels.astype(np.int32)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """What goes wrong with the file itself, as an error that names it."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile, tarfile.TarError) as error:
        raise DataError(f"{path} is cut off or damaged: {error}", _AGAIN) from error
    except OSError as error:
        raise EnvironmentProblem(
            f"{path} can't be read: {error.strerror or error}", "check its permissions and the disk"
        ) from error
