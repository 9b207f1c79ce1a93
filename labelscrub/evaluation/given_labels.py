"""Other labels for a data set known by name: one for each of its images, in its order, from a file."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelscrub.errors import DataError, EnvironmentProblem, UsageError

_CLEAN = "clean_label"


def read_given_labels(
    source: str | Path,
    classes: tuple[str, ...],
    own: NDArray[np.int32],  # (N,) the data set's own labels
) -> NDArray[np.int32]:
    """(N,) class indices from FILE, or FILE:KEY of a .pt file as CIFAR-10N's; -1 where a row has no label.

    .npy, .txt, .csv and .parquet are read as detect's `--labels` are, and hold class names or indices.
    A .pt file's clean_label must be the data set's own labels, which proves that the order is the same.
    """
    path, key = _split_key(str(source))
    if path.suffix.lower() in (".pt", ".pth"):
        labels = _from_torch(path, key, own)
        names = [str(k) for k in range(len(classes))]
    elif key:
        raise UsageError(
            f"{path} has no keys, so :{key} has no effect", "leave it out; keys are for .pt files"
        )
    else:
        from labelscrub import data

        manifest = data.read_labels(path)
        labels, names = manifest.labels.astype(np.int64), list(manifest.classes)
    if len(labels) != len(own):
        raise DataError(
            f"{path} has {len(labels):,} labels, but the data set has {len(own):,} images",
            "give one label an image, in the data set's order, of the whole split",
        )
    return _as_classes(labels, names, classes, path)


def _split_key(text: str) -> tuple[Path, str]:
    """FILE:KEY, where FILE may itself have a colon."""
    name, colon, key = text.rpartition(":")
    if not colon or Path(text).exists():
        return Path(text), ""
    return Path(name), key


def _as_classes(
    labels: NDArray[np.int64],  # (N,) index into `names`, -1 none
    names: list[str],
    classes: tuple[str, ...],
    path: Path,
) -> NDArray[np.int32]:
    """(N,) indices into `classes`: by name where all labels are names of classes, else by number."""
    used = {k: names[k] if k < len(names) else str(k) for k in np.unique(labels[labels >= 0]).tolist()}
    index = {name: k for k, name in enumerate(classes)}
    if not index.keys() >= set(used.values()) and all(map(str.isdecimal, used.values())):
        index = {str(k): k for k in range(len(classes))}
    for k, name in used.items():
        if name not in index:
            row = int(np.flatnonzero(labels == k)[0])
            raise DataError(
                f"{path}: the label of image {row} is {name!r}, no class of this data set",
                f"labels are its class names, such as {classes[0]!r}, or all of them 0 to {len(classes) - 1}",
            )
    table = np.full(len(names) + 1, -1, np.int32)  # the last is for -1
    for k, name in used.items():
        table[k] = index[name]
    return table[labels]


def _from_torch(path: Path, key: str, own: NDArray[np.int32]) -> NDArray[np.int64]:
    content = _load(path)
    arrays = {
        str(name): array for name, value in content.items() if (array := _whole_numbers(value)) is not None
    }
    choices = ", ".join(arrays) or "none"
    if not key:
        raise UsageError(f"{path} has these lists of labels: {choices}", f"choose one: {path}:KEY")
    if key not in arrays:
        raise UsageError(f"{path} has no labels named {key!r}; it has: {choices}", "choose one of those")
    clean = arrays.get(_CLEAN)
    if clean is not None and not np.array_equal(clean, own):
        raise DataError(
            f"{path} is in another order, or of another data set: its {_CLEAN} is not this data set's labels",
            "take the file that goes with the PyTorch version of the data set",
        )
    labels = arrays[key]
    if len(labels) and labels.min() < -1:
        raise DataError(f"{path}: {key} has the label {labels.min()}", "classes are numbered from 0")
    return labels


def _load(path: Path) -> dict[Any, Any]:
    """A dict that torch.save wrote, read like a pickled CIFAR batch: with stand-ins for NumPy's functions."""
    import torch

    from labelscrub.evaluation import inert_pickle

    stand_ins: list[Any] = [
        (stand_in, name)
        for name, stand_in in inert_pickle.STAND_INS.items()
        if not name.startswith("_codecs")
    ]  # torch has its own harmless _codecs.encode
    try:
        with torch.serialization.safe_globals(stand_ins), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about its age and protocol
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UsageError(f"{path} does not exist", "check the path") from error
    except OSError as error:
        raise EnvironmentProblem(f"{path} can't be read: {error.strerror or error}", "check it") from error
    except (
        Exception
    ) as error:  # a damaged file has many: UnpicklingError, RuntimeError, EOFError, KeyError, ...
        reason = str(error).partition("\n")[0]
        raise DataError(f"{path} is damaged, or holds more than labels: {reason}", "get it again") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds no dict of labels", "save a dict of arrays, each (images,)")
    return content


def _whole_numbers(value: object) -> NDArray[np.int64] | None:
    """(N,) of a tensor, an array's stand-in or a list; None where it is no list of whole numbers."""
    import torch

    from labelscrub.evaluation import inert_pickle

    try:
        if isinstance(value, torch.Tensor):
            array: NDArray[Any] = value.numpy()
        elif isinstance(value, list):
            array = np.array(value)
        else:
            array = inert_pickle.as_array(value)
    except (ValueError, TypeError, RuntimeError):
        return None
    return array.reshape(-1).astype(np.int64) if array.dtype.kind in "iu" else None
