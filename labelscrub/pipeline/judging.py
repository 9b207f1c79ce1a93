"""`detect --train-on`: a network learns from one source, and its probabilities judge the labels of another.

A images are trained on, N are judged; K classes, those of both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from labelscrub.config import Settings
from labelscrub.errors import DataError
from labelscrub.pipeline import predicting
from labelscrub.records import Images, Predictions, Progress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from labelscrub.store import RunDirectory
    from labelscrub.training import TrainingPlan

SHOWN = 5  # class names in a message


def train_on(
    run: RunDirectory,
    train_labels: NDArray[np.integer],  # (A,) index into `classes`, -1 where not to be trained on
    train_images: Images,
    judged_labels: NDArray[np.integer],  # (N,) they say which classes can be judged; none is learnt from
    judged_images: Images,
    classes: Sequence[str],  # (K,) of both
    settings: Settings,
    fingerprint: dict[str, Any],
    progress: Progress,
) -> tuple[Predictions, TrainingPlan]:
    """One network trained on the one, its probabilities for the other; stored ones are not computed again.

    Images to train on whose bytes are judged too are left out: of those the network would know the label.
    `fingerprint` must tell both images and both labels. Detection wants `folds=1` for these predictions.
    """
    from labelscrub import training

    shape, judged_shape = train_images.pixels.shape[1:], judged_images.pixels.shape[1:]
    if shape != judged_shape:
        raise DataError(
            f"the images to train on are {_size(shape)}, those to judge {_size(judged_shape)}",
            "decode both at one size: --image-size",
        )
    labels, notes = _without_copies(train_labels, train_images, judged_labels, judged_images)
    notes += _require_classes(labels, judged_labels, classes)
    trained = int((labels >= 0).sum())
    plan = training.plan_training(settings.training, shape=(trained, *shape), num_classes=len(classes))
    about = f"judged by one network, which was trained on {trained:,} images of another source"
    plan = replace(plan, notes=(about, *notes, *plan.notes))

    def predictions() -> Predictions:
        pixels, judged = train_images.pixels, judged_images.pixels
        return training.train_and_judge(pixels, labels, judged, len(classes), plan, progress)

    return predicting.once(run, plan, fingerprint, predictions, progress), plan


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[0]} x {shape[1]} {'grey' if shape[2] == 1 else 'colour'}"


def _without_copies(
    train_labels: NDArray[np.integer],  # (A,)
    train_images: Images,
    judged_labels: NDArray[np.integer],  # (N,)
    judged_images: Images,
) -> tuple[NDArray[np.integer], list[str]]:  # (A,)
    """The labels with -1 for images that are judged too, and a note that says so."""
    import numpy as np

    from labelscrub.detection import duplicate_groups

    judged = len(judged_images.sha256)
    group = duplicate_groups(np.concatenate([judged_images.sha256, train_images.sha256]))
    member = np.full(int(group.max()) + 1, -1)  # an image judged with these bytes
    member[group[:judged]] = np.arange(judged)
    twin = member[group[judged:]]  # (A,)
    copies = (twin >= 0) & (train_labels >= 0)
    if not copies.any():
        return train_labels, []
    others = int((train_labels[copies] != judged_labels[twin[copies]]).sum())
    note = f"{int(copies.sum()):,} images to train on are judged too (the same bytes) and were left out"
    if others:
        note += f"; {others:,} of them are labelled differently in the two sources"
    return np.where(copies, -1, train_labels), [note]


def _require_classes(
    labels: NDArray[np.integer],  # (A,) -1 where not trained on
    judged_labels: NDArray[np.integer],  # (N,)
    classes: Sequence[str],  # (K,)
) -> list[str]:
    """DataError unless at least two classes are learnt and judged; a note on those that can't be judged."""
    import numpy as np

    from labelscrub.training import learnt_classes

    if not (labels >= 0).any():
        raise DataError(
            "no image is left to train on: all are judged too, or belong to a group that is",
            "train on other images, or leave out --train-on: then the images judge each other",
        )
    counts = np.bincount(judged_labels, minlength=len(classes))
    learnt = learnt_classes(labels, len(classes))
    common = (counts >= 2) & learnt
    if common.sum() < 2:
        raise DataError(
            f"{int(common.sum())} classes have at least 2 images both to train on and to judge: need 2 such; "
            f"to train on there are {_named(classes, learnt)}, to judge {_named(classes, counts > 0)}",
            "labels are compared as they are written: rename the classes of one source, or give another",
        )
    unlearnt = (counts > 0) & ~learnt
    if not unlearnt.any():
        return []
    return [f"not assessed, with fewer than 2 images to learn them from: {_named(classes, unlearnt)}"]


def _named(classes: Sequence[str], chosen: NDArray[np.bool_]) -> str:
    from labelscrub.data.labels import visible

    names = [visible(name) for name, is_chosen in zip(classes, chosen, strict=True) if is_chosen]
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return (", ".join(names[:SHOWN]) or "none") + more
