"""What a calibrated run's trainings record: against a recomputation by hand, put together, stored."""

from __future__ import annotations

import io
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from training_cases import CLASSES, images, plan, same

from labelscrub.errors import ModelError
from labelscrub.records import Evidence, Plants, silent
from labelscrub.training import (
    FoldResult,
    assign_folds,
    combine,
    loop,
    no_plants,
    plan_plants,
    predictions_from_arrays,
    predictions_to_arrays,
    train_fold,
)
from labelscrub.training import fold as fold_module

OF_CL = {"fold", "index", "pred_probs", "aum", "history"}


def plants_of(index: list[int], label: list[int], k: int) -> Plants:
    late_margin = np.full(len(index), np.nan, np.float32)
    return Plants(np.array(index), np.array(label, np.int32), np.full(len(index), k, np.int16), late_margin)


@pytest.mark.parametrize(("network", "channels", "loss"), [("fast", 3, "pz"), ("mnist-cnn", 1, "ce")])
def test_recording_changes_no_byte_of_the_rest(network: str, channels: int, loss: str) -> None:
    """Also with augmentation and dropout, whose draws must stay the same, and batch norm's statistics."""
    pixels, label = images(24, channels=channels)
    fold = assign_folds(label, None, 3, 0)
    made = plan(pixels, network=network, loss=loss, epochs=2)
    plain = train_fold(pixels, label, fold, 1, CLASSES, made, silent)
    recorded = train_fold(pixels, label, fold, 1, CLASSES, made, silent, no_plants(1))
    assert plain.arrays().keys() == OF_CL and recorded.evidence is not None
    assert all(recorded.arrays()[name].tobytes() == plain.arrays()[name].tobytes() for name in OF_CL)


@pytest.mark.parametrize(("epochs", "late"), [(1, 1), (4, 1), (5, 2), (6, 2)])
def test_evidence_by_hand(monkeypatch: pytest.MonkeyPatch, epochs: int, late: int) -> None:
    """Every logit that the network gave is written down; margins and means are taken from those."""
    pixels, label = images(40)
    fold = assign_folds(label, None, 3, 0)
    k, train = 2, np.flatnonzero(fold != 2)
    planted = train[[3, 7, 11]]
    plants = plants_of(planted.tolist(), ((label[planted] + 1) % CLASSES).tolist(), k)
    made = plan(pixels, network="mnist-cnn", loss="ce", epochs=epochs, lr=0.003)
    learning: list[np.ndarray] = []
    judging: list[np.ndarray] = []

    def write_down(network: nn.Module, _: Any, logits: torch.Tensor) -> None:
        (learning if network.training else judging).append(logits.detach().double().numpy())

    def watched(*args: Any) -> nn.Module:
        network = loop.new_network(*args)
        network.register_forward_hook(write_down)
        return network

    monkeypatch.setattr(fold_module, "new_network", watched)
    result = train_fold(pixels, label, fold, k, CLASSES, made, silent, plants)
    assert result.evidence is not None

    generator = torch.Generator().manual_seed(loop.fold_seed(made, k))
    z = np.zeros((epochs, len(train), CLASSES))
    for epoch, logits in enumerate(np.split(np.concatenate(learning), epochs)):
        z[epoch, torch.randperm(len(train), generator=generator).numpy()] = logits
    trained_with = label.copy()
    trained_with[planted] = plants.label
    margins = np.array(
        [
            [
                logits[y] - max(np.delete(logits, y))
                for logits, y in zip(of_epoch, trained_with[train], strict=True)
            ]
            for of_epoch in z
        ]
    )
    p = np.exp(z) / np.exp(z).sum(2, keepdims=True)
    own = ~np.isin(train, planted)
    close = {"rtol": 1e-4, "atol": 1e-5}
    evidence = result.evidence
    np.testing.assert_allclose(result.aum[train[own]], margins.mean(0)[own], **close)
    np.testing.assert_allclose(evidence.late_margin[train[own]], margins[-late:].mean(0)[own], **close)
    np.testing.assert_allclose(evidence.plants.late_margin, margins[-late:].mean(0)[~own], **close)
    np.testing.assert_allclose(evidence.train_probs, p.mean(0)[own], **close)
    for recorded in (result.aum, evidence.late_margin):
        assert set(np.flatnonzero(np.isnan(recorded))) == set(np.flatnonzero(fold == k)) | set(planted)
    assert len(judging) == epochs + 1  # the last are the predictions
    np.testing.assert_allclose(evidence.mean_logits, np.mean(judging[:-1], axis=0), **close)
    assert np.allclose(judging[0], judging[-1]) == (epochs == 1)  # so the mean is of different logits
    assert {a.dtype for a in (evidence.train_probs, evidence.late_margin, evidence.mean_logits)} == {
        np.dtype(np.float32)
    }


