"""Folds and threshold runs, from pixels to Predictions, on images a small network learns in a second."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch

from labelscrub.config import LOSSES, TrainingSettings
from labelscrub.errors import DataError, EnvironmentProblem, ModelError
from labelscrub.records import EpochRecord, Event, silent
from labelscrub.training import (
    FoldResult,
    TrainingPlan,
    assign_folds,
    combine,
    combine_threshold_runs,
    loop,
    plan_training,
    threshold_sets,
    train_fold,
    train_threshold_run,
)
from labelscrub.training.recipes import learning_rate

CLASSES = 3


def images(
    number: int = 90, side: int = 8, channels: int = 1, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """(N, S, S, C) noise with one bright row, or of one colour, as the class says; and the (N,) classes."""
    rng = np.random.default_rng(seed)
    label = np.arange(number) % CLASSES
    pixels = rng.integers(0, 60, (number, side, side, channels), dtype=np.uint8)
    if channels == 1:
        pixels[np.arange(number), 1 + 2 * label] += 150
    else:
        pixels[np.arange(number), :, :, label] += 150
    return pixels, label


def plan(pixels: np.ndarray, **settings: Any) -> TrainingPlan:
    chosen = {"device": "cpu", "precision": "float32", "batch_size": 16, "epochs": 3, **settings}
    return plan_training(TrainingSettings(**chosen), shape=pixels.shape, num_classes=CLASSES)


def same(a: FoldResult, b: FoldResult) -> bool:
    mine, theirs = a.arrays(), b.arrays()
    return mine.keys() == theirs.keys() and all(mine[k].tobytes() == theirs[k].tobytes() for k in mine)


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


def test_one_slow_step_by_hand() -> None:
    """The loop against one written out plainly: same weights, so the same margins, loss and accuracy."""
    pixels, label = images(24)
    fold = np.zeros(24, np.int16)
    fold[20:] = 1
    made = plan(pixels, network="mnist-cnn", loss="ce", epochs=1, batch_size=20, lr=1e-12)
    result = train_fold(pixels, label, fold, 1, CLASSES, made, silent)
    seed = loop.fold_seed(made, 1)
    with loop.reproducible(made, seed):
        network = loop.new_network(made, CLASSES).train()
        x = torch.from_numpy(pixels[:20]).permute(0, 3, 1, 2).double() / 255
        x = ((x - x.mean()) / x.std(correction=0)).float()
        order = torch.randperm(20, generator=torch.Generator().manual_seed(seed))
        logits = network(x[order]).detach().double().numpy()
    given = label[:20][order.numpy()]
    margins = []
    for z, y in zip(logits, given, strict=True):
        margins.append(z[y] - max(z[k] for k in range(CLASSES) if k != y))
    np.testing.assert_allclose(result.aum[order.numpy()], margins, atol=1e-5)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert result.history[0].loss == pytest.approx(-np.log(p[np.arange(20), given]).mean(), abs=1e-5)
    assert result.history[0].accuracy == pytest.approx((logits.argmax(1) == given).mean())
    assert np.isnan(result.aum[20:]).all()
    assert learning_rate(made.recipe, 0, 1) == 1e-12  # so that the held-out images see the starting weights


def test_anl_adds_l1_and_clips() -> None:
    pixels, label = images(30)
    fold = assign_folds(label, None, 3, 0)

    def norm(l1: float) -> float:
        made = plan(pixels, loss="anl-ce", l1=l1, epochs=5, network="mnist-cnn", lr=0.01)
        network: list[torch.nn.Module] = []
        seed = loop.fold_seed(made, 0)
        with loop.reproducible(made, seed):
            network.append(loop.new_network(made, CLASSES))
            train = np.flatnonzero(fold != 0)
            batches = loop.Batches.on(torch.device("cpu"), pixels, train, imagenet=False)
            part = loop.Part(1, 3)
            loop.train_network(
                network[0], batches, train, label[train], made, seed=seed, part=part, progress=silent
            )
        return sum(p.detach().abs().sum().item() for p in network[0].parameters())

    assert norm(0.1) < 0.8 * norm(0.0)


def test_divergence_is_an_error_that_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, label = images()
    fold = assign_folds(label, None, 3, 0)
    made = plan(pixels, epochs=4, loss="pz")
    monkeypatch.setattr(
        loop, "learning_rate", lambda recipe, step, steps: float("nan") if step >= steps // 2 else 1e-3
    )
    with pytest.raises(
        ModelError, match="training diverged in fold 2, epoch 3: the loss is not finite"
    ) as raised:
        train_fold(pixels, label, fold, 1, CLASSES, made, silent)
    assert "lower --lr" in raised.value.fix


def test_predictions_that_are_not_finite_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, label = images(30)
    fold = assign_folds(label, None, 3, 0)
    made = plan(pixels, epochs=1)
    # The last step alone ruins the weights: no training loss sees it.
    monkeypatch.setattr(
        loop, "learning_rate", lambda recipe, step, steps: float("nan") if step == steps - 1 else 1e-3
    )
    with pytest.raises(ModelError, match="fold 1's predictions are not finite"):
        train_fold(pixels, label, fold, 0, CLASSES, made, silent)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
        MemoryError(),
    ],
)
def test_out_of_memory_names_the_batch_size(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise error

    pixels, label = images(30)
    monkeypatch.setattr(loop.Batches, "read", fail)
    with pytest.raises(EnvironmentProblem, match="ran out of memory") as raised:
        train_fold(pixels, label, assign_folds(label, None, 3, 0), 0, CLASSES, plan(pixels), silent)
    assert "--batch-size 8" in raised.value.fix


def test_other_runtime_errors_pass_through(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError("a bug")

    pixels, label = images(30)
    monkeypatch.setattr(loop.Batches, "read", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        train_fold(pixels, label, assign_folds(label, None, 3, 0), 0, CLASSES, plan(pixels), silent)


def test_nothing_to_train_on() -> None:
    pixels, label = images(10)
    fold = np.zeros(10, np.int16)
    with pytest.raises(DataError, match="fold 1 leaves 0 of 10 images to train on"):
        train_fold(pixels, label, fold, 0, CLASSES, plan(pixels), silent)


def test_an_empty_fold_and_an_absent_class() -> None:
    pixels, label = images(20)
    label[label == 2] = 1  # K stays 3
    fold = np.arange(20).astype(np.int16) % 2
    fold[fold == 1] = 2  # nobody is in fold 1
    results = [train_fold(pixels, label, fold, k, CLASSES, plan(pixels, epochs=1), silent) for k in range(3)]
    assert results[1].pred_probs.shape == (0, CLASSES)
    assert combine(results, 20, CLASSES).pred_probs.shape == (20, CLASSES)


def test_events() -> None:
    pixels, label = images()
    fold = assign_folds(label, None, 3, 0)
    events: list[Event] = []
    result = train_fold(pixels, label, fold, 2, CLASSES, plan(pixels), events.append)
    assert {(e.stage, e.unit, e.fold, e.folds, e.epochs, e.total) for e in events} == {
        ("train", "images", 3, 3, 3, 180)
    }
    ends = [e for e in events if np.isfinite(e.loss)]
    assert [(e.epoch, e.done) for e in ends] == [(1, 60), (2, 120), (3, 180)]
    assert [(e.loss, e.accuracy) for e in ends] == [(r.loss, r.accuracy) for r in result.history]
    assert all(e.images_per_second > 0 for e in ends)


def test_events_within_an_epoch_are_rationed(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, label = images()
    fold = assign_folds(label, None, 3, 0)
    clock = iter(float(i) / 10 for i in range(10_000))
    monkeypatch.setattr(loop.time, "monotonic", lambda: next(clock))
    events: list[Event] = []
    train_fold(pixels, label, fold, 0, CLASSES, plan(pixels, batch_size=2, epochs=1), events.append)
    assert 3 < len(events) < 20  # of 30 steps and an epoch's end
    assert [e.done for e in events] == sorted(e.done for e in events)


def test_results_survive_storage() -> None:
    pixels, label = images(30)
    result = train_fold(pixels, label, assign_folds(label, None, 3, 0), 1, CLASSES, plan(pixels), silent)
    file = io.BytesIO()
    np.savez(file, **result.arrays())
    file.seek(0)
    with np.load(file, allow_pickle=False) as stored:
        back = FoldResult.from_arrays(stored)
    assert same(result, back)
    assert back.history == result.history and isinstance(back.history[0], EpochRecord)


def test_the_fast_networks_predictions_are_means_over_shifted_views() -> None:
    pixels, _ = images(30)
    made = plan(pixels, network="fast", epochs=1)
    index = np.array([3, 8, 4])
    with loop.reproducible(made, 0):
        network = loop.new_network(made, CLASSES).eval()
    batches = loop.Batches.on(torch.device("cpu"), pixels, np.arange(30), imagenet=False)
    found = loop.predict(network, batches, index, made, loop.Part(1, 3))
    expected = []
    for down, right in ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1)):
        padded = np.pad(pixels[index], ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
        view = torch.from_numpy(padded[:, 1 + down : 9 + down, 1 + right : 9 + right].copy())
        x = view.permute(0, 3, 1, 2).float() * batches.scale + batches.shift
        expected.append(network(x).detach().softmax(1).numpy())
    np.testing.assert_allclose(found, np.mean(expected, axis=0), atol=1e-6)
    one_view = plan(pixels, network="mnist-cnn", epochs=1)
    single = loop.predict(network, batches, index, one_view, loop.Part(1, 3))
    np.testing.assert_allclose(single, expected[0], atol=1e-6)


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


def test_threshold_runs_repeat() -> None:
    pixels, label = images(60)
    sets = threshold_sets(60, CLASSES, 0)
    made = plan(pixels, epochs=1)
    first = train_threshold_run(pixels, label, sets[0], 0, CLASSES, made, silent)
    train_threshold_run(pixels, label, sets[1], 1, CLASSES, made, silent)
    assert same(first, train_threshold_run(pixels, label, sets[0], 0, CLASSES, made, silent))


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("number", [1, 9])
def test_margin_agrees_with_a_slow_twin(classes: int, number: int) -> None:
    rng = np.random.default_rng(0)
    logits, label = rng.normal(size=(number, classes)), rng.integers(0, classes, number)
    found = loop.margin(torch.from_numpy(logits), torch.from_numpy(label)).numpy()
    expected = [
        z[y] - max(z[k] for k in range(classes) if k != y) for z, y in zip(logits, label, strict=True)
    ]
    np.testing.assert_allclose(found, expected)


def test_bf16_predictions_are_float32_and_repeat() -> None:
    pixels, label = images()
    fold = assign_folds(label, None, 3, 0)
    made = plan(pixels, precision="bf16", epochs=4)
    results = [train_fold(pixels, label, fold, 0, CLASSES, made, silent) for _ in range(2)]
    assert same(*results)
    assert results[0].pred_probs.dtype == np.float32
    np.testing.assert_allclose(results[0].pred_probs.sum(1), 1, rtol=1e-5)
    assert (results[0].pred_probs.argmax(1) == label[results[0].index]).mean() > 0.8
