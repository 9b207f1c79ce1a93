"""The whole estimate in a world where the truth is known; see `calibrated_cases.world`."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import cache

import numpy as np
import pytest
from calibrated_cases import Floats, World, pair, uniform, world

from labelscrub.detection.calibrated import Estimate, calibrate, estimate
from labelscrub.records import Evidence, Plants, Predictions

K = 4
NOISE = {"none": uniform(K, 0), "even": uniform(K, 0.2), "pair": pair(K, 0.2)}
MANY, FEW = 20_000, 1000


@cache
def run(noise: str, n: int, seed: int = 0) -> tuple[World, Estimate]:
    """Shared: nothing writes to it."""
    made = world(n, NOISE[noise], seed=seed)
    return made, made.estimate()


@cache
def sharp_nowhere() -> World:
    """No two images as sure, so that nothing hangs on the order of ties."""
    return world(FEW, NOISE["pair"], hard=1.0, dtype=np.float64)


def auroc(score: Floats, wrong: np.ndarray) -> float:
    ranks = np.argsort(np.argsort(score, kind="stable"), kind="stable")[wrong]
    return float((ranks.mean() - (wrong.sum() - 1) / 2) / (~wrong).sum())


def calibration_error(e: Floats, wrong: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error, bins of equal width."""
    place = np.minimum((e * bins).astype(int), bins - 1)
    gaps = [abs(e[place == k].sum() - wrong[place == k].sum()) for k in range(bins)]
    return float(sum(gaps)) / len(e)


def subset(made: World, index: np.ndarray) -> World:
    """The same images in another order, each plant where its image is."""
    p, e = made.predictions, made.predictions.evidence
    assert e is not None
    place = np.full(len(made.labels), -1)
    place[index] = np.arange(len(index))
    kept = place[e.plants.index] >= 0
    plants = Plants(
        place[e.plants.index[kept]], e.plants.label[kept], e.plants.fold[kept], e.plants.late_margin[kept]
    )
    evidence = Evidence(e.train_probs[index], e.late_margin[index], e.mean_logits[index], plants)
    predictions = Predictions(p.pred_probs[index], p.fold[index], p.aum[index], evidence=evidence)
    return World(predictions, made.labels[index], made.wrong[index], made.transition)


