"""The data sets known by name: what they are called, how they are packed, and where they are looked for."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from labelscrub.errors import DataError, EnvironmentProblem, UsageError
from labelscrub.evaluation.published_formats import CifarLayout, RawSplit, read_cifar_split, read_idx_split

Split = Literal["train", "test"]
DEFAULT_ROOTS = (Path(), Path("data"), Path("/usr/share/datasets"))  # the last is Debian's


@dataclass(frozen=True)
class KnownDataset:
    """A data set that `bench` knows by name."""

    name: str
    folders: tuple[str, ...]
    """Below the data root, the likeliest first; the data root itself comes last."""
    classes: tuple[str, ...]
    side: int
    published: dict[str, int]
    """Split -> images."""
    layouts: tuple[CifarLayout, ...] = ()
    """Empty: idx files."""
    debian: str = ""
    """The Debian package that has it."""
    begins: tuple[tuple[str, tuple[int, ...]], ...] = ()
    """First labels of each split, where another data set's files have the same names."""


@dataclass(frozen=True)
class Place:
    """Where the files of one split lie."""

    path: Path
    """A folder or an archive."""
    layout: CifarLayout | None = None
    images: Path | None = None
    labels: Path | None = None
    """The idx files."""


_DIGITS = tuple("0123456789")
_FASHION = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
_CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
# As the python version's `meta` has them; the binary version calls some of them otherwise ("maple").
_CIFAR100 = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel
can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur
dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion
lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree
pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea
seal shark shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank
telephone television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""

_IDX_STEMS = {"train": "train", "test": "t10k"}
_MNIST = KnownDataset(
    "mnist",
    ("mnist", "MNIST/raw", "MNIST"),
    _DIGITS,
    28,
    {"train": 60_000, "test": 10_000},
    begins=(("train", (5, 0, 4, 1, 9, 2, 1, 3, 1, 4)), ("test", (7, 2, 1, 0, 4, 1, 4, 9, 5, 9))),
)
_FASHION_MNIST = KnownDataset(
    "fashion-mnist",
    ("fashion-mnist", "FashionMNIST/raw", "FashionMNIST"),
    _FASHION,
    28,
    {"train": 60_000, "test": 10_000},
    debian="dataset-fashion-mnist",
    begins=(("train", (9, 0, 0, 3, 0, 2, 7, 2, 5, 5)), ("test", (9, 2, 1, 1, 6, 1, 4, 6, 5, 7))),
)
_BATCHES = tuple(f"data_batch_{k}" for k in range(1, 6))
_CIFAR_10 = KnownDataset(
    "cifar10",
    ("cifar10", "cifar-10"),
    _CIFAR10,
    32,
    {"train": 50_000, "test": 10_000},
    (
        CifarLayout(
            "python",
            "cifar-10-batches-py",
            "cifar-10-python.tar.gz",
            {"train": _BATCHES, "test": ("test_batch",)},
            "labels",
            names=("batches.meta", "label_names"),
        ),
        CifarLayout(
            "binary",
            "cifar-10-batches-bin",
            "cifar-10-binary.tar.gz",
            {"train": tuple(f"{batch}.bin" for batch in _BATCHES), "test": ("test_batch.bin",)},
            0,
            label_bytes=1,
        ),
    ),
)
_CIFAR_100 = KnownDataset(
    "cifar100",
    ("cifar100", "cifar-100"),
    tuple(_CIFAR100.split()),
    32,
    {"train": 50_000, "test": 10_000},
    (
        CifarLayout(
            "python",
            "cifar-100-python",
            "cifar-100-python.tar.gz",
            {"train": ("train",), "test": ("test",)},
            "fine_labels",
            names=("meta", "fine_label_names"),
        ),
        CifarLayout(
            "binary",
            "cifar-100-binary",
            "cifar-100-binary.tar.gz",
            {"train": ("train.bin",), "test": ("test.bin",)},
            1,  # the coarse label comes first
            label_bytes=2,
        ),
    ),
)
KNOWN = {known.name: known for known in (_MNIST, _FASHION_MNIST, _CIFAR_10, _CIFAR_100)}
SPELLINGS = {**{name: name for name in KNOWN}, "cifar-10": "cifar10", "cifar-100": "cifar100"}


