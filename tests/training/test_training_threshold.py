"""Threshold runs: who is relabelled, what the margins show, what is kept."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from training_cases import CLASSES, images, plan, same

from labelscrub.config import TrainingSettings
from labelscrub.errors import DataError
from labelscrub.records import silent
from labelscrub.training import (
    combine_threshold_runs,
    loop,
    plan_training,
    threshold_sets,
    train_threshold_run,
)
from labelscrub.training import threshold as threshold_module


def test_threshold_sets_are_disjoint_and_seeded() -> None:
    sets = threshold_sets(1000, 9, 3)
    assert sets.shape == (2, 1000) and sets.dtype == np.bool_
    assert sets.sum(1).tolist() == [100, 100]  # N / (K + 1), Pleiss et al. 2020, section 4.2
    assert not (sets[0] & sets[1]).any()
    np.testing.assert_array_equal(sets, threshold_sets(1000, 9, 3))
    assert (sets != threshold_sets(1000, 9, 4)).any()
    assert threshold_sets(2, 10, 0).sum() == 2
    with pytest.raises(DataError, match="too few"):
        threshold_sets(1, 2, 0)


def test_threshold_runs_find_wrong_labels() -> None:
    pixels, label = images(300)
    given = label.copy()
    given[:15] = (given[:15] + 1) % CLASSES
    sets = threshold_sets(300, CLASSES, 0)
    made = plan(pixels, epochs=8, loss="ce")
    runs = [train_threshold_run(pixels, given, sets[k], k, CLASSES, made, silent) for k in range(2)]
    predictions = combine_threshold_runs(runs[::-1], sets, 300, CLASSES)
    assert predictions.aum_threshold is not None
    limits = [np.percentile(run.aum[chosen], 99) for run, chosen in zip(runs, sets, strict=True)]
    np.testing.assert_allclose(predictions.aum_threshold, np.where(sets[0], limits[1], limits[0]), rtol=1e-6)
    np.testing.assert_array_equal(predictions.aum, np.where(sets[0], runs[1].aum, runs[0].aum))
    np.testing.assert_allclose(predictions.pred_probs.sum(1), 1, rtol=1e-5)
    np.testing.assert_array_equal(predictions.pred_probs[sets[0]], runs[1].pred_probs[sets[0]])
    np.testing.assert_array_equal(predictions.pred_probs[~sets[0]], runs[0].pred_probs[~sets[0]])
    assert (predictions.fold == -1).all()
    assert [(r.fold, r.epoch) for r in predictions.history[7:9]] == [(1, 8), (2, 1)]
    assert predictions.aum[:15].mean() < predictions.aum[15:].mean()
    # A wrong label looks like a threshold sample: the relabelled images lie below the clean ones.
    assert np.median(runs[0].aum[sets[0]]) < np.median(runs[0].aum[~sets[0]][15:])


def test_probabilities_of_threshold_runs_are_copied_once(monkeypatch: pytest.MonkeyPatch) -> None:
    number, classes = 5000, 50
    pixels, label = np.zeros((number, 8, 8, 1), np.uint8), np.arange(number) % classes
    probabilities = np.random.default_rng(0).random((number, classes + 1), np.float32)
    real = probabilities[:, :classes].astype(np.float64)
    made = plan_training(
        TrainingSettings(device="cpu", precision="float32"), shape=pixels.shape, num_classes=classes
    )
    found = loop.Dynamics(*np.zeros((2, number), np.float32), probabilities, None, ())
    monkeypatch.setattr(threshold_module, "train_network", lambda *args, **more: found)
    chosen = threshold_sets(number, classes, 0)[0]
    tracemalloc.start()
    try:
        result = train_threshold_run(pixels, label, chosen, 0, classes, made, silent)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    np.testing.assert_allclose(result.pred_probs, real / real.sum(1, keepdims=True), rtol=1e-5)
    assert result.pred_probs.flags.c_contiguous and result.pred_probs.dtype == np.float32
    assert peak < 1.8 * result.pred_probs.nbytes


def test_threshold_runs_repeat() -> None:
    pixels, label = images(60)
    sets = threshold_sets(60, CLASSES, 0)
    made = plan(pixels, epochs=1)
    first = train_threshold_run(pixels, label, sets[0], 0, CLASSES, made, silent)
    train_threshold_run(pixels, label, sets[1], 1, CLASSES, made, silent)
    assert same(first, train_threshold_run(pixels, label, sets[0], 0, CLASSES, made, silent))
