"""One network for the images of another source: what it learns, what it says, what it can't say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from training_cases import CLASSES, images, plan

from labelscrub.records import Predictions, silent
from labelscrub.training import learnt_classes, train_and_judge
from labelscrub.training.batches import Batches


def same(a: Predictions, b: Predictions) -> bool:
    return a.pred_probs.tobytes() == b.pred_probs.tobytes() and a.history == b.history


@pytest.mark.parametrize("channels", [1, 3])
def test_it_knows_images_that_it_never_saw(channels: int) -> None:
    pixels, label = images(90, channels=channels)
    judged, truth = images(40, channels=channels, seed=1)
    made = plan(pixels, epochs=6, network="fast")
    found = train_and_judge(pixels, label, judged, CLASSES, made, silent)
    assert found.pred_probs.shape == (40, CLASSES) and found.pred_probs.dtype == np.float32
    np.testing.assert_allclose(found.pred_probs.sum(1), 1, rtol=1e-5)
    assert (found.pred_probs.argmax(1) == truth).mean() > 0.9
    assert (found.fold == -1).all() and found.fold.dtype == np.int16  # no fold held them out
    assert np.isnan(found.aum).all() and found.aum.dtype == np.float32  # nor were they trained on
    assert [record.epoch for record in found.history] == list(range(1, 7))


def test_the_same_again_whatever_ran_before() -> None:
    pixels, label = images(60)
    judged, _ = images(20, seed=1)
    made = plan(pixels)
    first = train_and_judge(pixels, label, judged, CLASSES, made, silent)
    torch.manual_seed(99)
    assert same(first, train_and_judge(pixels, label, judged, CLASSES, made, silent))
    assert not same(first, train_and_judge(pixels, label, judged, CLASSES, plan(pixels, seed=1), silent))
    # image by image: what else is judged has no say
    part = train_and_judge(pixels, label, judged[:7], CLASSES, made, silent)
    np.testing.assert_allclose(part.pred_probs, first.pred_probs[:7], atol=1e-6)


def test_images_without_a_label_are_not_trained_on() -> None:
    pixels, label = images(60)
    judged, _ = images(20, seed=1)
    given = label.copy()
    given[40:] = -1
    made = plan(pixels[:40])
    found = train_and_judge(pixels, given, judged, CLASSES, made, silent)
    assert same(found, train_and_judge(pixels[:40], label[:40], judged, CLASSES, made, silent))


def test_a_class_with_one_image_gets_no_probability() -> None:
    pixels, label = images(60)
    judged, _ = images(20, seed=1)
    label = np.where(label == 2, -1, label)
    label[2] = 2
    np.testing.assert_array_equal(learnt_classes(label, 4), [True, True, False, False])
    found = train_and_judge(pixels, label, judged, CLASSES, plan(pixels), silent)
    assert not found.pred_probs[:, 2].any() and (found.pred_probs[:, :2] > 0).all()
    np.testing.assert_allclose(found.pred_probs.sum(1), 1, rtol=1e-6)


def test_the_judged_are_normalised_as_those_trained_on() -> None:
    pixels, _ = images(30)
    others = 255 - pixels
    trained = Batches.on(torch.device("cpu"), pixels, np.arange(30), imagenet=False)
    found = trained.of(others).read(torch.arange(30))
    expected = (torch.from_numpy(others).permute(0, 3, 1, 2).float() / 255 - float((pixels / 255).mean())) / (
        pixels / 255
    ).std()
    torch.testing.assert_close(found, expected.float(), atol=1e-4, rtol=1e-4)


def test_progress_counts_no_folds() -> None:
    pixels, label = images(30)
    events = []
    train_and_judge(pixels, label, pixels, CLASSES, plan(pixels, epochs=2), events.append)
    assert {event.folds for event in events} == {0}
    assert [event.done for event in events if event.accuracy == event.accuracy] == [30, 60]
