"""Gains against scikit-learn's ridge, and their standard error against what happens over many plantings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from calibrated_cases import Floats, Ints, World, uniform, world
from sklearn.linear_model import Ridge

from labelscrub.detection.calibrated.gain import FEWEST_PLANTS, RIDGE, gains, margins_of
from labelscrub.detection.calibrated.power import RIGHT_GAIN
from labelscrub.records import Evidence, Plants


def of(made: World) -> tuple[Floats, Ints, Evidence]:
    assert made.predictions.evidence is not None
    return np.log(made.predictions.pred_probs.astype(float) + 1e-6), made.labels, made.predictions.evidence


def without(evidence: Evidence, kept: np.ndarray) -> Evidence:
    p = evidence.plants
    some = Plants(p.index[kept], p.label[kept], p.fold[kept], p.late_margin[kept])
    return Evidence(evidence.train_probs, evidence.late_margin, evidence.mean_logits, some)


def slow_margin(row: Floats, label: int) -> float:
    return float(row[label] - max(value for k, value in enumerate(row) if k != label))


@pytest.mark.parametrize("num_classes", [2, 3, 10])
def test_margins(num_classes: int) -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(50, num_classes)), rng.integers(0, num_classes, 50)
    before = logits.copy()
    expected = [slow_margin(row, label) for row, label in zip(logits, labels, strict=True)]
    np.testing.assert_allclose(margins_of(logits, labels), expected)
    np.testing.assert_array_equal(logits, before)  # not written to


@pytest.mark.parametrize("plants", [60, 600])  # with few, the ridge matters
@pytest.mark.parametrize("num_classes", [2, 10])
def test_against_ridge_regression(plants: int, num_classes: int) -> None:
    log_p, labels, evidence = of(world(1500, uniform(num_classes, 0.2), plants=0.6))
    evidence = without(evidence, np.arange(plants))
    found = gains(log_p, labels, evidence)
    assert found is not None

    def terms(log_p: Floats, logits: Floats, labels: Ints) -> Floats:
        rows = []
        for row, raw, label in zip(log_p, logits, labels, strict=True):
            x, m = slow_margin(row, label), slow_margin(raw, label)
            rows.append([x, m, min(x, 0) ** 2, min(m, 0) ** 2])
        return np.array(rows)

    p, logits = evidence.plants, evidence.mean_logits.astype(float)
    own = terms(log_p, logits, labels)
    scale = own.std(axis=0)
    planted = terms(log_p[p.index], logits[p.index], p.label)
    used = planted[:, 0] < 0  # the network says another class than the planted one
    assert 40 <= used.sum() < plants or num_classes == 10
    ridge = Ridge(alpha=RIDGE).fit(planted[used] / scale, p.late_margin[used].astype(float))
    residual = p.late_margin[used] - ridge.predict(planted[used] / scale)
    expected = (evidence.late_margin - ridge.predict(own / scale)) / residual.std()
    np.testing.assert_allclose(found.values, expected, rtol=1e-6, atol=1e-6)
    assert found.plants == used.sum()
    far = own[:, 0] <= np.quantile(own[:, 0], 0.05)
    spread = planted[used] / scale
    beyond = (own[far] / scale).mean(axis=0) - spread.mean(axis=0)
    slopes = beyond @ np.linalg.solve(len(spread) * np.cov(spread.T, bias=True) + RIDGE * np.eye(4), beyond)
    own_scatter = expected[far].var() / far.sum()
    error = np.sqrt(1 / len(spread) + slopes + own_scatter)
    assert found.standard_error(far) == pytest.approx(error, rel=1e-6)
    some = np.array([5, 3, 900])
    np.testing.assert_array_equal(found.of(some).values, found.values[some])
    np.testing.assert_array_equal(found.of(some).terms, found.terms[some])


def test_right_labels_gain_what_the_world_gives_them_and_wrong_ones_nothing() -> None:
    made = world(8000, uniform(10, 0.2), plants=0.5)
    log_p, labels, evidence = of(made)
    found = gains(log_p, labels, evidence)
    assert found is not None
    disagrees = log_p.argmax(axis=1) != labels
    assert found.values[disagrees & made.wrong].mean() == pytest.approx(0, abs=0.1)
    assert found.values[disagrees & ~made.wrong].mean() == pytest.approx(RIGHT_GAIN, abs=0.15)
    assert found.values[disagrees].std() == pytest.approx(1, abs=0.1)


def test_a_change_of_units_changes_nothing() -> None:
    log_p, labels, evidence = of(world(1000, uniform(4, 0.2), plants=0.4))
    p = evidence.plants
    scaled = Evidence(
        evidence.train_probs,
        evidence.late_margin * 4 + 2,
        evidence.mean_logits * 4,
        Plants(p.index, p.label, p.fold, p.late_margin * 4 + 2),
    )
    one, other = gains(log_p, labels, evidence), gains(log_p, labels, scaled)
    assert one is not None
    assert other is not None
    np.testing.assert_allclose(one.values, other.values, atol=1e-3)


@pytest.mark.parametrize("kind", ["all", "few", "far"])
def test_standard_error_is_the_scatter_over_many_plantings(kind: str) -> None:
    """Late margins of plants and images are drawn anew 150 times; what is known out of fold stays.

    The scatter of all disagreeing images' mean is the plants', of few their own, of what is unlike the plants
    that of the fitted slopes.
    """
    made = world(3000, uniform(5, 0.2), plants=0.2 if kind == "few" else 0.02)
    log_p, labels, evidence = of(made)
    x = margins_of(log_p, labels)
    members = x < 0
    if kind != "all":
        usual = x[members].mean() if kind == "few" else x.min()
        members = np.isin(np.arange(len(x)), np.argsort(np.abs(x - usual))[: 6 if kind == "few" else 200])
    rng = np.random.default_rng(0)
    p = evidence.plants
    mean, planted = 0.5 * x, 0.5 * margins_of(log_p[p.index], p.label)
    means, errors = [], []
    for _ in range(150):
        again = replace(
            evidence,
            late_margin=(mean + rng.normal(size=len(mean))).astype(np.float32),
            plants=replace(p, late_margin=(planted + rng.normal(size=len(planted))).astype(np.float32)),
        )
        found = gains(log_p, labels, again)
        assert found is not None
        means.append(found.values[members].mean())
        errors.append(found.standard_error(members))
    assert np.mean(errors) == pytest.approx(np.std(means), rel=0.2 if kind == "few" else 0.1)


def test_none_where_plants_are_too_few() -> None:
    log_p, labels, evidence = of(world(1000, uniform(10, 0.2), plants=0.3))
    p = evidence.plants
    doubted = margins_of(log_p[p.index], p.label) < 0
    enough = np.flatnonzero(doubted)[:FEWEST_PLANTS]
    agreed = np.flatnonzero(~doubted)  # the network says what was planted: of no use
    assert len(agreed)
    assert gains(log_p, labels, without(evidence, np.concatenate([enough, agreed]))) is not None
    assert gains(log_p, labels, without(evidence, np.concatenate([enough[1:], agreed]))) is None
    assert gains(log_p, labels, without(evidence, np.zeros(0, np.int64))) is None
