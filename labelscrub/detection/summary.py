"""The verdict in figures: a line a class, the most confused pairs, and notes on what they mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labelscrub.records import Calibration, ClassSummary, ConfusedPair

WEAK_ACCURACY = 0.5  # METHOD.md: at 46 % the robust losses lose to cross-entropy and cuts go wrong
SYSTEMATIC_RATE = (
    0.5  # more than half of a class estimated wrong is a swapped name, not a slip here and there
)
FEWEST_EXPECTED, FOUND_SHARE = 5, 0.5  # fewer suspects than this share of the estimate are worth a word
SHOWN_CLASSES = 3  # in a note; the table of classes has them all


@dataclass(frozen=True)
class Assessment:
    """What the figures of a run say, beside the findings an image."""

    estimated_noise_rate: float
    """Share of labels estimated wrong, 0..1, over the classes that could be judged."""
    accuracy: float
    """Share of images whose given label is the most probable class, 0..1."""
    classes: tuple[ClassSummary, ...]
    """In class order, also those without images. Figures that can't be known are NaN."""
    confused_pairs: tuple[ConfusedPair, ...]
    """Most frequent first, ties in class order."""
    not_assessed: tuple[str, ...]
    """Classes with too few images, or all in one fold, or not learnt, in class order."""
    notes: tuple[str, ...]
    calibration: Calibration | None = None


def assess(
    labels: NDArray[np.integer],  # (N,)
    predicted: NDArray[np.integer],  # (N,) most probable class
    suggested: NDArray[np.integer],  # (N,)
    suspect: NDArray[np.bool_],  # (N,)
    classes: Sequence[str],  # (K,)
    assessed: NDArray[np.bool_],  # (K,)
    noise_rate: float,
    class_noise_rates: NDArray[np.float64],  # (K,) NaN where not assessed
    notes: Sequence[str],
    calibration: Calibration | None = None,
) -> Assessment:
    """Count; `notes` are kept and added to."""
    num_classes = len(classes)
    images = np.bincount(labels, minlength=num_classes)
    suspects = np.bincount(labels[suspect], minlength=num_classes)
    right = np.bincount(labels[predicted == labels], minlength=num_classes)
    accuracy = float(right.sum() / len(labels))
    summaries = tuple(
        ClassSummary(
            label=classes[k],
            images=int(images[k]),
            suspects=int(suspects[k]),
            accuracy=float(right[k] / images[k]) if images[k] else float("nan"),
            estimated_noise_rate=float(class_noise_rates[k]),
            assessed=bool(assessed[k]),
        )
        for k in range(num_classes)
    )
    pairs = confused_pairs(labels[suspect], suggested[suspect], classes)
    return Assessment(
        estimated_noise_rate=noise_rate,
        accuracy=accuracy,
        classes=summaries,
        confused_pairs=pairs,
        not_assessed=tuple(s.label for s in summaries if s.images and not s.assessed),
        notes=(*notes, *_notes(summaries, pairs, accuracy, noise_rate, calibration)),
        calibration=calibration,
    )


def confused_pairs(
    given: NDArray[np.integer],  # (M,) of the suspects
    suggested: NDArray[np.integer],  # (M,)
    classes: Sequence[str],  # (K,)
) -> tuple[ConfusedPair, ...]:
    """How often each (given, suggested) pair occurs, most frequent first, ties in class order."""
    pair, count = np.unique(given.astype(np.int64) * len(classes) + suggested, return_counts=True)
    return tuple(
        ConfusedPair(classes[pair[i] // len(classes)], classes[pair[i] % len(classes)], int(count[i]))
        for i in np.argsort(-count, kind="stable")
    )


def _notes(
    summaries: Sequence[ClassSummary],
    pairs: Sequence[ConfusedPair],
    accuracy: float,
    noise_rate: float,
    calibration: Calibration | None,
) -> list[str]:
    notes = []
    if accuracy < WEAK_ACCURACY:
        notes.append(
            f"the model agrees with only {100 * accuracy:.0f} % of the labels: expect many false suspects"
        )
    suspects = sum(s.suspects for s in summaries)
    expected = noise_rate * sum(s.images for s in summaries if s.assessed)
    cut_short = calibration is not None and calibration.aim != "f1"  # as was asked for
    if expected >= FEWEST_EXPECTED and suspects < FOUND_SHARE * expected and not cut_short:
        notes.append(
            f"about {expected:.0f} labels are estimated wrong, but only {suspects} could be singled out: the "
            "model learnt the rest as they are, so look at the classes it confuses"
        )
    systematic = [s for s in summaries if s.estimated_noise_rate > SYSTEMATIC_RATE]  # never where it is NaN
    if systematic:
        systematic.sort(key=lambda s: -s.estimated_noise_rate)
        shown = ", ".join(_like_another(s, pairs) for s in systematic[:SHOWN_CLASSES])
        more = len(systematic) - SHOWN_CLASSES
        notes.append(
            f"{shown}{f' and {more} more' if more > 0 else ''} "
            "look like another class: swapped or overlapping classes, rather than single slips?"
        )
    return notes


def _like_another(summary: ClassSummary, pairs: Sequence[ConfusedPair]) -> str:
    """67 % of 'right' (mostly 'dark')."""
    like = next((pair.suggested for pair in pairs if pair.given == summary.label), None)
    mostly = f" (mostly '{like}')" if like is not None else ""
    return f"{100 * summary.estimated_noise_rate:.0f} % of '{summary.label}'{mostly}"
