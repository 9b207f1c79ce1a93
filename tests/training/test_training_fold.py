"""Folds, from pixels to Predictions, on images a small network learns in a second."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from training_cases import CLASSES, images, plan, same

from labelscrub.config import LOSSES
from labelscrub.errors import DataError
from labelscrub.records import EpochRecord, silent
from labelscrub.training import FoldResult, assign_folds, combine, train_fold


@pytest.mark.parametrize("channels", [1, 3])
def test_five_folds_learn_and_cover_everything(channels: int) -> None:
    pixels, label = images(channels=channels)
    made = plan(pixels, epochs=6, network="fast")
    fold = assign_folds(label, None, 5, 0)
    results = [train_fold(pixels, label, fold, k, CLASSES, made, silent) for k in (3, 0, 4, 1, 2)]
    predictions = combine(results, len(label), CLASSES)
    np.testing.assert_array_equal(predictions.fold, fold)
    np.testing.assert_allclose(predictions.pred_probs.sum(1), 1, rtol=1e-5)
    assert (predictions.pred_probs.argmax(1) == label).mean() > 0.9
    assert predictions.pred_probs.dtype == predictions.aum.dtype == np.float32
    assert [(r.fold, r.epoch) for r in predictions.history] == [
        (f, e) for f in range(1, 6) for e in range(1, 7)
    ]
    assert predictions.history[5].accuracy > predictions.history[0].accuracy
    for k, result in zip((3, 0, 4, 1, 2), results, strict=True):
        np.testing.assert_array_equal(np.isnan(result.aum), fold == k)
    expected = np.nanmean([result.aum for result in results], axis=0)
    np.testing.assert_allclose(predictions.aum, expected, rtol=1e-6)


def test_wrong_labels_have_the_lowest_aum() -> None:
    pixels, label = images(150)
    given = label.copy()
    given[:10] = (given[:10] + 1) % CLASSES
    fold = assign_folds(given, None, 2, 0)
    made = plan(pixels, epochs=8)
    results = [train_fold(pixels, given, fold, k, CLASSES, made, silent) for k in range(2)]
    aum = combine(results, len(given), CLASSES).aum
    assert aum[:10].max() < np.median(aum[10:])
    assert (np.argsort(aum)[:10] < 10).mean() >= 0.8


def test_one_fold_is_the_same_whatever_ran_before() -> None:
    pixels, label = images()
    fold = assign_folds(label, None, 3, 0)
    made = plan(pixels)
    alone = train_fold(pixels, label, fold, 1, CLASSES, made, silent)
    torch.manual_seed(99)
    train_fold(pixels, label, fold, 0, CLASSES, made, silent)
    torch.rand(7)
    assert same(alone, train_fold(pixels, label, fold, 1, CLASSES, made, silent))
    other_seed = train_fold(pixels, label, fold, 1, CLASSES, plan(pixels, seed=1), silent)
    assert not same(alone, other_seed)


@pytest.mark.parametrize("network", ["fast", "mnist-cnn"])
def test_colour_and_dropout_repeat_too(network: str) -> None:
    pixels, label = images(channels=3)
    fold = assign_folds(label, None, 3, 0)
    made = plan(pixels, network=network, epochs=2)
    results = [train_fold(pixels, label, fold, 0, CLASSES, made, silent) for _ in range(2)]
    assert same(*results)


def test_global_state_is_left_as_it_was() -> None:
    pixels, label = images(30)
    fold = assign_folds(label, None, 3, 0)
    torch.manual_seed(5)
    before = torch.get_rng_state(), torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    train_fold(pixels, label, fold, 0, CLASSES, plan(pixels, epochs=1), silent)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark) == before[1:]
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_trains(loss: str) -> None:
    pixels, label = images()
    fold = assign_folds(label, None, 3, 0)
    result = train_fold(pixels, label, fold, 0, CLASSES, plan(pixels, loss=loss, epochs=6), silent)
    assert (result.pred_probs.argmax(1) == label[result.index]).mean() > 0.8
    assert np.isfinite(result.pred_probs).all()


@pytest.mark.parametrize(("number", "batch_size"), [(4, 2), (5, 2), (7, 3), (17, 16), (16, 16), (6, 1000)])
def test_no_batch_has_a_single_image(number: int, batch_size: int) -> None:
    """Batch norm at one image would raise: the fast network ends in more than one pixel, ResNets in one."""
    pixels, label = images(number)
    fold = np.zeros(number, np.int16)
    fold[-1] = 1
    made = plan(pixels, batch_size=batch_size, epochs=1, network="resnet18")
    assert len(train_fold(pixels, label, fold, 1, CLASSES, made, silent).index) == 1


def test_nothing_to_train_on() -> None:
    pixels, label = images(10)
    fold = np.zeros(10, np.int16)
    with pytest.raises(DataError, match="fold 1 leaves 0 of 10 images to train on"):
        train_fold(pixels, label, fold, 0, CLASSES, plan(pixels), silent)


def test_an_absent_class() -> None:
    pixels, label = images(20)
    label[label == 2] = 1  # K stays 3
    fold = np.arange(20).astype(np.int16) % 2
    results = [train_fold(pixels, label, fold, k, CLASSES, plan(pixels, epochs=1), silent) for k in range(2)]
    assert combine(results, 20, CLASSES).pred_probs.shape == (20, CLASSES)


@pytest.mark.parametrize("k", [1, 3])
def test_a_fold_that_holds_nothing_out_is_a_mistake_of_the_caller(k: int) -> None:
    pixels, label = images(20)
    fold = np.arange(20).astype(np.int16) % 2 * 2  # nobody is in folds 2 and 4
    with pytest.raises(ValueError, match=f"fold {k + 1} holds out no image"):
        train_fold(pixels, label, fold, k, CLASSES, plan(pixels), silent)


def test_results_survive_storage() -> None:
    pixels, label = images(30)
    result = train_fold(pixels, label, assign_folds(label, None, 3, 0), 1, CLASSES, plan(pixels), silent)
    file = io.BytesIO()
    np.savez(file, **result.arrays())
    file.seek(0)
    with np.load(file, allow_pickle=False) as stored:
        back = FoldResult.from_arrays(stored)
    assert same(result, back)
    again = FoldResult.from_arrays(result.arrays())
    assert np.shares_memory(again.pred_probs, result.pred_probs)  # N x K is not copied
    assert back.history == result.history and isinstance(back.history[0], EpochRecord)


def made_up(k: int, index: list[int], aum: list[float]) -> FoldResult:
    return FoldResult(
        k, np.array(index), np.full((len(index), 2), 0.5, np.float32), np.array(aum, np.float32), ()
    )


def test_combine_refuses_folds_that_overlap_or_leave_gaps() -> None:
    nan = float("nan")
    with pytest.raises(ValueError, match="another fold holds out too"):
        combine([made_up(0, [0, 1], [nan, nan, 1]), made_up(1, [1, 2], [1, nan, nan])], 3, 2)
    with pytest.raises(ValueError, match="1 images are held out by no fold"):
        combine([made_up(0, [0], [nan, 1, 1]), made_up(1, [1], [1, nan, 1])], 3, 2)


def test_bf16_predictions_are_float32_and_repeat() -> None:
    pixels, label = images()
    fold = assign_folds(label, None, 3, 0)
    made = plan(pixels, precision="bf16", epochs=4)
    results = [train_fold(pixels, label, fold, 0, CLASSES, made, silent) for _ in range(2)]
    assert same(*results)
    assert results[0].pred_probs.dtype == np.float32
    np.testing.assert_allclose(results[0].pred_probs.sum(1), 1, rtol=1e-5)
    assert (results[0].pred_probs.argmax(1) == label[results[0].index]).mean() > 0.8
