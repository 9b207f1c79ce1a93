"""Confident learning against a plain slow twin and against cleanlab, and the joint's invariants."""

from __future__ import annotations

import tracemalloc
from typing import Any

import cleanlab_oracle
import numpy as np
import pytest
from cleanlab.count import estimate_joint
from cleanlab.filter import find_label_issues
from detection_cases import find, noisy
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from labelscrub.detection import chunks, confident_learning


def whole(row: NDArray[np.float64]) -> list[int]:
    """Whole numbers of the same sum, changing those furthest from what they were rounded to.

    Among equals the last class gains one, the first loses one.
    """
    rounded = [round(value) for value in row]
    missing = round(sum(row)) - sum(rounded)
    step = 1 if missing > 0 else -1
    furthest = sorted(range(len(row)), key=lambda k: row[k] - rounded[k])[::-step]
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
    # equation 1: count each image under the class whose threshold it reaches
    counts = np.zeros((num_classes, num_classes))
    for i in range(n):
        reached = [j for j in range(num_classes) if pred_probs[i, j] >= threshold[j] - 1e-6]
        if len(reached) > 1:
            # the paper: the most probable of them; cleanlab: of all classes
            reached = [max(range(num_classes), key=lambda j: pred_probs[i, j])]
        for j in reached:
            counts[labels[i], j] += 1
    for j in range(num_classes):
        counts[j, j] = max(counts[j, j], 1)  # cleanlab: at least one image of a class is right
    # equation 3: rows scaled to the images given each class
    size = np.bincount(labels, minlength=num_classes)
    calibrated = np.array([whole(row) for row in counts / counts.sum(axis=1, keepdims=True) * size[:, None]])
    prune = calibrated.copy()
    for j in range(num_classes):
        if prune[j, j] == 0:  # cleanlab: one image is kept, at the cost of one in each other cell
            prune[j] = [max(count - 1, 0) for count in prune[j]]
            prune[j, j] = 1

    by_class, by_noise_rate = set(), set()
    for j in range(num_classes):
        members = [i for i in range(n) if labels[i] == j]  # sorted is stable: ties to the lower row
        wrong = size[j] - prune[j, j]
        by_class |= set(sorted(members, key=lambda i: pred_probs[i, j])[:wrong])
        for k in range(num_classes):
            if k != j:
                margin = sorted(members, key=lambda i: pred_probs[i, j] - pred_probs[i, k])
                by_noise_rate |= set(margin[: prune[j, k]])
    # cleanlab: an image whose given label is the most probable one is not an issue
    nudged = pred_probs + 1e-6 * (labels[:, None] == np.arange(num_classes))
    agrees = {i for i in range(n) if nudged[i].argmax() == labels[i]}
    return by_class - agrees, by_noise_rate - agrees, calibrated / n


@pytest.mark.parametrize("num_classes", [2, 3, 10])
@pytest.mark.parametrize("flipped", [0.0, 0.1, 0.4])
@pytest.mark.parametrize("decimals", [None, 1])
def test_agrees_with_the_slow_twin(num_classes: int, flipped: float, decimals: int | None) -> None:
    """Rounded to one decimal, many values are equal at every cut."""
    probs, labels, _ = noisy(600, num_classes, flipped, sharpness=2.5)
    probs = probs.astype(np.float64) if decimals is None else probs.astype(np.float64).round(decimals)
    by_class, by_noise_rate, joint = confident_learning.propose(probs, labels, np.ones(num_classes, bool))
    slow_class, slow_noise_rate, slow_joint = slow_twin(probs, labels)
    assert set(np.flatnonzero(by_class)) == slow_class
    assert set(np.flatnonzero(by_noise_rate)) == slow_noise_rate
    np.testing.assert_array_equal(joint, slow_joint)
    assert flipped == 0 or len(slow_class & slow_noise_rate) > 20  # else there was nothing to compare


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exp / exp.sum(axis=1, keepdims=True)


def random_case(kind: str, seed: int) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.bool_]]:
    """Probabilities (N, K), labels (N,) of at least two classes, and which classes are assessed (K,)."""
    rng = np.random.default_rng(seed)
    n, num_classes = int(rng.integers(20, 300)), int(rng.integers(2, 12))
    prior = rng.dirichlet(np.full(num_classes, 0.4 if kind == "imbalanced" else 50))
    true = rng.choice(num_classes, n, p=prior)
    given = np.where(rng.random(n) < rng.uniform(0, 0.5), rng.integers(0, num_classes, n), true)
    given[:2] = [0, 1]
    logits = rng.normal(size=(n, num_classes))
    logits[np.arange(n), true] += rng.uniform(0.5, 5)
    probs = softmax(logits * (30 if kind == "saturated" else 1))
    if kind == "coarse":  # eighths: sums and margins are exact, and many are equal
        probs = np.array([rng.multinomial(8, row / row.sum()) for row in probs]) / 8
    assessed = np.ones(num_classes, bool)
    if kind == "unlabelled classes" and num_classes > 2:
        given = np.where(given == num_classes - 1, 0, given)
        assessed[-1] = bool(rng.integers(2))
    if kind == "not all assessed":
        assessed[2:] = rng.random(num_classes - 2) < 0.6
    if kind == "unknown classes" and num_classes > 2:
        probs[:, 2] = 0
        probs /= np.maximum(probs.sum(axis=1, keepdims=True), 1e-30)
        assessed[2] = False
    if kind == "one image":  # of the last class
        given = np.where(given == num_classes - 1, 0, given)
        given[2] = num_classes - 1
        given[:2] = [0, 1]
    if kind == "one-hot":
        probs = np.eye(num_classes)[probs.argmax(axis=1)]
    return probs.astype(np.float64 if kind == "float64" else np.float32), given, assessed


