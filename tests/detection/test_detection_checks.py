"""What must end with an error and never with "0 suspects"."""

from __future__ import annotations

import numpy as np
import pytest
from detection_cases import find, noisy, predictions

from labelscrub.detection import chunks
from labelscrub.detection.checks import check_better_than_chance, check_every_fold, check_predictions
from labelscrub.errors import DataError, ModelError, UsageError


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("folds", [0, 5])
def test_one_value_that_is_not_finite_is_an_error(value: float, folds: int) -> None:
    probs, labels, _ = noisy()
    probs[7, 2] = value
    with pytest.raises(ModelError, match=r"1 of 400 rows .* not finite .* first: row 7") as error:
        find(probs, labels, folds=folds)
    assert ("--lr" in error.value.fix) == (folds > 0)  # who brought a file can't train it otherwise


def test_infinities_that_cancel_are_an_error_too() -> None:
    probs, labels, _ = noisy()
    probs[3, 0], probs[3, 1] = np.inf, -np.inf
    with pytest.raises(ModelError, match="row 3"):
        find(probs, labels)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_first_bad_row_is_named_whatever_chunk_it_is_in(
    monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    monkeypatch.setattr(chunks, "CHUNK_VALUES", 50)
    monkeypatch.setattr(chunks, "cores", lambda: threads)
    probs, labels, _ = noisy()
    probs[[399, 123]] *= 0.5
    with pytest.raises(ModelError, match=r"2 of 400 rows .* do not sum to 1; first: row 123, sum 0\.5"):
        find(probs, labels)


def test_all_nan_is_an_error() -> None:
    probs, labels, _ = noisy()
    with pytest.raises(ModelError, match="400 of 400"):
        find(np.full_like(probs, np.nan), labels)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ([0.5, 0.2, 0.1, 0.1, 0.0], "do not sum to 1; first: row 9, sum 0.9"),
        ([0.0, 0.0, 0.0, 0.0, 0.0], "sum 0"),
        ([0.5, 0.6, -0.1, 0.0, 0.0], "outside 0..1"),
        ([3.0, -2.0, 0.0, 0.0, 0.0], "outside 0..1"),  # logits
        ([1.005, 0.0, 0.0, 0.0, 0.0], "outside 0..1"),  # its sum would pass
    ],
)
def test_rows_that_are_no_probabilities(row: list[float], says: str) -> None:
    probs, labels, _ = noisy()
    probs[9] = row
    with pytest.raises(ModelError, match=says):
        find(probs, labels)


def test_half_precision_passes() -> None:
    probs, labels, _ = noisy()
    findings, _ = find(probs.astype(np.float16).astype(np.float32), labels)
    assert findings.is_suspect.any()


def test_shapes_and_labels_that_do_not_fit() -> None:
    probs, labels, _ = noisy()
    with pytest.raises(DataError, match="400 rows of probabilities, but 399 labels"):
        find(probs, labels[:-1])
    with pytest.raises(DataError, match="5 columns of probabilities, but 6 classes"):
        find(probs, labels, classes=list("abcdef"))
    with pytest.raises(DataError, match="5 columns of probabilities, but 4 classes"):
        find(probs, np.minimum(labels, 3), classes=list("abcd"))
    with pytest.raises(DataError, match=r"shape \(400, 5, 1\)"):
        check_predictions(probs[..., None], labels, list("abcde"), brought=False)
    for label in (-1, 5):
        bad = labels.copy()
        bad[11] = label
        with pytest.raises(
            DataError, match=rf"1 image has a label outside 0\.\.4; first: image 11, label {label}"
        ):
            find(probs, bad)
    with pytest.raises(DataError, match="float64"):
        find(probs, labels.astype(float))
    with pytest.raises(DataError, match="no labelled images"):
        find(probs[:0], labels[:0])


def test_one_class_is_an_error() -> None:
    probs, labels, _ = noisy()
    with pytest.raises(DataError, match="all 400 images are labelled 'c'"):
        find(probs, np.full_like(labels, 2))


def test_only_one_class_large_enough_is_an_error() -> None:
    probs, labels, _ = noisy(400, 2, sharpness=9)
    probs, labels = probs[np.argsort(labels)], np.sort(labels)
    few = slice(0, int((labels == 0).sum()) + 4)  # four images of class b
    with pytest.raises(DataError, match="only 1 of 2 classes have the 5 images"):
        find(probs[few], labels[few], folds=5)
    find(probs[few], labels[few], folds=4)


def test_one_prediction_for_all_is_an_error_however_imbalanced() -> None:
    labels = np.zeros(1000, dtype=int)
    labels[:30] = 1
    probs = np.tile(np.array([[0.97, 0.03]], dtype=np.float32), (1000, 1))
    with pytest.raises(ModelError, match="predicts 'a' for all 1000 images"):
        find(probs, labels)


@pytest.mark.parametrize("num_classes", [2, 10])
@pytest.mark.parametrize("seed", range(5))
def test_random_labels_are_an_error(num_classes: int, seed: int) -> None:
    probs, _, _ = noisy(500, num_classes, seed=seed)
    labels = np.random.default_rng(100 + seed).integers(0, num_classes, 500)
    with pytest.raises(ModelError, match="no better than chance") as error:
        find(probs, labels)
    assert error.value.exit_code == 5