@pytest.mark.parametrize("noise", NOISE)
def test_converges_to_the_truth(noise: str) -> None:
    made, found = run(noise, MANY if noise == "even" else MANY // 4)
    truth = np.bincount(made.labels[made.wrong], minlength=K) / np.bincount(made.labels, minlength=K)
    assert found.noise_rate == pytest.approx(made.noise_rate, abs=0.02)
    np.testing.assert_allclose(found.class_noise_rates, truth, atol=0.05)
    np.testing.assert_allclose(found.transition, made.transition, atol=0.05)
    assert found.low <= found.noise_rate <= found.high
    assert calibration_error(found.error_probability, made.wrong) < 0.03
    if noise != "none":
        assert auroc(found.error_probability, made.wrong) > 0.97


def test_more_images_come_nearer() -> None:
    few = [run("even", FEW, seed) for seed in range(6)]
    error = np.sqrt(np.mean([(found.noise_rate - made.noise_rate) ** 2 for made, found in few]))
    made, found = run("even", MANY)
    assert abs(found.noise_rate - made.noise_rate) < error
    assert found.high - found.low < np.mean([one.high - one.low for _, one in few])
    truth = made.transition
    assert np.abs(found.transition - truth).max() < np.mean(
        [np.abs(f.transition - truth).max() for _, f in few]
    )


def test_the_interval_holds_the_truth() -> None:
    """19 of 20 in the mean; fewer than 17 happen to a true 95 % interval once in 60 times."""
    held = 0
    for seed in range(20):
        made, found = run("even", FEW, seed)
        held += found.low <= made.noise_rate <= found.high
    assert held >= 17


def test_figures_fit_together() -> None:
    made, found = run("pair", FEW)
    e = found.error_probability
    assert ((e >= 0) & (e <= 1)).all()
    assert found.noise_rate == pytest.approx(e.mean())
    counts = np.bincount(made.labels)
    assert found.class_noise_rates @ counts / counts.sum() == pytest.approx(e.mean())
    np.testing.assert_allclose(found.class_noise_rates, [e[made.labels == k].mean() for k in range(K)])
    np.testing.assert_allclose(found.transition.sum(axis=1), 1)
    again = made.estimate()
    for field in fields(Estimate):
        np.testing.assert_array_equal(getattr(found, field.name), getattr(again, field.name))


def test_noise_of_one_class_is_put_there() -> None:
    t = np.eye(K)
    t[1] = [0.4, 0.6, 0, 0]
    made = world(4000, t)
    found = made.estimate()
    np.testing.assert_allclose(found.transition, t, atol=0.08)
    assert found.class_noise_rates.argmax() == 0  # what is given as 0 is wrong
    assert found.class_noise_rates[0] == pytest.approx(0.4 / 1.4, abs=0.05)
    assert (found.class_noise_rates[1:] < 0.05).all()


def test_order_of_images_does_not_matter() -> None:
    made = sharp_nowhere()
    found = made.estimate()
    order = np.random.default_rng(0).permutation(FEW)
    shuffled = subset(made, order).estimate()
    np.testing.assert_allclose(shuffled.error_probability, found.error_probability[order], atol=1e-9)
    np.testing.assert_allclose(shuffled.transition, found.transition, atol=1e-9)
    assert (shuffled.low, shuffled.high) == pytest.approx((found.low, found.high))


def test_names_of_classes_do_not_matter() -> None:
    made = sharp_nowhere()
    found = made.estimate()
    new = np.array([2, 0, 3, 1])  # class k is now new[k]
    back = np.argsort(new)
    p, e = made.predictions, made.predictions.evidence
    assert e is not None
    evidence = replace(
        e,
        train_probs=e.train_probs[:, back],
        mean_logits=e.mean_logits[:, back],
        plants=replace(e.plants, label=new[e.plants.label].astype(np.int32)),
    )
    renamed = calibrate(
        replace(p, pred_probs=p.pred_probs[:, back], evidence=evidence), new[made.labels], np.ones(K, bool)
    )
    np.testing.assert_allclose(renamed.error_probability, found.error_probability, atol=1e-6)
    np.testing.assert_allclose(renamed.transition[np.ix_(new, new)], found.transition, atol=1e-6)


def test_float32_probabilities_are_as_good_as_float64() -> None:
    made = sharp_nowhere()
    p, e = made.predictions, made.predictions.evidence
    assert e is not None
    short = replace(
        p,
        pred_probs=p.pred_probs.astype(np.float32),
        evidence=replace(e, train_probs=e.train_probs.astype(np.float32)),
    )
    rough = calibrate(short, made.labels.astype(np.int32), np.ones(K, bool))
    np.testing.assert_allclose(rough.error_probability, made.estimate().error_probability, atol=1e-3)
    assert rough.error_probability.dtype == np.float64


def test_what_training_on_it_showed_counts() -> None:
    """Of the doubtful images some look, in training, as if their label were right."""
    made, found = run("even", FEW)
    e = made.predictions.evidence
    assert e is not None
    doubtful = np.flatnonzero(np.abs(found.error_probability - 0.5) < 0.3)
    believed = doubtful[::3]
    inside = e.train_probs.copy()
    inside[believed] = np.where(np.eye(K, dtype=bool)[made.labels[believed]], 0.8, 0.2 / (K - 1))
    predictions = replace(made.predictions, evidence=replace(e, train_probs=inside))
    change = calibrate(predictions, made.labels, np.ones(K, bool)).error_probability - found.error_probability
    assert len(believed) > 10
    assert change[believed].max() < -0.05
    assert np.abs(np.delete(change, believed)).mean() < 0.02


def test_overconfidence_makes_no_difference() -> None:
    """p^3 and, in training, p^2: tempering undoes both but for a step of its grid."""
    made, found = run("even", 5000)
    p, e = made.predictions, made.predictions.evidence
    assert e is not None
    bold, bolder = (
        q**k / (q**k).sum(axis=1, keepdims=True) for q, k in ((e.train_probs, 2), (p.pred_probs, 3))
    )
    sharpened = replace(p, pred_probs=bolder, evidence=replace(e, train_probs=bold))
    again = calibrate(sharpened, made.labels, np.ones(K, bool))
    assert np.abs(again.error_probability - found.error_probability).mean() < 0.01
    assert again.noise_rate == pytest.approx(found.noise_rate, abs=0.01)


def test_rows_that_sum_to_nearly_one_are_divided_by_their_sum() -> None:
    made = sharp_nowhere()
    found = made.estimate()
    scaled = replace(made.predictions, pred_probs=made.predictions.pred_probs * 0.995)
    again = calibrate(scaled, made.labels, np.ones(K, bool))
    np.testing.assert_allclose(again.error_probability, found.error_probability, atol=1e-9)


def test_a_sample_to_choose_by_gives_nearly_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    made, found = run("even", MANY)
    monkeypatch.setattr(estimate, "FITTED_IMAGES", 5000)
    sampled = made.estimate()
    assert len(sampled.error_probability) == MANY
    assert np.abs(sampled.error_probability - found.error_probability).mean() < 0.01
    assert sampled.noise_rate == pytest.approx(found.noise_rate, abs=0.01)


def test_the_sample_is_always_the_same_and_has_no_image_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "FITTED_IMAGES", 50)
    assert estimate._drawn(50).tolist() == list(range(50))
    drawn = estimate._drawn(200)
    assert len(np.unique(drawn)) == len(drawn) == 50
    assert drawn.max() > 100
    np.testing.assert_array_equal(drawn, estimate._drawn(200))


