"""What an experiment is run on: a data set known by name, or any source that `detect` takes."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labelscrub.config import Settings, SourceSettings
from labelscrub.errors import DataError, UsageError
from labelscrub.evaluation.dataset_files import (
    KNOWN,
    SPELLINGS,
    KnownDataset,
    Place,
    Split,
    find_files,
    read_split,
)
from labelscrub.evaluation.given_labels import read_given_labels
from labelscrub.records import Event, Images, Manifest, Progress, silent

_CHOICE_SEED = 0  # of `limit`: always the same images, whatever is done with them


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images with their given labels, and the true ones where they are known."""

    name: str
    """cifar10 (also where cifar-10 was asked for), or the source as given."""
    manifest: Manifest
    images: Images
    truth: NDArray[np.int32] | None
    """(N,) true class of each image, -1 unknown, -2 one that is none of the classes (see `evaluation.truth`);
    None: the given labels count as true."""


def load_dataset(
    name: str,
    *,
    data_root: Path | None,
    split: Split = "train",
    limit: int | None,
    settings: Settings,
    cache_dir: Path,
    workers: int,
    truth: str | None = None,
    given: Path | None = None,
    progress: Progress = silent,
) -> Dataset:
    """Images and labels, ready to train on.

    Args:
        name: mnist, fashion-mnist, cifar10 or cifar100, or a source. These names always mean the published
            data sets; a folder of one's own that has such a name is written ./mnist.
        data_root: where the data sets known by name are; None looks in the working directory, in its `data`
            and in Debian's /usr/share/datasets. Of no effect on a source.
        split: of a data set known by name, or of a source that has splits where the settings name none.
        limit: as many images, always the same ones, in order; fewer are a part of more. None, or more than
            there are: all. Of a source's usable rows, so that images that turn out unreadable come off.
        settings: the source's and the training's image size take effect.
        cache_dir: where a source's decoded images are kept.
        workers: processes that decode a source's images.
        truth: a source's column, or a file, with the true labels; see `evaluation.truth` and, for a data set
            known by name, `given_labels`.
        given: labels (FILE, or FILE:KEY of CIFAR-10N's .pt) instead of those of a data set known by name,
            which are then the truth.
    Raises:
        UsageError, DataError, EnvironmentProblem: with what is wrong and what to do.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"--limit must be at least 1, not {limit}")
    if name in SPELLINGS:
        known, place = find_files(name, split, data_root)
        return _load_known(known, place, split, limit, settings, truth, given, progress)
    if given is not None:
        raise UsageError(
            f"other labels can't be given for {name}: its labels are in its own column or folders",
            f"other labels go with {', '.join(KNOWN)}; for a source set --label-column and --truth",
        )
    return _load_source(name, split, limit, settings, cache_dir, workers, truth, progress)


def choose(count: int, limit: int | None) -> NDArray[np.int64]:
    """(min(count, limit),) which of `count` images are taken, ascending."""
    order = np.random.default_rng(_CHOICE_SEED).permutation(count)
    return np.sort(order[:limit]).astype(np.int64)


def _load_known(
    known: KnownDataset,
    place: Place,
    split: Split,
    limit: int | None,
    settings: Settings,
    truth: str | None,
    given: Path | None,
    progress: Progress,
) -> Dataset:
    raw = read_split(known, split, place)
    classes, count, own = raw.classes or known.classes, len(raw.labels), raw.labels
    labels = own if given is None else read_given_labels(given, classes, own)
    if (labels < 0).any():
        raise DataError(
            f"{given}: image {int(np.flatnonzero(labels < 0)[0])} has no label", "give one label an image"
        )
    true = own if given is not None else None
    if truth is not None:
        true = read_given_labels(truth, classes, own)

    chosen = choose(count, limit)
    pixels = raw.images(chosen)
    notes = []
    if count != known.published[split]:
        notes.append(f"{place.path} has {count:,} images, not the {known.published[split]:,} of {known.name}")
    if len(chosen) < count:
        notes.append(f"{len(chosen):,} of {count:,} images are used, chosen at random")
    paths = [f"{split}/{index:05d}" for index in chosen.tolist()]
    manifest = Manifest(
        source=place.path,
        kind="csv",
        root=place.path if place.path.is_dir() else place.path.parent,
        classes=classes,
        paths=paths,
        files=[""] * len(paths),
        labels=labels[chosen],
        notes=tuple(notes),
    )
    sha256 = np.frombuffer(b"".join(hashlib.sha256(image).digest() for image in pixels), np.uint8)
    size = settings.training.image_size or known.side
    images = Images(
        pixels=pixels if size == known.side else _resized(pixels, size, progress),
        rows=np.arange(len(chosen)),
        sha256=sha256.reshape(-1, 32),
    )
    progress(Event("decode", len(chosen), len(chosen), "images"))
    return Dataset(known.name, manifest, images, None if true is None else true[chosen])


def _resized(
    pixels: NDArray[np.uint8],  # (N, S, S, C)
    size: int,
    progress: Progress,
) -> NDArray[np.uint8]:
    """(N, size, size, C) scaled exactly as an image file of these pixels is."""
    from labelscrub.data.decoding import decode
    from labelscrub.data.filling import Teller

    count, side, _, channels = pixels.shape
    tell = Teller(progress, "decode", count)
    header = f"P{5 if channels == 1 else 6} {side} {side} 255\n".encode()
    resized = np.empty((count, size, size, channels), np.uint8)
    for index, image in enumerate(pixels):
        resized[index] = decode(header + image.tobytes(), size, channels, side * side)
        tell(1)
    return resized


def _load_source(
    name: str,
    split: Split,
    limit: int | None,
    settings: Settings,
    cache_dir: Path,
    workers: int,
    truth: str | None,
    progress: Progress,
) -> Dataset:
    from labelscrub import data

    manifest, source = _read_source(Path(name), split, settings.source, progress)
    true: NDArray[np.int32] | None = None
    true_notes: tuple[str, ...] = ()
    if truth is not None:
        from labelscrub.evaluation.truth import read_truth

        found = read_truth(manifest, truth, source, progress)
        true, true_notes = found.labels, found.notes
    # From all rows, so that with a limit the images have the size that they have without one.
    shape = data.image_shape(manifest, source, settings.training.image_size)
    manifest, rows = _limited(manifest, limit)
    images = data.load_images(
        manifest, shape, source, cache_dir=cache_dir, workers=workers, progress=progress
    )
    manifest = dataclasses.replace(manifest, notes=(*manifest.notes, *true_notes))
    return Dataset(name, manifest, images, None if true is None else true[rows][images.rows])


def _read_source(
    source: Path, split: Split, settings: SourceSettings, progress: Progress
) -> tuple[Manifest, SourceSettings]:
    """The source as `detect` reads it; where it has splits and none is set, this one of them."""
    from labelscrub import data

    try:
        return data.read_source(source, settings, progress), settings
    except UsageError:
        if settings.split is not None:
            raise
        chosen = dataclasses.replace(settings, split=split)
        try:
            manifest = data.read_source(source, chosen, progress)
        except UsageError:
            manifest = None  # it was not about splits
        if manifest is None:
            raise
        notes = (*manifest.notes, f"of the splits, {split} is read")
        return dataclasses.replace(manifest, notes=notes), chosen


def _limited(manifest: Manifest, limit: int | None) -> tuple[Manifest, NDArray[np.int64]]:
    """`limit` of the usable rows as a manifest of their own, and which rows they are."""
    from labelscrub.data.images import usable_rows

    usable = usable_rows(manifest)
    if limit is None or limit >= len(usable):
        return manifest, np.arange(len(manifest))
    rows = usable[choose(len(usable), limit)]
    index = rows.tolist()
    part = dataclasses.replace(
        manifest,
        paths=[manifest.paths[row] for row in index],
        files=[manifest.files[row] for row in index],
        labels=manifest.labels[rows],
        skipped=(),
        notes=(*manifest.notes, f"{limit:,} of {len(usable):,} usable rows are used, chosen at random"),
        groups=None if manifest.groups is None else [manifest.groups[row] for row in index],
        table_of=None if manifest.table_of is None else manifest.table_of[rows],
        spans=None if manifest.spans is None else manifest.spans[rows],
    )
    return part, rows
