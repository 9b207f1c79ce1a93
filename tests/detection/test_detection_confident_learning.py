"""cleanlab's masks against a plain slow twin, written from the paper, and the joint's invariants."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cleanlab.count import estimate_joint
from cleanlab.filter import find_label_issues
from detection_cases import find, noisy
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from labelscrub.detection import confident_learning


def whole(row: NDArray[np.float64]) -> list[int]:
    """Whole numbers of the same sum, changing those furthest from what they were rounded to."""
    rounded = [round(value) for value in row]
    missing = round(sum(row)) - sum(rounded)
    step = 1 if missing > 0 else -1
    furthest = sorted(range(len(row)), key=lambda k: step * (rounded[k] - row[k]))
    for k in furthest[: abs(missing)]:
        rounded[k] += step
    return rounded


def slow_twin(
    pred_probs: NDArray[np.float64], labels: NDArray[np.integer]
) -> tuple[set[int], set[int], NDArray[np.float64]]:
    """By class, by noise rate, and the joint, one image at a time (Northcutt et al. 2021, section 3)."""
    n, num_classes = pred_probs.shape
    # equation 2: the threshold of a class is the mean self-confidence of the images given it
    threshold = [np.mean([pred_probs[i, j] for i in range(n) if labels[i] == j]) for j in range(num_classes)]
    # equation 1: count each image under the most probable of the classes whose threshold it reaches
    counts = np.zeros((num_classes, num_classes))
    for i in range(n):
        reached = [j for j in range(num_classes) if pred_probs[i, j] >= threshold[j] - 1e-6]
        if reached:
            counts[labels[i], max(reached, key=lambda j: pred_probs[i, j])] += 1
    for j in range(num_classes):
        counts[j, j] = max(counts[j, j], 1)  # cleanlab: at least one image of a class is right
    # equation 3: rows scaled to the images given each class
    size = np.bincount(labels, minlength=num_classes)
    joint = counts / counts.sum(axis=1, keepdims=True) * size[:, None]
    prune = np.array([whole(row) for row in joint])
    predicted = pred_probs.argmax(axis=1)

    by_class, by_noise_rate = set(), set()
    for j in range(num_classes):
        members = [i for i in range(n) if labels[i] == j]
        wrong = size[j] - prune[j, j]
        by_class |= set(sorted(members, key=lambda i: pred_probs[i, j])[:wrong])
        for k in range(num_classes):
            if k != j:
                margin = sorted(members, key=lambda i: pred_probs[i, j] - pred_probs[i, k])
                by_noise_rate |= set(margin[: prune[j, k]])
    # cleanlab: an image whose given label is the most probable one is not an issue
    agrees = {i for i in range(n) if predicted[i] == labels[i]}
    return by_class - agrees, by_noise_rate - agrees, joint / n


@pytest.mark.parametrize("num_classes", [2, 3, 10])
@pytest.mark.parametrize("flipped", [0.0, 0.1, 0.4])
@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_the_slow_twin(num_classes: int, flipped: float, seed: int) -> None:
    probs, labels, _ = noisy(600, num_classes, flipped, sharpness=2.5, seed=seed)
    by_class, by_noise_rate, joint = confident_learning.propose(probs, labels, np.ones(num_classes, bool))
    slow_class, slow_noise_rate, slow_joint = slow_twin(probs.astype(np.float64), labels)
    # not exactly: cells with equal counts are equally far from a whole number, and one of them gets the rest
    tied = max(2, num_classes // 2)
    assert len(set(np.flatnonzero(by_class)) ^ slow_class) <= tied
    assert len(set(np.flatnonzero(by_noise_rate)) ^ slow_noise_rate) <= tied
    np.testing.assert_allclose(joint, slow_joint, atol=1.01 / 600)
    assert flipped == 0 or len(slow_class & slow_noise_rate) > 20  # else there was nothing to compare


def test_both_is_cleanlabs_both_and_the_joint_is_its_joint() -> None:
    probs, labels, _ = noisy(1000, 6, 0.2, sharpness=3)
    by_class, by_noise_rate, joint = confident_learning.propose(probs, labels, np.ones(6, bool))
    np.testing.assert_array_equal(
        by_class & by_noise_rate, find_label_issues(labels, probs, filter_by="both", n_jobs=1)
    )
    np.testing.assert_allclose(joint, estimate_joint(labels, probs))


@given(
    seed=st.integers(0, 10_000),
    num_classes=st.integers(2, 6),
    n=st.integers(30, 120),
    flipped=st.sampled_from([0.0, 0.1, 0.3]),
)
@settings(max_examples=40, deadline=None)
def test_invariants(seed: int, num_classes: int, n: int, flipped: float) -> None:
    probs, labels, _ = noisy(n, num_classes, flipped, seed=seed)
    counts = np.bincount(labels, minlength=num_classes)
    assessed = counts >= 5
    assume(assessed.sum() >= 2)
    by_class, by_noise_rate, joint = confident_learning.propose(probs, labels, assessed)
    judged = assessed[labels]
    assert not (by_class | by_noise_rate)[~judged].any()
    np.testing.assert_allclose(joint.sum(), 1)
    np.testing.assert_allclose(joint.sum(axis=1), np.where(assessed, counts, 0) / judged.sum())  # p(given)
    assert not joint[:, ~assessed].any()
    rate, by_given = confident_learning.noise_rates(joint)
    assert 0 <= rate < 1
    np.testing.assert_array_equal(np.isnan(by_given), ~assessed)
    np.testing.assert_allclose(np.nansum(by_given * joint.sum(axis=1)), rate, atol=1e-12)
    for k in np.flatnonzero(assessed):  # never a whole class
        assert (by_class & (labels == k)).sum() < counts[k]


def test_flipped_labels_are_found_and_their_rate_estimated() -> None:
    probs, labels, true = noisy(2000, 5, 0.2, sharpness=6)
    findings, assessment = find(probs, labels)
    wrong = labels != true
    assert (findings.is_suspect & wrong).sum() / wrong.sum() > 0.95
    assert (findings.is_suspect & wrong).sum() / findings.is_suspect.sum() > 0.95
    assert abs(assessment.estimated_noise_rate - wrong.mean()) < 0.01
    np.testing.assert_array_equal(
        findings.suggested[wrong & findings.is_suspect], true[wrong & findings.is_suspect]
    )


def test_a_class_without_images_changes_nothing() -> None:
    probs, labels, _ = noisy(300, 3, 0.2)
    wide = np.insert(probs, 1, 0, axis=1)
    moved = np.array([0, 2, 3])[labels]
    findings, assessment = find(wide, moved)
    expected, _ = find(probs, labels)
    np.testing.assert_array_equal(findings.is_suspect, expected.is_suspect)
    np.testing.assert_array_equal(findings.suggested, np.array([0, 2, 3])[expected.suggested])
    assert assessment.classes[1].images == 0
    assert not assessment.classes[1].assessed
    assert np.isnan(assessment.classes[1].accuracy)
    assert assessment.not_assessed == ()  # it has no images, so nothing was left out


def test_a_small_class_does_not_draw_uncertain_images_to_it() -> None:
    """Three images of class c, which no model learnt: everybody would reach its threshold near 0."""
    probs, labels, _ = noisy(300, 2, 0.1)
    rng = np.random.default_rng(0)
    small = rng.uniform(0.001, 0.01, size=(300, 1)).astype(np.float32)
    wide = np.hstack([probs * (1 - small), small])
    labels = labels.copy()
    labels[:3] = 2
    findings, assessment = find(wide, labels, folds=5)
    without, _ = find(probs[3:], labels[3:], folds=5)
    np.testing.assert_array_equal(findings.is_suspect[3:], without.is_suspect)
    assert not findings.is_suspect[:3].any()
    assert not findings.assessed[:3].any() and findings.assessed[3:].all()
    assert assessment.not_assessed == ("c",)
    assert np.isnan(assessment.classes[2].estimated_noise_rate)


def test_the_copy_that_cleanlab_keeps_is_dropped_after_each_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    from cleanlab import filter as pruning

    probs, labels, _ = noisy()
    kept: list[bool] = []
    prune = pruning.find_label_issues

    def spy(*args: Any, **more: Any) -> Any:
        kept.append(bool(pruning.pred_probs_by_class))
        return prune(*args, **more)

    monkeypatch.setattr(pruning, "pred_probs_by_class", {}, raising=False)
    monkeypatch.setattr(pruning, "find_label_issues", spy)
    find(probs, labels)
    assert kept == [False, False]
    assert not pruning.pred_probs_by_class


def test_a_class_that_no_label_names_is_found_where_the_model_knows_it() -> None:
    """Labels of class c come from elsewhere: ten images look like it, none is labelled so."""
    probs, labels, _ = noisy(300, 3, 0.0, sharpness=6)
    labels = np.where(labels == 2, 0, labels)
    looks_like_c = np.flatnonzero((probs.argmax(axis=1) == 2) & (labels == 0))
    keep = np.setdiff1d(np.arange(300), looks_like_c[10:])
    probs, labels = probs[keep], labels[keep]
    findings, assessment = find(probs, labels)
    expected = probs.argmax(axis=1) == 2
    assert expected.sum() == 10
    assert (findings.is_suspect & expected).sum() >= 8
    assert (findings.suggested[findings.is_suspect & expected] == 2).all()
    assert assessment.estimated_noise_rate == pytest.approx(expected.mean(), abs=0.02)
    assert np.isnan(assessment.classes[2].estimated_noise_rate) and assessment.not_assessed == ()


def test_a_class_that_the_model_does_not_know_is_not_assessed() -> None:
    probs, labels, _ = noisy(300, 2, 0.1)
    wide = np.insert(probs, 2, 0, axis=1)
    labels = labels.copy()
    labels[:30] = 2
    findings, assessment = find(wide, labels)
    without, _ = find(probs[30:], labels[30:])
    assert assessment.not_assessed == ("c",)
    assert not findings.is_suspect[:30].any() and not findings.assessed[:30].any()
    np.testing.assert_array_equal(findings.is_suspect[30:], without.is_suspect)
