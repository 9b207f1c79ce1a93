"""`detect --train-on`: two sources read so that their classes, shape and groups fit together.

A images are trained on; the others are judged. Classes are the same where their names are.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelscrub.config import AUTO, Settings, SourceSettings, flag
from labelscrub.errors import DataError, UsageError
from labelscrub.pipeline import predicting
from labelscrub.pipeline.clock import Clock
from labelscrub.records import Images, Manifest, Progress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

OF_TABLES = ("path_column", "label_column", "group_column", "image_root", "delimiter")


@dataclass(frozen=True, eq=False)
class TrainSource:
    """What the network is trained on."""

    manifest: Manifest
    images: Images

    @property
    def name(self) -> str:
        """For notes."""
        return self.manifest.source.name

    def notes(self) -> list[str]:
        """What reading and decoding said, and what could not be used."""
        skipped = (*self.manifest.skipped, *self.images.skipped)
        notes = [*self.manifest.notes, *self.images.notes]
        if skipped:
            reasons = Counter(item.reason for item in skipped).most_common(3)
            shown = ", ".join(f"{count:,} {reason}" for reason, count in reasons)
            notes.append(f"{len(skipped):,} of {len(self.manifest):,} listed are not used: {shown}")
        return [f"trained on {self.name}: {note}" for note in notes]


def check_arguments(
    train_on: str | Path | None,
    train_split: str | None,
    out: Path,
    pred_probs: str | Path | None,
    settings: Settings,
) -> None:
    """UsageError where --train-on does not go with the rest."""
    if train_on is None:
        if train_split is not None:
            raise UsageError("--train-split has no effect without --train-on", "leave it out")
        return
    if not str(train_on):
        raise UsageError("--train-on: the source's name is empty", "is the variable set that it comes from?")
    if "://" not in str(train_on) and not os.path.lexists(train_on):
        raise UsageError(f"--train-on: there is no source {train_on}", "name an image folder or a manifest")
    if out.resolve() in (Path(train_on).resolve(), Path(train_on).resolve().parent):
        raise UsageError(f"{train_on} is in the run directory {out} itself", "choose another --out")
    if pred_probs is not None:
        raise UsageError("--pred-probs trains nothing, --train-on does", "leave one of them out")
    if settings.detection.method == "aum":
        raise UsageError(
            "--method aum judges the images that it trains on, --train-on others",
            "leave out --train-on, or take --method cl",
        )
    if settings.detection.method == "calibrated":
        raise UsageError(
            "--method calibrated needs images that were trained on; with --train-on those judged are not",
            "leave out --train-on, or take --method cl",
        )
    if settings.training.loss == AUTO:
        raise UsageError(
            "--loss auto needs images that are trained on, and with --train-on those judged are not",
            "leave out --train-on, or take the loss that `labelscrub tune` names for the images trained on",
        )
    if settings.detection.score == "aum":
        raise UsageError(
            "--score aum needs images that were trained on; with --train-on those judged are not",
            "take --score self-confidence or normalized-margin",
        )


def source_settings(
    judged: Path, train_on: Path, train_split: str | None, settings: SourceSettings
) -> tuple[SourceSettings, SourceSettings]:
    """How to read the source that is judged, and how the one that is trained on.

    The same way, but for the split. Of a folder and a manifest file only the file has columns to be named.
    """
    of_judged, of_training = settings, replace(settings, split=train_split)
    no_table: dict[str, Any] = dict.fromkeys(OF_TABLES)
    if judged.is_dir() != train_on.is_dir():
        if settings.group_column is not None:
            raise UsageError(
                f"{flag('group_column')} needs groups in both sources, and {judged} and {train_on} are a "
                "folder and a manifest",
                "leave it out, or list the images of both in manifests",
            )
        if judged.is_dir():
            of_judged = replace(of_judged, **no_table)
        else:
            of_training = replace(of_training, **no_table)
    return of_judged, of_training


def read(
    source: Path,
    train_on: Path,
    read_as: tuple[SourceSettings, SourceSettings],  # of `source_settings`
    image_size: int | None,
    load: partial[Images],  # data.load_images with all but manifest, shape and settings
    clock: Clock,
    progress: Progress,
) -> tuple[Manifest, Images, TrainSource]:
    """The judged source, with the classes of both, and the one trained on: its images decide the shape."""
    from labelscrub import data

    with clock.stage("read"):
        manifest = data.read_source(source, read_as[0], progress)
        with about_training():
            train_manifest = data.read_source(train_on, read_as[1], progress)
        manifest = predicting.with_classes(manifest, train_manifest.classes)
    with clock.stage("decode"):
        shape = data.image_shape(train_manifest, read_as[1], image_size)
        images = load(manifest, shape, read_as[0])
        if train_on.resolve() == source.resolve():  # two splits would drive each other out of one store
            load = partial(load, cache_dir=load.keywords["cache_dir"] / "train-on")
        train_images = load(train_manifest, shape, read_as[1])
    with about_training():
        data.require_trainable(train_manifest, train_images, read_as[1], folds=0)
    return manifest, images, TrainSource(train_manifest, train_images)


@contextlib.contextmanager
def about_training() -> Iterator[None]:
    """Errors say that they are about the source trained on, whose split has an option of its own."""
    try:
        yield
    except (UsageError, DataError) as error:
        cause, fix = (text.replace("--split", "--train-split") for text in (error.cause, error.fix))
        raise type(error)(f"--train-on: {cause}", fix) from error


def training_labels(
    source: TrainSource, manifest: Manifest, images: Images
) -> tuple[NDArray[np.int32], tuple[str, ...]]:  # (A,)
    """Each image's index into the classes of the judged `manifest`, which has them all, and notes.

    -1 where its group is judged too: what is seen of a patient or a video must not judge the rest of it.
    """
    import numpy as np

    from labelscrub.data.labels import similar_names

    place = {name: index for index, name in enumerate(manifest.classes)}
    own = np.array([place[name] for name in source.manifest.classes], np.int32)
    labels: NDArray[np.int32] = own[source.manifest.labels[source.images.rows]]
    notes = source.notes()
    notes += [note for note in similar_names(manifest.classes) if note not in manifest.notes]
    if source.manifest.groups is not None and manifest.groups is not None:
        judged = {manifest.groups[row] for row in images.rows} - {""}
        shared = np.array([source.manifest.groups[row] in judged for row in source.images.rows])
        labels[shared] = -1
        if shared.any():
            notes.append(f"{int(shared.sum()):,} images to train on are of a group that is judged: left out")
    return labels, tuple(notes)