def test_planted_labels_are_learnt_as_wrong_ones_are() -> None:
    pixels, label = images(150)
    fold = assign_folds(label, None, 3, 0)
    made = plan(pixels, loss="ce", epochs=4, network="mnist-cnn", lr=0.003)
    scout = train_fold(pixels, label, fold, 0, CLASSES, made, silent, no_plants(0))
    plans = plan_plants(scout, label, fold, None, 0)
    numbers = [len(plants.index) for plants in plans]
    assert numbers[0] == 0 and 3 < min(numbers[1:]) <= max(numbers) <= 7  # at most 15 % of 50 agreed
    results = [train_fold(pixels, label, fold, k, CLASSES, made, silent, plans[k]) for k in (1, 2)]
    evidence = combine([*results, scout], 150, CLASSES).evidence
    assert evidence is not None
    assert evidence.plants.fold.tolist() == [1] * numbers[1] + [2] * numbers[2]
    assert np.isfinite(evidence.plants.late_margin).all()
    assert evidence.plants.late_margin.max() < np.percentile(evidence.late_margin, 5)
    assert (evidence.train_probs.argmax(1) == label).mean() > 0.95
    assert (evidence.mean_logits.argmax(1) == label).mean() > 0.95


def made_up(k: int, fold: np.ndarray, planted: list[int], rng: np.random.Generator) -> FoldResult:
    number = len(fold)
    index, own = np.flatnonzero(fold == k), (fold != k) & ~np.isin(np.arange(number), planted)
    recorded = [np.where(own, rng.normal(size=number), np.nan).astype(np.float32) for _ in range(2)]
    plants = Plants(
        np.array(planted, np.int64),
        np.ones(len(planted), np.int32),
        np.full(len(planted), k, np.int16),
        rng.normal(size=len(planted)).astype(np.float32),
    )
    of_trained, of_held_out = (rng.random((n, 2), np.float32) for n in (own.sum(), len(index)))
    evidence = Evidence(of_trained, recorded[1], of_held_out, plants)
    return FoldResult(k, index, rng.random((len(index), 2), np.float32), recorded[0], (), evidence)


