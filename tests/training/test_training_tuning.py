"""Choosing a loss: the rule on scores with a known answer, each figure against a reference."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score
from training_cases import CLASSES, images

from labelscrub.config import LOSSES, Settings, TrainingSettings, loss_delay, loss_parameters
from labelscrub.training import tuning
from labelscrub.training.tuning import CANDIDATES, Candidate, TooFewPlantsError, tune_loss

THREE = (Candidate("ce"), Candidate("pz", {"cutoff": 0.02}, 1), Candidate("gce", {"q": 0.5}))
QUICK = TrainingSettings(epochs=2, batch_size=32, device="cpu", precision="float32")


def scores(separation: float, seed: int = 0, number: int = 1000, planted: int = 100) -> np.ndarray:
    """Margins of which the first `planted` are lower by `separation`."""
    aum = np.random.default_rng(seed).normal(size=number)
    aum[:planted] -= separation
    return aum.astype(np.float32)


PLANTED = np.arange(1000) < 100


@pytest.mark.parametrize("ties", [False, True])
def test_average_precision_is_sklearns_with_and_without_weights(ties):
    score = scores(1.0, number=300, planted=40)
    score = score.round(1) if ties else score
    wanted = np.arange(300) < 40
    weights = np.random.default_rng(1).multinomial(300, np.full(300, 1 / 300), size=5).astype(float)
    weights[0] = 1
    got = tuning.average_precisions(score, wanted, weights)
    expected = [average_precision_score(wanted, -score, sample_weight=weight) for weight in weights]
    np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_average_precision_of_a_perfect_ranking_and_of_none():
    one = np.ones((1, 1000))
    assert tuning.average_precisions(scores(100), PLANTED, one)[0] == 1
    assert tuning.average_precisions(np.zeros(1000), PLANTED, one)[0] == pytest.approx(0.1)


def test_equal_candidates_are_not_told_apart_and_the_first_is_taken():
    found = tuning.choose(THREE, np.stack([scores(2)] * 3), PLANTED, seed=0)
    assert found.chosen == 0
    assert [(t.behind, t.behind_error) for t in found.tried] == [(0, 0)] * 3


@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_that_is_clearly_better_is_taken_wherever_it_stands(place):
    aums = np.stack([scores(1.5, seed=i) for i in range(3)])
    aums[place] = scores(4)
    found = tuning.choose(THREE, aums, PLANTED, seed=0)
    assert found.chosen == place
    assert str(THREE[place]) in found.sentence()


def test_a_hair_better_is_taken_and_said_to_be_no_more():
    plain = scores(1.5)
    gain = np.zeros(1000, np.float32)
    gain[:4] = -1, 1, -1.5, 0.5  # two plants are found earlier, two later
    hair = plain + gain
    found = tuning.choose(THREE[:2], np.stack([plain, hair]), PLANTED, seed=0)
    assert found.tried[0].behind > 0
    assert found.chosen == 1
    assert found.sentence().endswith("no clear difference")


def test_the_errors_are_those_of_a_slow_paired_bootstrap():
    aums = np.stack([scores(1.5), scores(1.5) + scores(0.5, seed=1) / 2])
    found = tuning.choose(THREE[:2], aums, PLANTED, seed=3)
    rng = np.random.default_rng(99)
    slow = []
    for _ in range(400):
        drawn = rng.integers(0, 1000, 1000)
        slow.append([average_precision_score(PLANTED[drawn], -aum[drawn]) for aum in aums])
    best = int(np.argmin([t.behind for t in found.tried]))
    worse = found.tried[1 - best]
    single, paired = np.std(slow, axis=0)[1 - best], np.std(np.diff(slow, axis=1))
    assert worse.error == pytest.approx(single, rel=0.15)  # 400 samples: 3.5 % each, four of these
    assert worse.behind_error == pytest.approx(paired, rel=0.15)
    assert worse.behind_error < 0.8 * worse.error  # what pairing is for


def test_a_sample_has_each_class_in_proportion_and_all_of_few():
    labels = np.repeat([0, 1, 2], [600, 300, 100])
    drawn = tuning.draw_sample(labels, 100, seed=0)
    assert np.bincount(labels[drawn]).tolist() == [60, 30, 10]
    assert len(np.unique(drawn)) == 100
    assert not np.array_equal(drawn, tuning.draw_sample(labels, 100, seed=1))
    assert tuning.draw_sample(labels, 5_000, seed=0).tolist() == list(range(1000))


def doubts(number: int) -> tuple[np.ndarray, np.ndarray]:
    """A scout that says 0 with 0.6, 1 with 0.4 and never 2; a fifth of the labels are 1, the rest 0."""
    return np.tile(np.float32([0.6, 0.4, 0.0]), (number, 1)), np.where(np.arange(number) % 5, 0, 1)


def test_plants_are_wrong_agreed_and_what_the_scout_thinks_likely():
    p, given = doubts(3000)
    place, wrong = tuning.plant(p, given, np.array([9999] * 3), 1500, np.random.default_rng(0))
    assert len(np.unique(place)) == len(place) == 1500
    assert (given[place] == 0).all()
    assert set(wrong) == {1}  # of label 2 it thinks nothing


def test_plants_are_as_many_as_there_are_agreed_images_and_do_not_drown_a_class():
    p, given = doubts(100)
    place, wrong = tuning.plant(p, given, np.array([99, 55, 4]), 1000, np.random.default_rng(0))
    assert len(place) == (wrong == 1).sum() == 11  # a fifth of 55; of 4 images, none
    assert len(tuning.plant(p, given, np.array([999] * 3), 1000, np.random.default_rng(0))[0]) == 80


def test_candidates_are_legal_distinct_and_start_with_the_simplest():
    applied = [c.apply(TrainingSettings(loss="bl", gamma=0.4, delay=3, epochs=7)) for c in CANDIDATES]
    assert str(CANDIDATES[0]) == "ce"
    trained = {(t.loss, *loss_parameters(t).items(), loss_delay(t)) for t in applied}
    assert len(trained) == len(CANDIDATES)
    assert {t.loss for t in applied} <= set(LOSSES)
    assert all(t.epochs == 7 and t.gamma is None for t in applied)


@pytest.mark.parametrize("candidate", CANDIDATES, ids=str)
def test_options_are_the_command_lines_own(candidate):
    options = candidate.options()
    flat = dict(zip((name[2:] for name in options[::2]), options[1::2], strict=True))
    kinds = {"loss": str, "delay": int}
    settings = Settings.of({name: kinds.get(name, float)(value) for name, value in flat.items()}).training
    assert (loss_parameters(settings), loss_delay(settings)) == (dict(candidate.parameters), candidate.delay)


@pytest.fixture(scope="module")
def tuned():
    pixels, labels = images(600)
    events = []
    return tune_loss(pixels, labels, None, CLASSES, QUICK, events.append, candidates=THREE), events


def test_it_trains_each_candidate_on_four_fifths_and_plants_a_tenth(tuned):
    found, _ = tuned
    assert found.images == 480
    assert 38 <= found.planted <= 48  # fewer where the scout agrees with too few labels
    assert found.aums.shape == (3, 480)
    assert not np.array_equal(found.aums[0], found.aums[1])
    assert all(t.average_precision > 0.5 and t.seconds > 0 for t in found.tried)  # guessing: 0.1


def test_progress_counts_all_trainings_as_one(tuned):
    _, events = tuned
    assert {event.stage for event in events} == {"train"}
    counted = [event.done / event.total for event in events if event.total]
    assert counted == sorted(counted)
    assert counted[-1] == 1
    assert sum("average precision" in event.message for event in events) == 3


def test_the_same_again_is_the_same_and_what_is_remembered_is_not_trained(tuned):
    pixels, labels = images(600)
    stored: dict[str, dict] = {}

    def remember(name, compute):
        return stored.setdefault(name, compute() if name not in stored else {})

    first = tune_loss(
        pixels, labels, None, CLASSES, QUICK, lambda _: None, candidates=THREE, remember=remember
    )
    assert np.array_equal(first.aums, tuned[0].aums)
    kept = {name: stored[name] for name in ("tuning-scout", "tuning-0")}
    stored.clear()
    stored.update(kept)
    again = tune_loss(
        pixels, labels, None, CLASSES, QUICK, lambda _: None, candidates=THREE, remember=remember
    )
    assert np.array_equal(again.aums, first.aums)
    assert [math.isnan(t.seconds) for t in again.tried] == [True, False, False]
    untimed = [[dataclasses.replace(t, seconds=0) for t in each.tried] for each in (first, again)]
    assert untimed[0] == untimed[1]


def test_images_of_a_group_are_not_split_between_scout_and_plants(monkeypatch):
    pixels, labels = images(600)
    groups = np.arange(600) // 3  # of three classes each
    seen = []
    real = tuning.assign_folds
    monkeypatch.setattr(tuning, "assign_folds", lambda *a: seen.append(real(*a)) or seen[-1])
    tune_loss(pixels, labels, groups, CLASSES, QUICK, lambda _: None, candidates=THREE[:1])
    assert (seen[0].reshape(-1, 3) == seen[0].reshape(-1, 3)[:, :1]).all()


@pytest.mark.parametrize(
    ("number", "groups", "what"),
    [(90, None, "90 images"), (600, np.zeros(600, np.int64), "1 folds")],
)
def test_too_few_images_are_an_error_before_anything_is_trained(number, groups, what):
    pixels, labels = images(number)

    def never(name, compute):
        raise AssertionError(name)

    with pytest.raises(TooFewPlantsError, match=what):
        tune_loss(pixels, labels, groups, CLASSES, QUICK, lambda _: None, remember=never)


def test_a_scout_that_agrees_with_too_few_is_an_error():
    pixels, labels = images(600)
    wrong = {"p": np.eye(CLASSES, dtype=np.float32)[(labels + 1) % CLASSES]}
    fold = tuning.assign_folds(labels, None, tuning.FOLDS, 0)
    wrong["p"] = wrong["p"][fold == 0]
    with pytest.raises(TooFewPlantsError, match=r"only 0 labels .* of 120 .* agrees with 0%"):
        tune_loss(pixels, labels, None, CLASSES, QUICK, lambda _: None, remember=lambda *_: wrong)
