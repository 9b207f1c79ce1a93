"""`find_errors` with method calibrated: findings, cut, ranking and figures say one thing."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from calibrated_cases import World, uniform, world

from labelscrub.config import DetectionSettings, parse_aim
from labelscrub.detection import Assessment, find_errors
from labelscrub.detection.calibrated import choose_cut
from labelscrub.errors import ModelError, UsageError
from labelscrub.records import Findings

K = 4


@cache
def made() -> World:
    """Of the last class there is too little to assess."""
    some = world(1500, uniform(K, 0.15), classes=np.array([0.4, 0.3, 0.3, 0.0]), hard=0.5)
    labels, last = some.labels.copy(), np.flatnonzero(some.labels == 3)
    labels[last] = 0
    labels[last[0]] = 3
    return replace(some, labels=labels)


def find(settings: DetectionSettings, some: World | None = None) -> tuple[Findings, Assessment]:
    some = made() if some is None else some
    n = len(some.labels)
    none = np.zeros(n, np.int64)
    return find_errors(
        some.predictions,
        some.labels,
        "abcd"[: some.predictions.pred_probs.shape[1]],
        np.arange(n),
        settings,
        folds=3,
        conflict=none,
    )


def calibrated(**more: str) -> tuple[Findings, Assessment]:
    return find(DetectionSettings(method="calibrated", **more))


@pytest.mark.parametrize("aim", ["f1", "precision=0.95", "recall=0.95"])
def test_findings_and_figures_are_those_of_the_cut(aim: str) -> None:
    findings, assessment = calibrated(aim=aim)
    exact = made().estimate(np.array([True, True, True, False]))
    cut = choose_cut(exact.error_probability, parse_aim(aim))
    e, c = findings.error_probability, assessment.calibration
    assert c is not None
    np.testing.assert_array_equal(findings.is_suspect, cut.listed)
    assert findings.is_suspect.any()
    np.testing.assert_array_equal(e, exact.error_probability.astype(np.float32))
    assert np.isnan(e).tolist() == (~findings.assessed).tolist()
    assert (~findings.assessed).sum() == 1
    assert not findings.is_suspect[~findings.assessed].any()

    listed, known = findings.is_suspect, findings.assessed
    total = e[known].sum(dtype=float)
    assert c.aim == aim
    assert c.images == known.sum()
    assert c.noise_rate == assessment.estimated_noise_rate == pytest.approx(e[known].mean())
    assert c.low <= c.noise_rate <= c.high
    assert c.cut == pytest.approx(e[listed].min())
    assert c.cut > e[known & ~listed].max()
    assert c.expected_precision == pytest.approx(e[listed].mean())
    assert c.expected_recall == pytest.approx(e[listed].sum() / total)
    assert c.expected_f1 == pytest.approx(2 * e[listed].sum() / (listed.sum() + total))
    np.testing.assert_array_equal(np.array(c.transition), exact.transition)
    rates = [one.estimated_noise_rate for one in assessment.classes]
    np.testing.assert_array_equal(rates, exact.class_noise_rates)


def test_ranked_by_falling_error_probability_what_is_not_assessed_last() -> None:
    findings, _ = calibrated()
    order = findings.order()
    assert (np.diff(np.nan_to_num(findings.error_probability[order], nan=0.0)) <= 0).all()
    np.testing.assert_array_equal(findings.score, np.nan_to_num(findings.score))
    assert findings.score == pytest.approx(np.nan_to_num(findings.error_probability))
    assert order[-1] == np.flatnonzero(~findings.assessed)[0]
    assert findings.is_suspect[order[: findings.is_suspect.sum()]].all()


def test_another_score_ranks_the_same_suspects() -> None:
    one, other = calibrated()[0], calibrated(score="self-confidence")[0]
    np.testing.assert_array_equal(one.is_suspect, other.is_suspect)
    np.testing.assert_allclose(other.score, 1 - other.self_confidence)
    assert not np.array_equal(one.rank, other.rank)


def test_the_aim_moves_the_cut() -> None:
    strict, even, wide = (calibrated(aim=aim) for aim in ("precision=0.97", "f1", "recall=0.97"))
    sizes = [findings.is_suspect.sum() for findings, _ in (strict, even, wide)]
    assert 0 < sizes[0] < sizes[1] < sizes[2]
    assert strict[1].calibration is not None
    assert strict[1].calibration.expected_precision >= 0.97
    assert wide[1].calibration is not None
    assert wide[1].calibration.expected_recall >= 0.97
    np.testing.assert_array_equal(strict[0].error_probability, wide[0].error_probability)


def test_suspects_are_what_is_wrong() -> None:
    some = world(6000, uniform(3, 0.15))
    findings, assessment = find(DetectionSettings(method="calibrated"), some)
    c, listed = assessment.calibration, findings.is_suspect
    assert c is not None
    assert some.wrong[listed].mean() == pytest.approx(c.expected_precision, abs=0.05)
    assert (some.wrong & listed).sum() / some.wrong.sum() == pytest.approx(c.expected_recall, abs=0.05)
    assert c.expected_f1 > 0.7


def test_other_methods_have_no_calibration() -> None:
    findings, assessment = find(DetectionSettings(method="cl"))
    assert assessment.calibration is None
    assert np.isnan(findings.error_probability).all()


def test_needs_the_evidence() -> None:
    bare = replace(made(), predictions=replace(made().predictions, evidence=None))
    with pytest.raises(UsageError, match="planted labels and training dynamics"):
        find(DetectionSettings(method="calibrated"), bare)


@pytest.mark.parametrize("name", ["train_probs", "late_margin", "mean_logits", "plants"])
def test_evidence_must_be_finite(name: str) -> None:
    evidence = made().predictions.evidence
    assert evidence is not None
    if name == "plants":
        broken = evidence.plants.late_margin.copy()
        broken[3] = np.nan
        evidence = replace(evidence, plants=replace(evidence.plants, late_margin=broken))
    else:
        broken = getattr(evidence, name).copy()
        broken[3] = np.inf
        evidence = replace(evidence, **{name: broken})
    bad = replace(made(), predictions=replace(made().predictions, evidence=evidence))
    with pytest.raises(ModelError, match="not all finite"):
        find(DetectionSettings(method="calibrated"), bad)