def find_files(name: str, split: Split, data_root: Path | None) -> tuple[KnownDataset, Place]:
    """The data set that `name` (in SPELLINGS) means, and where the split's files are.

    Raises:
        UsageError: where they are not, with what to put where; or where `name` may mean a folder as well.
    """
    known = KNOWN[SPELLINGS[name]]
    roots = DEFAULT_ROOTS if data_root is None else (data_root,)
    try:
        if data_root is not None and not data_root.is_dir():
            raise UsageError(
                f"--data-root {data_root} is no folder", "name the folder that the data sets are in"
            )
        for root in roots:
            for folder in (*(root / name for name in known.folders), root):
                if (
                    place := _cifar_place(known, split, folder)
                    if known.layouts
                    else _idx_place(split, folder)
                ):
                    if data_root is None:
                        _reject_two_meanings(name, place)
                    return known, place
    except OSError as error:
        raise EnvironmentProblem(
            f"{error.filename} can't be read: {error.strerror}", "check its permissions"
        ) from error
    looked = ", ".join(str(root / known.folders[0]) for root in roots)
    fix = f"put {_files_of(known, split)} in one of these, or in DIR/{known.folders[0]} with --data-root DIR"
    if known.debian:
        fix = f"install Debian's package {known.debian}, or {fix}"
    if data_root is None and os.path.lexists(name):
        fix += f"; ./{name} is how the folder or file here is named"
    raise UsageError(f"the files of {known.name} are not in {looked}", fix)


def _reject_two_meanings(name: str, place: Place) -> None:
    """What is here by that name, and the data set was not found in, may be what is meant."""
    if os.path.lexists(name) and not place.path.resolve().is_relative_to(Path(name).resolve()):
        raise UsageError(
            f"{name} is a data set, found in {place.path}, and also the name of a folder or file here",
            f"write ./{name} for the one here, or --data-root {place.path.parent} for the data set",
        )


def read_split(known: KnownDataset, split: Split, place: Place) -> RawSplit:
    """All of a split; DataError naming the file where something is wrong with it."""
    if place.layout is not None:
        return read_cifar_split(place.path, place.layout, split, len(known.classes))
    assert place.images is not None and place.labels is not None  # an idx place has both
    raw = read_idx_split(place.images, place.labels, known.side, len(known.classes))
    _reject_other_set(known, raw, place.labels)
    return raw


def _reject_other_set(known: KnownDataset, raw: RawSplit, labels: Path) -> None:
    """MNIST's files are named as Fashion-MNIST's are, and one is easily read for the other."""
    for other in KNOWN.values():
        for split, begins in other.begins:
            mixed_up = other is not known and tuple(raw.labels[: len(begins)].tolist()) == begins
            if mixed_up:
                raise DataError(
                    f"{labels} is of {other.name} ({split}), not of {known.name}",
                    f"put each in a folder of its own: DIR/{known.folders[0]}, DIR/{other.folders[0]}",
                )


def _idx_place(split: Split, folder: Path) -> Place | None:
    def first(what: str, dimensions: int) -> Path | None:
        names = [f"{_IDX_STEMS[split]}-{what}{dot}idx{dimensions}-ubyte" for dot in "-."]
        paths = [folder / f"{name}{packed}" for name in names for packed in ("", ".gz")]
        return next((path for path in paths if path.is_file()), None)

    images, labels = first("images", 3), first("labels", 1)
    if images is None and labels is None:
        return None
    if images is None or labels is None:
        there, absent = (images, "labels") if labels is None else (labels, "images")
        raise UsageError(
            f"{there} is there, but its {absent} are not", f"put the file of the {absent} beside it"
        )
    return Place(folder, images=images, labels=labels)


def _cifar_place(known: KnownDataset, split: Split, folder: Path) -> Place | None:
    for layout in known.layouts:
        for place in (folder / layout.folder, folder):
            if any((place / name).is_file() for name in layout.files[split]):
                return Place(place, layout)
        if (folder / layout.archive).is_file():
            return Place(folder / layout.archive, layout)
    return None


def _files_of(known: KnownDataset, split: Split) -> str:
    if known.layouts:
        return " or ".join(layout.archive for layout in known.layouts)
    stem = _IDX_STEMS[split]
    return f"{stem}-images-idx3-ubyte.gz and {stem}-labels-idx1-ubyte.gz"
