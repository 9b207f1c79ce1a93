"""Plants: how many, of which images, with which label, against a slow twin; and where there is little."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2_contingency

from labelscrub.training import FoldResult, plan_plants
from labelscrub.training.planting import choose_plants

PATTERNS = np.array(  # what the scout says of an image of class 0; other classes have them rolled
    [[0.97, 0.01, 0.01, 0.01], [0.6, 0.4, 0, 0], [0.7, 0.05, 0.05, 0.2], [1, 0, 0, 0]]
)


def scouted(
    number: int = 2000, classes: int = 4, folds: int = 5, right: float = 0.8, seed: int = 0
) -> tuple[FoldResult, np.ndarray, np.ndarray]:
    """Fold 0's result on made-up labels, of which it agrees with a share `right`; labels and folds."""
    rng = np.random.default_rng(seed)
    labels, fold = np.arange(number) % classes, (np.arange(number) // classes % folds).astype(np.int16)
    index = np.flatnonzero(fold == 0)
    predicted = np.where(rng.random(len(index)) < right, labels[index], (labels[index] + 1) % classes)
    rows = np.zeros((len(PATTERNS), classes))
    rows[:, : PATTERNS.shape[1]] = PATTERNS[:, :classes]
    pattern = rng.integers(len(PATTERNS), size=len(index))
    pred_probs = rows[pattern][
        np.arange(len(index))[:, None], (np.arange(classes) - predicted[:, None]) % classes
    ]
    pred_probs = (pred_probs / pred_probs.sum(1, keepdims=True)).astype(np.float32)
    return FoldResult(0, index, pred_probs, np.full(number, np.nan, np.float32), ()), labels, fold


def slow_twin(
    scout: FoldResult, labels: np.ndarray, number: int, rng: np.random.Generator
) -> list[tuple[int, int]]:
    """The docstring's draws, one by one, where every class has room."""
    classes = scout.pred_probs.shape[1]
    p = {int(i): row.astype(float) for i, row in zip(scout.index, scout.pred_probs, strict=True)}
    left = [i for i in p if p[i].argmax() == labels[i]]
    others = {i: np.array([0 if c == labels[i] else p[i][c] for c in range(classes)]) for i in left}
    found = []
    for _ in range(number):
        weight = np.array([others[i].sum() for i in left])
        i = left.pop(rng.choice(len(left), p=weight / weight.sum()))
        found.append((i, int(rng.choice(classes, p=others[i] / others[i].sum()))))
    return found


def test_plants_are_drawn_as_a_slow_twin_draws_them() -> None:
    scout, labels, fold = scouted()
    agreed = int((scout.pred_probs.argmax(1) == labels[scout.index]).sum())
    number = min(50, int(0.15 * agreed))  # 3 % of the images trained on are 48
    confidence = dict(zip(scout.index.tolist(), scout.pred_probs.max(1).round(2).tolist(), strict=True))
    rows = sorted(set(confidence.values()))  # one of each pattern
    counts = np.zeros((2, 4, 4))  # twin or not, pattern, how far the label is off
    for trial in range(60):
        index, label = choose_plants(scout, labels, fold, 1, np.zeros(len(labels), np.bool_), trial)
        twins = slow_twin(scout, labels, number, np.random.default_rng(trial))
        for which, drawn in enumerate((list(zip(index.tolist(), label, strict=True)), twins)):
            for i, c in drawn:
                counts[which, rows.index(confidence[i]), (c - labels[i]) % 4] += 1
    assert (counts[..., 0] == 0).all()  # never the given label
    assert counts[0, rows.index(1)].sum() == 0  # the scout has no doubt there
    assert alike(counts[0], counts[1]) > 0.001
    evenly = np.array([[0, 1, 1, 1]]) * counts[0].sum(1, keepdims=True)
    assert alike(counts[0], evenly) < 1e-9  # so the test can fail


def alike(a: np.ndarray, b: np.ndarray) -> float:
    table = np.stack([a.ravel(), b.ravel()])
    return float(chi2_contingency(table[:, table.sum(0) > 0]).pvalue)


@pytest.mark.parametrize("folds", [3, 5, 10])
@pytest.mark.parametrize("classes", [2, 4, 30])
def test_a_plan_keeps_its_word(classes: int, folds: int) -> None:
    scout, labels, fold = scouted(3000, classes, folds)
    plans = plan_plants(scout, labels, fold, None, seed=3)
    agreed = scout.index[scout.pred_probs.argmax(1) == labels[scout.index]]
    assert [len(plans), len(plans[0].index)] == [folds, 0]
    trained = int((fold != 1).sum())
    expected = min(max(round(0.03 * trained), 50), int(min(0.15, 0.6 / (folds - 1)) * len(agreed)))
    assert {len(plants.index) for plants in plans[1:]} == {expected} and expected > 10
    index = np.concatenate([plants.index for plants in plans])
    assert len(np.unique(index)) == len(index) <= 0.6 * len(agreed)
    assert np.isin(index, agreed).all()
    for k, plants in enumerate(plans):
        assert (plants.label != labels[plants.index]).all()
        assert ((plants.label >= 0) & (plants.label < classes)).all()
        assert (plants.fold == k).all() and np.isnan(plants.late_margin).all()
        dtypes = [plants.index.dtype, plants.label.dtype, plants.fold.dtype, plants.late_margin.dtype]
        assert dtypes == [np.int64, np.int32, np.int16, np.float32]


def test_a_plan_is_the_seeds() -> None:
    scout, labels, fold = scouted()
    plan, again, other = (plan_plants(scout, labels, fold, None, seed) for seed in (1, 1, 2))
    for k in range(1, 5):
        assert plan[k].index.tobytes() == again[k].index.tobytes()
        assert plan[k].label.tobytes() == again[k].label.tobytes()
        assert set(plan[k].index) != set(other[k].index)
    none = np.zeros(len(labels), np.bool_)
    first, second = (set(choose_plants(scout, labels, fold, k, none, 1)[0]) for k in (1, 2))
    assert first != second  # other draws, not only other images left


def test_a_small_class_is_not_drowned_and_one_without_images_is_not_planted() -> None:
    scout, labels, fold = scouted(6000, 4)
    labels = np.where((labels == 2) & (np.arange(6000) >= 120), 0, labels)  # 30 of class 2 are left
    labels[labels == 3] = 1
    pred_probs = np.full((len(scout.index), 4), 0.01, np.float32)
    pred_probs[:, 2:] = 0.2  # the classes that the network finds likely
    pred_probs[np.arange(len(scout.index)), labels[scout.index]] = 0.57
    scout = FoldResult(0, scout.index, pred_probs, scout.aum, ())
    for k, plants in enumerate(plan_plants(scout, labels, fold, None, 0)[1:], start=1):
        room = int(0.2 * ((labels == 2) & (fold != k)).sum())
        assert 0 < room < 6
        assert np.bincount(plants.label, minlength=4)[2:].tolist() == [room, 0]
        assert len(plants.index) > room  # classes 0 and 1 are planted all the same


def test_a_class_without_images_costs_no_plant() -> None:
    scout, labels, fold = scouted(1200, 3, right=1)
    unseen = np.full((len(scout.index), 1), 0.3, np.float32)
    scout = FoldResult(0, scout.index, np.hstack([scout.pred_probs, unseen]), scout.aum, ())
    index, label = choose_plants(scout, labels, fold, 1, np.zeros(1200, np.bool_), 0)
    assert len(index) == int(0.15 * len(scout.index)) and label.max() == 2


def test_two_classes_of_which_one_has_no_room() -> None:
    scout, labels, fold = scouted(400, 2, 5, right=1)
    labels = np.where(np.arange(400) < 5, labels, 0)
    pred_probs = np.array([[0.9, 0.1], [0.1, 0.9]], np.float32)[labels[scout.index]]
    scout = FoldResult(0, scout.index, pred_probs, scout.aum, ())
    index, label = choose_plants(scout, labels, fold, 1, np.zeros(400, np.bool_), 0)
    assert set(labels[index]) <= {1} and set(label) <= {0}  # class 1 has 2 images: it can't be planted


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("number", [6, 30, 100])
@pytest.mark.parametrize("right", [0.0, 0.3, 1.0])
def test_little_data_has_few_plants_or_none(classes: int, number: int, right: float) -> None:
    scout, labels, fold = scouted(number, classes, 3, right=right)
    agreed = int((scout.pred_probs.argmax(1) == labels[scout.index]).sum())
    for plants in plan_plants(scout, labels, fold, None, 0):
        assert len(plants.index) <= 0.15 * agreed
        assert (plants.label != labels[plants.index]).all()


def test_a_scout_without_doubts_plants_every_class() -> None:
    _, labels, fold = scouted(4000, 4)
    index = np.flatnonzero(fold == 0)
    sure = FoldResult(0, index, np.eye(4, dtype=np.float32)[labels[index]], np.zeros(4000, np.float32), ())
    plans = plan_plants(sure, labels, fold, None, 0)
    away = np.concatenate([(plants.label - labels[plants.index]) % 4 for plants in plans])
    counts = np.bincount(away, minlength=4)
    assert counts[0] == 0 and counts[1:].min() > 0.25 * len(away)


def test_images_planted_elsewhere_are_not_taken_again() -> None:
    scout, labels, fold = scouted()
    agreed = scout.index[scout.pred_probs.argmax(1) == labels[scout.index]]
    taken = np.zeros(len(labels), np.bool_)
    taken[agreed[10:]] = True
    index, _ = choose_plants(scout, labels, fold, 1, taken, 0)
    assert set(index) == set(agreed[:10])


def test_an_image_with_a_copy_is_not_planted() -> None:
    scout, labels, fold = scouted(right=1)
    groups = np.arange(len(labels))
    groups[scout.index[1::2]] = scout.index[::2]  # pairs of copies, but for twenty
    alone = scout.index[:20]
    groups[alone] = alone
    groups[scout.index[1:20:2]] = scout.index[1:20:2]
    index = np.concatenate([plants.index for plants in plan_plants(scout, labels, fold, groups, 0)])
    assert len(index) and set(index) <= set(alone)