def test_means_are_over_the_folds_that_trained_the_image_as_it_is_labelled() -> None:
    rng = np.random.default_rng(0)
    fold = np.arange(12).astype(np.int16) % 4
    results = [made_up(k, fold, planted, rng) for k, planted in enumerate([[], [0, 4], [], [8]])]
    predictions = combine([results[k] for k in (2, 0, 3, 1)], 12, 2)
    evidence = predictions.evidence
    assert evidence is not None
    found = [result.evidence for result in results if result.evidence is not None]
    probs = np.full((4, 12, 2), np.nan)
    for k, result in enumerate(results):
        probs[k, ~np.isnan(result.aum)] = found[k].train_probs
    counted = (~np.isnan(probs[..., 0])).sum(0)
    assert counted.tolist() == [2, 3, 3, 3, 2, 3, 3, 3, 2, 3, 3, 3]
    np.testing.assert_allclose(evidence.train_probs, np.nanmean(probs, 0), rtol=1e-6)
    late = np.stack([of.late_margin for of in found])
    np.testing.assert_allclose(evidence.late_margin, np.nanmean(late, 0), rtol=1e-6)
    aum = np.stack([result.aum for result in results])
    np.testing.assert_allclose(predictions.aum, np.nanmean(aum, 0), rtol=1e-6)
    np.testing.assert_array_equal(evidence.mean_logits, [found[i % 4].mean_logits[i // 4] for i in range(12)])
    assert [evidence.plants.index.tolist(), evidence.plants.fold.tolist()] == [[0, 4, 8], [1, 1, 3]]
    assert evidence.plants.late_margin.tolist() == [
        *found[1].plants.late_margin.tolist(),
        *found[3].plants.late_margin.tolist(),
    ]
    assert evidence.train_probs.dtype == evidence.late_margin.dtype == np.float32


def test_an_image_never_trained_as_it_is_labelled_has_no_figures() -> None:
    fold = np.array([0, 1, 0, 1], np.int16)
    results = [made_up(k, fold, planted, np.random.default_rng(k)) for k, planted in enumerate([[], [2]])]
    predictions = combine(results, 4, 2)
    assert predictions.evidence is not None
    for figures in (
        predictions.aum,
        predictions.evidence.late_margin,
        predictions.evidence.train_probs[:, 0],
    ):
        assert np.isnan(figures).tolist() == [False, False, True, False]


def test_folds_that_come_one_by_one_are_let_go() -> None:
    fold = np.arange(20).astype(np.int16) % 5
    alive: list[weakref.ref[FoldResult]] = []

    def results() -> Iterator[FoldResult]:
        for k in range(5):
            result = made_up(k, fold, [], np.random.default_rng(k))
            alive.append(weakref.ref(result))
            yield result
            assert sum(one() is not None for one in alive) == 1

    combine(results(), 20, 2)
    assert len(alive) == 5


def test_evidence_survives_storage() -> None:
    fold = np.arange(12).astype(np.int16) % 3
    results = [
        made_up(k, fold, planted, np.random.default_rng(k)) for k, planted in enumerate([[], [0], [3, 9]])
    ]
    predictions = combine(results, 12, 2)

    def stored(arrays: dict[str, Any]) -> dict[str, Any]:
        file = io.BytesIO()
        np.savez(file, **arrays)
        file.seek(0)
        with np.load(file, allow_pickle=False) as found:
            return dict(found)

    for result in results:
        assert same(result, FoldResult.from_arrays(stored(result.arrays())))
    arrays = predictions_to_arrays(predictions)
    again = predictions_to_arrays(predictions_from_arrays(stored(arrays)))
    assert arrays.keys() == again.keys() and len(arrays) == 4 + 3 + 4
    for name, array in arrays.items():
        np.testing.assert_array_equal(again[name], array)
        assert again[name].dtype == array.dtype


def test_an_image_held_out_cannot_be_planted() -> None:
    pixels, label = images(30)
    fold = assign_folds(label, None, 3, 0)
    held_out = np.flatnonzero(fold == 1)[:1].tolist()
    with pytest.raises(ValueError, match="fold 2 holds out images that are planted in it"):
        train_fold(pixels, label, fold, 1, CLASSES, plan(pixels), silent, plants_of(held_out, [0], 1))


def test_labels_are_left_as_they_were() -> None:
    pixels, label = images(30)
    fold = assign_folds(label, None, 3, 0)
    before, index = label.copy(), np.flatnonzero(fold == 0)[:2].tolist()
    made = plan(pixels, epochs=1)
    train_fold(pixels, label, fold, 1, CLASSES, made, silent, plants_of(index, [2, 2], 1))
    np.testing.assert_array_equal(label, before)


def test_logits_that_are_not_finite_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def ruin(total: torch.Tensor, *_: Any) -> None:
        total.fill_(torch.inf)

    pixels, label = images(30)
    monkeypatch.setattr(fold_module, "add_logits", ruin)
    fold = assign_folds(label, None, 3, 0)
    with pytest.raises(ModelError, match="fold 1's logits are not finite"):
        train_fold(pixels, label, fold, 0, CLASSES, plan(pixels, epochs=1), silent, no_plants(0))


def test_logits_of_more_than_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, _ = images(30)
    made = plan(pixels, network="fast")
    with loop.reproducible(made, 0):
        network = loop.new_network(made, CLASSES)
    batches = loop.Batches.on(torch.device("cpu"), pixels, np.arange(30), imagenet=False)
    total = torch.ones(12, CLASSES)
    index = np.arange(29, 17, -1)
    monkeypatch.setattr(loop, "PREDICT_ON_CPU", 5)
    loop.add_logits(total, network, batches, index, made)
    with torch.no_grad():
        expected = 1 + network.eval()(batches.read(torch.from_numpy(index)))
    torch.testing.assert_close(total, expected)