def test_classes_not_assessed_take_no_part() -> None:
    """As if neither their images nor the classes were there; their plants neither."""
    made = world(1500, uniform(5, 0.1), classes=np.array([0.3, 0.3, 0.05, 0.35, 0.0]) / 1.0)
    assessed = np.array([True, True, False, True, False])
    found = made.estimate(assessed)
    out = ~assessed[made.labels]
    assert out.any()
    np.testing.assert_array_equal(np.isnan(found.error_probability), out)
    np.testing.assert_array_equal(np.isnan(found.class_noise_rates), ~assessed)
    np.testing.assert_array_equal(np.isnan(found.transition).any(axis=1), ~assessed)
    assert found.noise_rate == pytest.approx(np.nanmean(found.error_probability))
    kept = subset(made, np.flatnonzero(~out))
    pred_probs = kept.predictions.pred_probs * assessed
    alone = replace(kept, predictions=replace(kept.predictions, pred_probs=pred_probs)).estimate(assessed)
    np.testing.assert_array_equal(alone.error_probability, found.error_probability[~out])
    assert (alone.low, alone.high) == (found.low, found.high)


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.35])
def test_two_classes(rate: float) -> None:
    made = world(4000, uniform(2, rate))
    found = made.estimate()
    assert found.noise_rate == pytest.approx(made.noise_rate, abs=0.03)
    np.testing.assert_allclose(found.transition, made.transition, atol=0.05)


def test_a_hundred_classes_of_few_images() -> None:
    made = world(1000, uniform(100, 0.2))
    found = made.estimate()
    assert np.bincount(made.labels).max() < 25
    assert np.isfinite(found.error_probability).all()
    assert found.noise_rate == pytest.approx(made.noise_rate, abs=0.05)
    assert auroc(found.error_probability, made.wrong) > 0.95
    np.testing.assert_allclose(found.transition.sum(axis=1), 1)