def test_labels_that_contradict_a_good_model_are_an_error() -> None:
    """Columns in another order than the classes: below chance, and no reason to call every label wrong."""
    probs, labels, _ = noisy(500, 3, 0.0)
    with pytest.raises(ModelError, match="no better than chance") as error:
        find(probs[:, [1, 2, 0]], labels)
    assert "class order" in error.value.fix


def test_a_weak_model_that_is_better_than_chance_passes_with_a_note() -> None:
    probs, labels, _ = noisy(3000, 10, 0.0, sharpness=0.7)
    _, assessment = find(probs, labels)
    assert 0.15 < assessment.accuracy < 0.5
    assert any("expect many false suspects" in note for note in assessment.notes)


def test_imbalance_alone_is_no_chance_level() -> None:
    """95 + 5 images with one mistake: certainly learnt, though a constant guess is right on 95 %."""
    labels = np.array([0] * 95 + [1] * 5)
    predicted = labels.copy()
    predicted[99] = 0
    check_better_than_chance(predicted, labels, ["a", "b"], brought=False)


def test_too_few_images_to_tell_are_an_error() -> None:
    labels = np.array([0, 1, 0, 1, 0, 1])
    with pytest.raises(ModelError, match="6 images are too few"):
        check_better_than_chance(labels, labels, ["a", "b"], brought=False)


def test_the_standard_error_is_the_one_of_independent_guesses() -> None:
    """Of 4,000 shuffled, imbalanced predictions hardly any pass 3 sigma (0.13 % where the tail is normal)."""
    rng = np.random.default_rng(0)
    labels = rng.choice(3, 400, p=[0.7, 0.2, 0.1])
    predicted = rng.choice(3, 400, p=[0.6, 0.3, 0.1])
    passed = 0
    for _ in range(4000):
        try:
            check_better_than_chance(rng.permutation(predicted), labels, ["a", "b", "c"], brought=False)
            passed += 1
        except ModelError:
            pass
    assert 0 < passed < 25


def test_aum_that_was_not_recorded() -> None:
    probs, labels, _ = noisy()
    with pytest.raises(UsageError, match="--score aum needs the AUM"):
        find(probs, labels, score="aum")
    with pytest.raises(UsageError, match="--method aum needs training with threshold samples"):
        find(probs, labels, method="aum")


@pytest.mark.parametrize("asked", [{"score": "aum"}, {"method": "aum"}])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_aum_that_is_not_finite(asked: dict[str, str], value: float) -> None:
    probs, labels, _ = noisy()
    aum = np.zeros(400, np.float32)
    aum[5] = value
    recorded = predictions(probs, aum=aum, aum_threshold=np.zeros(400, np.float32))
    with pytest.raises(ModelError, match="the AUM of 1 image is not finite; first: image 5"):
        find(recorded, labels, **asked)


def test_aum_threshold_that_is_not_finite() -> None:
    probs, labels, _ = noisy()
    aum = np.zeros(400, np.float32)
    with pytest.raises(ModelError, match="the AUM threshold of 400 images"):
        find(predictions(probs, aum=aum, aum_threshold=aum * np.nan), labels, method="aum")


def test_method_aum_checks_the_level_of_chance_as_well() -> None:
    probs, _, _ = noisy(500)
    labels = np.random.default_rng(1).integers(0, 5, 500)
    zeros = np.zeros(500, np.float32)
    with pytest.raises(ModelError, match="no better than chance"):
        find(predictions(probs, aum=zeros, aum_threshold=zeros), labels, method="aum")


def test_method_aum_gives_no_verdict_on_noise_learnt_by_heart() -> None:
    """In-training probabilities agree with the labels, so chance does not show; the threshold does."""
    labels = np.arange(200) % 2
    probs = np.where(np.eye(2, dtype=bool)[labels], 0.9, 0.1).astype(np.float32)
    threshold = np.zeros(200, np.float32)
    aum = np.where(np.arange(200) < 155, -1, 1).astype(np.float32)
    with pytest.raises(ModelError, match="78 % of the labels look no better learnt than") as error:
        find(predictions(probs, aum=aum, aum_threshold=threshold), labels, method="aum")
    assert "--method cl" in error.value.fix
    aum[:55] = 1  # half of them: a verdict
    findings, _ = find(predictions(probs, aum=aum, aum_threshold=threshold), labels, method="aum")
    assert findings.is_suspect.sum() == 100


def test_classes_that_each_lie_in_one_fold_are_an_error_that_says_so() -> None:
    probs, labels, _ = noisy(400, 2, 0.0, sharpness=9)
    with pytest.raises(DataError, match="only 0 of 2 classes have the 2 images, not all in one fold"):
        find(predictions(probs, fold=labels.astype(np.int16)), labels, folds=2)


def test_one_failed_fold_is_an_error_though_the_mean_is_fine():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 500)
    fold = np.arange(500) % 5
    predicted = np.where(rng.random(500) < 0.9, labels, (labels + 1) % 3)
    check_every_fold(predicted, labels, fold, 3)
    predicted[fold == 2] = 1
    check_better_than_chance(predicted, labels, ["a", "b", "c"], brought=False)
    with pytest.raises(ModelError, match="fold 3 agrees with"):
        check_every_fold(predicted, labels, fold, 3)
    check_every_fold(predicted, labels, np.full(500, -1), 3)


def test_a_fold_too_small_to_judge_is_not_blamed():
    labels = np.arange(60) % 3
    fold = np.arange(60) // 3 % 15
    predicted = np.where(fold == 4, (labels + 1) % 3, labels)
    check_every_fold(predicted, labels, fold, 3)