@pytest.mark.parametrize(
    "kind",
    [
        "float32",
        "float64",
        "imbalanced",
        "saturated",
        "coarse",
        "one-hot",
        "unlabelled classes",
        "unknown classes",
        "not all assessed",
        "one image",
    ],
)
def test_is_cleanlabs_to_the_last_image_where_its_sorts_are_stable(kind: str) -> None:
    found = 0
    with cleanlab_oracle.stable_sorts():
        for seed in range(40):
            case = random_case(kind, seed)
            expected = cleanlab_oracle.propose(*case)
            for ours, theirs in zip(confident_learning.propose(*case), expected, strict=True):
                np.testing.assert_array_equal(ours, theirs, err_msg=f"{kind}, seed {seed}")
            found += int((expected[0] & expected[1]).sum())
    assert found > 100  # else there was nothing to compare


def test_both_is_cleanlabs_both_and_the_joint_is_its_joint() -> None:
    """By its front door: nothing computed beforehand."""
    probs, labels, _ = noisy(1000, 6, 0.2, sharpness=3)
    by_class, by_noise_rate, joint = confident_learning.propose(probs, labels, np.ones(6, bool))
    with cleanlab_oracle.stable_sorts():
        both = find_label_issues(labels, probs, filter_by="both", n_jobs=1)
        np.testing.assert_allclose(joint, estimate_joint(labels, probs))
    np.testing.assert_array_equal(by_class & by_noise_rate, both)
    assert both.any()


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


def test_among_equals_the_lower_row_is_proposed() -> None:
    """Ten of 20 images are given 0; the last five of them look like 1, four of these equally."""
    labels = np.arange(20) // 10
    probs = np.where(np.eye(2, dtype=bool)[labels], 0.9, 0.1)
    probs[5:10] = [0.2, 0.8]
    probs[9] = [0.1, 0.9]
    by_class, by_noise_rate, joint = confident_learning.propose(probs, labels, np.ones(2, bool))
    # thresholds 0.54 and 0.9: five given 0 reach the first, one the second; of ten that is 8.33 and 1.67
    np.testing.assert_array_equal(joint * 20, [[8, 2], [0, 10]])
    assert np.flatnonzero(by_class).tolist() == [5, 9]
    assert np.flatnonzero(by_noise_rate).tolist() == [5, 9]


@pytest.mark.parametrize("kind", ["float32", "coarse", "not all assessed"])
@pytest.mark.parametrize(("values", "threads"), [(1, 2), (100, 3), (100, 1)])
def test_neither_the_chunks_nor_the_threads_change_anything(
    monkeypatch: pytest.MonkeyPatch, kind: str, values: int, threads: int
) -> None:
    case = random_case(kind, 3)
    expected = confident_learning.propose(*case)
    monkeypatch.setattr(chunks, "CHUNK_VALUES", values)
    monkeypatch.setattr(chunks, "cores", lambda: threads)
    for ours, whole_matrix in zip(confident_learning.propose(*case), expected, strict=True):
        np.testing.assert_array_equal(ours, whole_matrix)


@pytest.mark.parametrize("assessed", ["all", "some"])
def test_the_matrix_is_read_in_place(tmp_path: Any, monkeypatch: pytest.MonkeyPatch, assessed: str) -> None:
    """A read-only memory map, by rows or by columns, of which no copy is made."""
    monkeypatch.setattr(chunks, "CHUNK_VALUES", 1 << 14)
    probs, labels, _ = noisy(20_000, 100, 0.1, sharpness=5)
    judged = np.ones(100, bool)
    judged[:10] = assessed == "all"
    for name, order in (("rows", "C"), ("columns", "F")):
        np.save(tmp_path / f"{name}.npy", np.asarray(probs, order=order))
    rows = np.load(tmp_path / "rows.npy", mmap_mode="r")
    tracemalloc.start()
    try:
        expected = confident_learning.propose(rows, labels, judged)
        assert tracemalloc.get_traced_memory()[1] < 0.3 * rows.nbytes
    finally:
        tracemalloc.stop()
    columns = np.load(tmp_path / "columns.npy", mmap_mode="r")
    for by_columns, by_rows in zip(
        confident_learning.propose(columns, labels, judged), expected, strict=True
    ):
        np.testing.assert_array_equal(by_columns, by_rows)
        assert by_rows.any()


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
