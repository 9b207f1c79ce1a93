"""The loop from inside: one step by hand, losses, clipping, augmentation, events, errors."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from training_cases import CLASSES, images, plan

from labelscrub.errors import EnvironmentProblem, ModelError
from labelscrub.records import Event, silent
from labelscrub.training import assign_folds, loop, train_fold
from labelscrub.training.recipes import learning_rate


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


@pytest.mark.parametrize(("loss", "limits"), [("anl-ce", {5.0}), ("anl-fl", {5.0}), ("ce", set())])
def test_only_anl_clips_gradients(monkeypatch: pytest.MonkeyPatch, loss: str, limits: set[float]) -> None:
    pixels, label = images(30)
    seen: set[float] = set()
    monkeypatch.setattr(nn.utils, "clip_grad_norm_", lambda parameters, limit: seen.add(limit))
    made = plan(pixels, loss=loss, epochs=1)
    train_fold(pixels, label, assign_folds(label, None, 3, 0), 0, CLASSES, made, silent)
    assert seen == limits  # Ye et al. 2023, published configuration


def test_the_robust_loss_follows_the_delay() -> None:
    """At weights that stay as they start, no p is above the cutoff: cross-entropy first, then nothing."""
    pixels, label = images(30)
    made = plan(pixels, network="mnist-cnn", loss="pz", cutoff=0.999, delay=1, lr=1e-12)
    result = train_fold(pixels, label, assign_folds(label, None, 3, 0), 0, CLASSES, made, silent)
    assert result.history[0].loss > 0.5
    assert [record.loss for record in result.history[1:]] == [0, 0]


@pytest.mark.parametrize(
    ("network", "channels", "times"), [("fast", 3, 2), ("fast", 1, 0), ("mnist-cnn", 3, 0)]
)
def test_colour_images_are_augmented_where_the_recipe_says(
    monkeypatch: pytest.MonkeyPatch, network: str, channels: int, times: int
) -> None:
    pixels, label = images(30, channels=channels)
    batches: list[torch.Tensor | None] = []
    draw, read, drawn = loop.draw_moves, loop.Batches.read, []

    def spy_on_draw(*args: Any) -> torch.Tensor:
        drawn.append(draw(*args))
        return drawn[-1]

    def spy_on_read(
        self: loop.Batches, index: torch.Tensor, moves: torch.Tensor | None = None
    ) -> torch.Tensor:
        batches.append(moves)
        return read(self, index, moves)

    monkeypatch.setattr(loop, "draw_moves", spy_on_draw)
    monkeypatch.setattr(loop.Batches, "read", spy_on_read)
    made = plan(pixels, network=network, epochs=2)
    train_fold(pixels, label, assign_folds(label, None, 3, 0), 0, CLASSES, made, silent)
    assert len(drawn) == times  # one an epoch
    used = [moves for moves in batches[:4] if moves is not None]  # 2 epochs of 2 batches; then predictions
    assert len(used) == 2 * times
    if times:
        assert torch.equal(torch.cat(used, dim=1), torch.cat(drawn, dim=1))


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


def test_the_fast_networks_predictions_are_means_over_shifted_views() -> None:
    pixels, _ = images(30, side=20)
    made = plan(pixels, network="fast", epochs=1)
    index = np.array([3, 8, 4])
    with loop.reproducible(made, 0):
        network = loop.new_network(made, CLASSES).eval()
    batches = loop.Batches.on(torch.device("cpu"), pixels, np.arange(30), imagenet=False)
    found = loop.predict(network, batches, index, made, loop.Part(1, 3))
    expected = []
    for down, right in ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1)):
        padded = np.pad(pixels[index], ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
        view = torch.from_numpy(padded[:, 1 + down : 21 + down, 1 + right : 21 + right].copy())
        x = view.permute(0, 3, 1, 2).float() * batches.scale + batches.shift
        expected.append(network(x).detach().softmax(1).numpy())
    np.testing.assert_allclose(found, np.mean(expected, axis=0), atol=1e-6)
    one_view = plan(pixels, network="mnist-cnn", epochs=1)
    single = loop.predict(network, batches, index, one_view, loop.Part(1, 3))
    np.testing.assert_allclose(single, expected[0], atol=1e-6)


@pytest.mark.parametrize(
    ("device", "side", "expected"),
    [("cpu", 28, 64), ("cuda:0", 28, 2048), ("cuda:0", 64, 1024), ("cuda:0", 224, 256), ("mps", 32, 2048)],
)
def test_a_gpu_predicts_more_at_a_time(device: str, side: int, expected: int) -> None:
    made = plan(images(6, side=8)[0])
    assert loop._predict_batch(dataclasses.replace(made, device=device, side=side)) == expected


def test_predicting_never_waits_for_a_value_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, _ = images(30, side=20)
    made = plan(pixels, network="fast", epochs=1)
    network = loop.new_network(made, CLASSES)
    batches = loop.Batches.on(torch.device("cpu"), pixels, np.arange(30), imagenet=False)

    def wait(tensor: torch.Tensor) -> bool:
        raise AssertionError("a tensor was asked for its truth")

    monkeypatch.setattr(torch.Tensor, "__bool__", wait)
    assert loop.predict(network, batches, np.arange(9), made, loop.Part(1, 3)).shape == (9, CLASSES)
