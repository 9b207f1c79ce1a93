import tracemalloc

import numpy as np
import pytest
from detection_cases import find, noisy

from labelscrub.detection.listed import POOL, SHOWN, details


def pictures(labels, num_classes, *, side=8, channels=1, seed=0):
    """(N, S, S, C) noise around a picture of each class."""
    rng = np.random.default_rng(seed)
    bases = rng.integers(60, 190, (num_classes, side, side, channels))
    return (bases[labels] + rng.integers(-30, 30, (len(labels), side, side, channels))).astype(np.uint8)


@pytest.fixture
def case():
    probs, given, _ = noisy(300, 6)
    findings, _ = find(probs, given)
    return probs, given, findings


def test_the_listed_images_are_described_and_no_others(case):
    probs, _, findings = case
    found = details(findings, probs, np.zeros((300, 0, 0, 1), np.uint8))
    assert found.index.tolist() == np.flatnonzero(findings.is_suspect).tolist()
    assert len(found.index) > 20
    assert (found.example_given == -1).all() and (found.example_suggested == -1).all()


def test_top_classes_are_those_of_a_plain_sort(case):
    probs, _, findings = case
    found = details(findings, probs, np.zeros((300, 0, 0, 1), np.uint8))
    for at, i in enumerate(found.index):
        wanted = sorted(range(6), key=lambda k: (-probs[i, k], k))[:SHOWN]
        assert found.top[at].tolist() == wanted
        assert found.top_probs[at].tolist() == probs[i, wanted].tolist()
        assert found.suggested_prob[at] == probs[i, findings.suggested[i]]


def test_equal_probabilities_come_in_class_order_and_few_classes_give_few():
    true = np.arange(80) % 2
    probs = np.eye(2, dtype=np.float32)[true] * 0.9 + np.float32(0.05)
    labels = true.copy()
    labels[:6] = 1 - labels[:6]
    findings, _ = find(probs, labels)
    probs[0] = 0.5
    found = details(findings, probs, np.zeros((80, 0, 0, 1), np.uint8))
    assert found.index.tolist() == [0, 1, 2, 3, 4, 5]
    assert found.top.tolist() == [[0, 1], [1, 0], [0, 1], [1, 0], [0, 1], [1, 0]]
    assert found.top_probs[0].tolist() == [0.5, 0.5]


@pytest.mark.parametrize(("side", "channels"), [(8, 1), (16, 3), (37, 3)])
def test_examples_are_the_most_alike_of_the_rightly_labelled(case, side, channels):
    probs, given, findings = case
    pixels = pictures(given, 6, side=side, channels=channels)
    found = details(findings, probs, pixels)
    step = max(1, side // 16)
    whole = side // step * step

    def small(i):  # plain twin: mean of each block, centred, of length 1
        image = pixels[i, :whole, :whole].astype(float)
        blocks = [
            image[r : r + step, c : c + step].mean(axis=(0, 1))
            for r in range(0, whole, step)
            for c in range(0, whole, step)
        ]
        flat = np.ravel(blocks)
        flat = flat - flat.mean()
        return flat / np.linalg.norm(flat)

    for at in range(0, len(found.index), 5):
        i = found.index[at]
        for label, example in (
            (given[i], found.example_given[at]),
            (findings.suggested[i], found.example_suggested[at]),
        ):
            right = [
                j
                for j in range(300)
                if given[j] == label and probs[j].argmax() == label and not findings.is_suspect[j]
            ]
            alike = [small(i) @ small(j) for j in right]
            assert example in right
            assert alike[right.index(example)] == pytest.approx(max(alike), abs=1e-6)


def test_a_class_without_a_rightly_labelled_image_has_no_example(case):
    probs, given, findings = case
    findings.suggested[(given == 2) & ~findings.is_suspect] = 1  # the model agrees with none of class 2
    found = details(findings, probs, pictures(given, 6))
    assert (found.example_given[given[found.index] == 2] == -1).all()
    assert (found.example_given[given[found.index] != 2] >= 0).all()


def test_conflicting_duplicates_are_listed_but_are_no_examples(case):
    probs, given, findings = case
    calm = np.flatnonzero(~findings.is_suspect)[:40]
    findings.conflict[calm] = 1
    found = details(findings, probs, pictures(given, 6))
    assert set(calm) <= set(found.index)
    assert not set(found.example_given) & set(calm) and not set(found.example_suggested) & set(calm)


def test_large_classes_offer_a_bounded_number_of_sure_examples():
    probs, given, _ = noisy(6 * (2 * POOL + 300), 6)
    findings, _ = find(probs, given)
    found = details(findings, probs, pictures(given, 6))
    used = np.concatenate([found.example_given, found.example_suggested])
    assert (used >= 0).all()
    for label in range(6):
        mine = np.unique(used[given[used] == label])
        assert 50 < len(mine) <= POOL
        right = (given == label) & ~findings.is_suspect & (findings.suggested == label)
        middle = np.median(findings.self_confidence[right])
        assert (findings.self_confidence[mine] >= middle).all()


def test_candidates_of_all_classes_are_not_held_at_once():
    """1,000 classes of 500 candidates would be 1.5 GB."""
    num_classes = 40
    true = np.arange(40 * 200) % num_classes
    given = true.copy()
    given[:80] = (given[:80] + 1) % num_classes
    probs = np.eye(num_classes, dtype=np.float32)[true] * np.float32(0.9) + np.float32(0.1 / num_classes)
    findings, _ = find(probs, given, classes=[str(k) for k in range(num_classes)])
    pixels = np.random.default_rng(0).integers(0, 256, (len(true), 16, 16, 3), np.uint8)
    tracemalloc.start()
    try:
        found = details(findings, probs, pixels)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (found.example_given >= 0).all() and len(found.index) == 80
    of_all = len(true) * 16 * 16 * 3 * 4
    assert peak < of_all / 2


def test_only_the_first_ranks_get_examples(case, monkeypatch):
    probs, given, findings = case
    monkeypatch.setattr("labelscrub.detection.listed.EXAMPLES_FOR", 7)
    found = details(findings, probs, pictures(given, 6))
    assert sorted(findings.rank[found.index[found.example_given >= 0]]) == list(range(1, 8))


def test_pictures_of_one_colour_are_compared_without_a_warning(case):
    probs, _, findings = case
    found = details(findings, probs, np.full((300, 8, 8, 1), 7, np.uint8))
    assert (found.example_given >= 0).all()


def test_no_suspect_gives_empty_details():
    probs = np.eye(3, dtype=np.float32)[np.arange(60) % 3] * 0.9 + np.float32(0.1 / 3)
    findings, _ = find(probs, np.arange(60) % 3)
    found = details(findings, probs, np.zeros((60, 8, 8, 1), np.uint8))
    assert len(found.index) == 0 and found.top.shape == (0, 3) and found.top_probs.shape == (0, 3)