def test_a_small_class_beside_large_ones() -> None:
    made = world(5020, uniform(3, 0.1), classes=np.array([2500, 2500, 20]) / 5020)
    found = made.estimate()
    small = made.labels == 2
    assert found.noise_rate == pytest.approx(made.noise_rate, abs=0.02)
    # 1 in 20 of each large class is given as the small one: most that carry its name are wrong.
    assert made.wrong[small].mean() > 0.8
    assert found.class_noise_rates[2] == pytest.approx(made.wrong[small].mean(), abs=0.1)


def test_a_class_never_predicted() -> None:
    made = world(2000, uniform(K, 0.1))
    p = made.predictions.pred_probs.copy()
    p[:, 3] = np.minimum(p[:, 3], 0.9 * p[:, :3].max(axis=1))
    p /= p.sum(axis=1, keepdims=True)
    assert (p.argmax(axis=1) != 3).all()
    assert made.predictions.evidence is not None
    found = calibrate(replace(made.predictions, pred_probs=p), made.labels, np.ones(K, bool))
    assert np.isfinite(found.error_probability).all()
    assert np.isfinite(found.transition).all()
    assert 0 <= found.low <= found.noise_rate <= found.high <= 1


def test_a_class_the_model_does_not_know() -> None:
    """Its column is zero: its images are not assessed, the others' figures stay right."""
    made = world(3000, uniform(K, 0.1), classes=np.array([0.32, 0.32, 0.32, 0.04]))
    e = made.predictions.evidence
    assert e is not None

    def without(p: np.ndarray) -> np.ndarray:
        p = p.copy()
        p[:, 3] = 0
        return p / p.sum(axis=1, keepdims=True)

    predictions = replace(
        made.predictions,
        pred_probs=without(made.predictions.pred_probs),
        evidence=replace(e, train_probs=without(e.train_probs)),
    )
    assessed = np.array([True, True, True, False])
    found = calibrate(predictions, made.labels, assessed)
    kept = assessed[made.labels]
    assert np.isfinite(found.error_probability[kept]).all()
    assert found.noise_rate == pytest.approx(made.wrong[kept].mean(), abs=0.04)


@pytest.mark.parametrize("n", [8, 30])
def test_very_few_images(n: int) -> None:
    made = world(n, uniform(2, 0.2), plants=0.5)
    found = made.estimate()  # too few plants for gains, fewer images than bins
    assert np.isfinite(found.error_probability).all()
    assert 0 <= found.low <= found.noise_rate <= found.high <= 1


def test_a_model_that_agrees_with_every_label() -> None:
    labels = np.arange(300) % 3
    p = np.where(np.eye(3, dtype=bool)[labels], 0.98, 0.01).astype(np.float32)
    nothing = Plants(
        np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0, np.int16), np.zeros(0, np.float32)
    )
    evidence = Evidence(p, np.ones(300, np.float32), np.log(p), nothing)
    predictions = Predictions(p, np.zeros(300, np.int16), np.ones(300, np.float32), evidence=evidence)
    found = calibrate(predictions, labels, np.ones(3, bool))
    assert found.noise_rate < 0.01
    np.testing.assert_allclose(found.transition, np.eye(3), atol=0.01)


def test_gains_tell_wrong_labels_that_the_probabilities_take_for_doubt() -> None:
    """The same run, but every label that the network disagrees with learnt like a wrong, or a right one."""
    made = world(3000, uniform(K, 0.1), hard=0.6, plants=0.5)
    e = made.predictions.evidence
    assert e is not None
    disagrees = made.predictions.pred_probs.argmax(axis=1) != made.labels
    right = (disagrees & ~made.wrong).astype(np.float32)
    wrong, plain = (
        calibrate(
            replace(made.predictions, evidence=replace(e, late_margin=e.late_margin + shift)),
            made.labels,
            np.ones(K, bool),
        )
        for shift in (-2 * right, np.float32(0))
    )
    assert wrong.noise_rate > plain.noise_rate + 0.02


def test_needs_evidence() -> None:
    made, _ = run("even", FEW)
    with pytest.raises(ValueError, match="evidence"):
        calibrate(replace(made.predictions, evidence=None), made.labels, np.ones(K, bool))
