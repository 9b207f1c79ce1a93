"""What confident learning must never be run on: a matrix of NaN has no issues at all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from labelscrub.detection.chunks import in_threads, row_chunks
from labelscrub.errors import DataError, ModelError, UsageError
from labelscrub.records import Predictions

ROW_SUM_TOLERANCE = 0.01  # probabilities stored as float16, or as text with a few decimals, still pass
VALUE_TOLERANCE = 1e-6  # below 0 or above 1, from renormalising in float32; as in cleanlab
CHANCE_SIGMAS = 3.0
MOST_FLAGGED = 2 / 3  # of the labels: pure noise had 0.70 to 0.91 below the threshold, 45 % wrong labels 0.61
DIVERGED = "training diverged: lower --lr, or try another --loss or --precision float32; no verdict is given"
BROUGHT = "give out-of-fold softmax probabilities, a row an image; no verdict is given on these"


def check_labels(
    labels: NDArray[np.integer],  # (N,)
    classes: Sequence[str],  # (K,)
) -> None:
    """DataError unless the labels are class indices and at least two classes have images."""
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(
            f"labels must be one integer an image, not {labels.dtype} of shape {labels.shape}",
            "give each image the index of its class",
        )
    if len(labels) == 0:
        raise DataError("there are no labelled images", "check the source and its label column")
    outside = np.flatnonzero((labels < 0) | (labels >= len(classes)))
    if len(outside):
        first = int(outside[0])
        raise DataError(
            f"{_images(len(outside))} {_have(len(outside))} a label outside 0..{len(classes) - 1}; "
            f"first: image {first}, label {int(labels[first])}",
            "labels are counted from 0, one for each class",
        )
    present = np.unique(labels)
    if len(present) < 2:
        raise DataError(
            f"all {len(labels)} images are labelled '{classes[int(present[0])]}': need at least 2 classes",
            "labels can only be wrong where there is another class; check the folder or the label column",
        )


def check_predictions(
    pred_probs: NDArray[np.float32],  # (N, K)
    labels: NDArray[np.integer],  # (N,)
    classes: Sequence[str],  # (K,)
    *,
    brought: bool,
) -> None:
    """DataError where shapes do not fit together, ModelError where the values are no probabilities.

    `brought`: the user trained the model himself, so the advice differs.
    """
    if pred_probs.ndim != 2:
        raise DataError(
            f"the probabilities have shape {pred_probs.shape}",
            "they must be (images, classes): a row an image",
        )
    if len(pred_probs) != len(labels):
        raise DataError(
            f"{len(pred_probs)} rows of probabilities, but {len(labels)} labels",
            "both must list the same images in the same order",
        )
    if pred_probs.shape[1] != len(classes):
        raise DataError(
            f"{pred_probs.shape[1]} columns of probabilities, but {len(classes)} classes",
            "give one column a class, in class order; name unseen classes with --classes",
        )
    _check_values(pred_probs, BROUGHT if brought else DIVERGED)


def _check_values(
    pred_probs: NDArray[np.float32],  # (N, K)
    advice: str,
) -> None:
    pred_probs = np.asarray(pred_probs)
    low, high = np.empty((2, len(pred_probs)), dtype=pred_probs.dtype)
    sums = np.empty(len(pred_probs))

    def read(rows: slice) -> None:
        chunk = pred_probs[rows]
        low[rows], high[rows] = chunk.min(axis=1), chunk.max(axis=1)
        # A float64 sum over float32 values can't overflow, so it is finite exactly where the whole row is.
        with np.errstate(invalid="ignore"):  # inf - inf, reported below
            sums[rows] = chunk.sum(axis=1, dtype=np.float64)

    in_threads(read, row_chunks(*pred_probs.shape))
    _reject(~np.isfinite(sums), "not finite (NaN or infinity)", pred_probs, advice)
    _reject((low < -VALUE_TOLERANCE) | (high > 1 + VALUE_TOLERANCE), "outside 0..1", pred_probs, advice)
    wrong_sum = np.abs(sums - 1) > ROW_SUM_TOLERANCE
    if wrong_sum.any():
        first = int(np.argmax(wrong_sum))
        raise ModelError(
            f"{int(wrong_sum.sum())} of {len(sums)} rows of probabilities do not sum to 1; "
            f"first: row {first}, sum {sums[first]:.6g}",
            advice,
        )


def _reject(
    bad: NDArray[np.bool_],  # (N,)
    what: str,
    pred_probs: NDArray[np.float32],  # (N, K)
    advice: str,
) -> None:
    if bad.any():
        first = int(np.argmax(bad))
        values = ", ".join(f"{value:.4g}" for value in pred_probs[first, :4])
        more = ", ..." if pred_probs.shape[1] > 4 else ""
        raise ModelError(
            f"the model failed: {int(bad.sum())} of {len(bad)} rows of probabilities are {what}; "
            f"first: row {first} ({values}{more})",
            advice,
        )


def check_better_than_chance(
    predicted: NDArray[np.integer],  # (N,) most probable class
    labels: NDArray[np.integer],  # (N,)
    classes: Sequence[str],  # (K,)
    *,
    brought: bool,
) -> None:
    """ModelError unless predictions agree with the labels more often than independent guesses would.

    The test of Cohen's kappa against 0: agreement must exceed sum_k P(label = k) P(predicted = k) by three
    standard errors under independence (Fleiss, Cohen and Everitt 1969). The binomial error is too wide where
    classes are imbalanced: 99 right out of 95 + 5 images would fail by it.

    It can't see a model that learnt labels which are wrong throughout: that one agrees with them.
    """
    n = len(labels)
    fix = (
        "check that the columns are in class order and the rows in label order"
        if brought
        else "train longer (--epochs), try another --network or --lr, or check that the labels fit the images"
    )
    if (predicted == predicted[0]).all():
        raise ModelError(
            f"the model predicts '{classes[int(predicted[0])]}' for all {n} images, so there is no verdict",
            fix,
        )
    observed, expected, needed = _agreement(predicted, labels, len(classes))
    if observed <= needed:
        if needed >= 1:
            raise ModelError(
                f"{n} images are too few to tell the model from guessing ({100 * expected:.1f} % by chance)",
                "bring more images of each class; no verdict is given",
            )
        raise ModelError(
            f"the model agrees with {100 * observed:.1f} % of the labels, no better than chance "
            f"({100 * expected:.1f} %, up to {100 * needed:.1f} % by luck), so there is no verdict",
            fix,
        )


def check_every_fold(
    predicted: NDArray[np.integer],  # (N,)
    labels: NDArray[np.integer],  # (N,)
    fold: NDArray[np.integer],  # (N,) -1 where unknown
    num_classes: int,
) -> None:
    """ModelError where one fold's model is at chance: its images would all be suspects, which the mean hides.

    Only folds large enough for a model as good as the whole are judged, so that a small fold is not blamed.
    """
    overall = float((predicted == labels).mean())
    for k in np.unique(fold[fold >= 0]):
        members = fold == k
        observed, expected, needed = _agreement(predicted[members], labels[members], num_classes)
        spread = CHANCE_SIGMAS * float(np.sqrt(overall * (1 - overall) / members.sum()))
        if observed <= needed < overall - spread:
            raise ModelError(
                f"the model of fold {int(k) + 1} agrees with {100 * observed:.1f} % of the labels, no better "
                f"than chance ({100 * expected:.1f} %), where all folds together reach {100 * overall:.1f} %",
                "its training failed: try a lower --lr, a longer --delay, or another --seed",
            )


def _agreement(
    predicted: NDArray[np.integer],  # (N,)
    labels: NDArray[np.integer],  # (N,)
    num_classes: int,
) -> tuple[float, float, float]:
    """Observed agreement, the one expected of independent guesses, and what luck alone hardly exceeds."""
    n = len(labels)
    label_share = np.bincount(labels, minlength=num_classes) / n
    predicted_share = np.bincount(predicted, minlength=num_classes) / n
    expected = float(label_share @ predicted_share)
    both = float((label_share * predicted_share) @ (label_share + predicted_share))
    variance = max(expected + expected**2 - both, 0.0)
    return (
        float((predicted == labels).mean()),
        expected,
        expected + CHANCE_SIGMAS * float(np.sqrt(variance / n)),
    )


def check_enough_classes(
    assessed: NDArray[np.bool_],  # (K,)
    counts: NDArray[np.int64],  # (K,) images a class
    smallest: int,
) -> None:
    """DataError unless two are assessed: known to the model, `smallest` images, in more than one fold."""
    if assessed.sum() < 2:
        large_enough = bool((counts[~assessed] >= smallest).any())
        raise DataError(
            f"only {int(assessed.sum())} of {int((counts > 0).sum())} classes have the {smallest} images"
            f"{', not all in one fold and known to the model,' if large_enough else ''} that it takes to be "
            "judged: need at least 2",
            "add images to the small classes" + (", or lower --folds" if smallest > 2 else ""),
        )


def check_learnt(
    flagged: float,  # share of the assessed images whose AUM is below the threshold, 0..1
) -> None:
    """ModelError where most labels look wrong to method aum: pure noise, or a model that has learnt nothing.

    Its probabilities are in-training: noise learnt by heart agrees with the labels, and passes for a model.
    """
    if flagged > MOST_FLAGGED:
        raise ModelError(
            f"{100 * flagged:.0f} % of the labels look no better learnt than labels that are wrong by "
            "construction, so there is no verdict",
            "train longer (--epochs), or use --method cl",
        )


def check_aum(
    predictions: Predictions,
    *,
    asked_by: str,
) -> None:
    """UsageError where AUM is asked for and was not recorded, ModelError where it is not finite.

    `asked_by` is the option that asks: "--method aum" needs the thresholds as well.
    """
    wanted = {"AUM": predictions.aum}
    if asked_by == "--method aum":
        if predictions.aum_threshold is None:
            raise UsageError(
                f"{asked_by} needs training with threshold samples, which these predictions do not come from",
                "leave out --pred-probs, or use --method cl",
            )
        wanted["AUM threshold"] = predictions.aum_threshold
    elif np.isnan(predictions.aum).all():
        raise UsageError(
            f"{asked_by} needs the AUM of each image, which was not recorded",
            "leave out --pred-probs, or use --score self-confidence",
        )
    for name, values in wanted.items():
        bad = ~np.isfinite(values)
        if bad.any():
            raise ModelError(
                f"the {name} of {_images(int(bad.sum()))} is not finite; first: image {int(np.argmax(bad))}",
                DIVERGED,
            )


def check_evidence(predictions: Predictions) -> None:
    """UsageError where --method calibrated's evidence was not recorded, ModelError where it is not finite."""
    evidence = predictions.evidence
    if evidence is None:
        raise UsageError(
            "--method calibrated needs what its own training records: planted labels and training dynamics",
            "leave out --pred-probs, name a finished run of --method calibrated, or use --method cl",
        )
    for name, values in (
        ("in-training probabilities", evidence.train_probs),
        ("late margins", evidence.late_margin),
        ("mean logits", evidence.mean_logits),
        ("late margins of planted labels", evidence.plants.late_margin),
    ):
        if not np.isfinite(values).all():
            raise ModelError(f"the {name} are not all finite", DIVERGED)


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"


def _have(count: int) -> str:
    return "has" if count == 1 else "have"
