"""The trainings of `--method calibrated`: planted, interrupted, judged again. Not its verdict."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures import QUICK, write_folder

import labelscrub
from labelscrub import Settings, data
from labelscrub.errors import UsageError
from labelscrub.pipeline import predicting
from labelscrub.records import Event, Images, Manifest, Predictions, silent
from labelscrub.store import RunDirectory, read_arrays

SETTINGS = {**QUICK, "network": "mnist-cnn", "loss": "ce"}


def load(source: Path, cache: Path) -> tuple[Manifest, Images]:
    of_source = Settings().source
    manifest = data.read_source(source, of_source, silent)
    shape = data.image_shape(manifest, of_source, None)
    return manifest, data.load_images(manifest, shape, of_source, cache_dir=cache, workers=0, progress=silent)


def train(source: Path, out: Path, progress: Any = silent, **settings: Any) -> Predictions:
    """What `detect` trains, and no verdict."""
    manifest, images = load(source, out.parent / "cache")
    chosen = Settings.of({**SETTINGS, **settings})
    with RunDirectory.open(out) as run:
        return predicting.train(run, manifest, images, chosen, {"settings": settings}, progress)[0]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Predictions, list[str]]:
    """A folder of images and a calibrated run on it: its predictions, and what it said."""
    folder = tmp_path_factory.mktemp("calibrated")
    write_folder(folder / "images", each=40)
    said: list[str] = []
    predictions = train(
        folder / "images", folder / "run", lambda event: said.append(event.message), method="calibrated"
    )
    return folder, predictions, [message for message in said if message]


def test_plants_are_told_and_kept(done: tuple[Path, Predictions, list[str]]) -> None:
    folder, predictions, said = done
    assert predictions.evidence is not None
    plants = predictions.evidence.plants
    number = len(plants.index)
    assert 8 <= number <= 12  # 15 % of up to 40 images that the first training held out, twice
    assert f"planted {number} labels in 2 trainings to learn what wrong labels look like here" in said
    assert set(plants.fold) == {1, 2} and set(predictions.fold[plants.index]) == {0}
    stored = read_arrays(folder / "run" / "predictions.npz")
    np.testing.assert_array_equal(stored["plants_label"], plants.label)
    assert np.isfinite(stored["late_margin"]).all() and np.isfinite(stored["train_probs"]).all()


def test_the_first_training_is_that_of_method_cl(
    done: tuple[Path, Predictions, list[str]], tmp_path: Path
) -> None:
    folder, predictions, _ = done
    cl = train(folder / "images", tmp_path / "run")
    assert cl.evidence is None and set(read_arrays(tmp_path / "run" / "predictions.npz")) == {
        "pred_probs",
        "fold",
        "aum",
        "history",
    }
    scout = predictions.fold == 0
    np.testing.assert_array_equal(predictions.fold, cl.fold)
    assert predictions.pred_probs[scout].tobytes() == cl.pred_probs[scout].tobytes()
    assert (predictions.pred_probs[~scout] != cl.pred_probs[~scout]).any()  # those saw planted labels
    assert predictions.history[:4] == cl.history[:4] and predictions.history[4:] != cl.history[4:]


class StopError(Exception):
    """Stands for a kill in the midst of training."""


@pytest.mark.parametrize("fold", [1, 2, 3])
def test_an_interrupted_run_goes_on_and_gives_an_undisturbed_runs_bytes(
    done: tuple[Path, Predictions, list[str]], tmp_path: Path, fold: int
) -> None:
    folder, _, said = done

    def stop(event: Event) -> None:
        if event.fold == fold and event.done:
            raise StopError

    with pytest.raises(StopError):
        train(folder / "images", tmp_path / "run", stop, method="calibrated")
    trained, messages = set(), []

    def listen(event: Event) -> None:
        trained.add(event.fold)
        messages.append(event.message)

    train(folder / "images", tmp_path / "run", listen, method="calibrated")
    assert trained - {0} == set(range(fold, 4))
    assert set(said) <= set(messages)
    expected = (folder / "run" / "predictions.npz").read_bytes()
    assert (tmp_path / "run" / "predictions.npz").read_bytes() == expected


def test_a_training_that_learns_nothing_plants_nothing(tmp_path: Path) -> None:
    write_folder(tmp_path / "images", each=8)
    said: list[str] = []
    predictions = train(
        tmp_path / "images",
        tmp_path / "run",
        lambda event: said.append(event.message),
        method="calibrated",
        lr=1e-9,
        epochs=1,
    )
    assert predictions.evidence is not None and not len(predictions.evidence.plants.index)
    assert any(
        message.startswith("no labels planted: the first training agrees with too few") for message in said
    )


@pytest.fixture
def judged(done: tuple[Path, Predictions, list[str]]) -> tuple[Path, Path]:
    """The images, and the run as `detect` leaves it, as far as `--pred-probs` reads it."""
    folder, _, _ = done
    manifest, images = load(folder / "images", folder / "cache")
    run = {
        "format": 1,
        "settings": {"method": "calibrated"},
        "summary": {"classes": [{"label": name} for name in manifest.classes]},
        "provenance": {"data": data.data_fingerprint(manifest, images)},
    }
    with RunDirectory.open(folder / "run") as directory:
        directory.put_bytes("run.json", json.dumps(run).encode())
    return folder / "images", folder / "run"


def test_a_calibrated_run_is_judged_again(
    done: tuple[Path, Predictions, list[str]], judged: tuple[Path, Path], tmp_path: Path
) -> None:
    source, run = judged
    predicting.require_evidence(run)
    manifest, images = load(source, tmp_path / "cache")
    again = predicting.brought(run, manifest, images, data.data_fingerprint(manifest, images))
    evidence = done[1].evidence
    assert again.evidence is not None and evidence is not None
    assert again.evidence.train_probs.tobytes() == evidence.train_probs.tobytes()
    assert again.evidence.plants.late_margin.tobytes() == evidence.plants.late_margin.tobytes()
    report = labelscrub.detect(source, pred_probs=run, out=tmp_path / "again", workers=0)
    assert report.settings["method"] == "cl" and report.summary.suspects > 0
    np.testing.assert_array_equal(report.findings.aum, done[1].aum)


def test_only_a_calibrated_run_is_judged_with_calibrated(tmp_path: Path) -> None:
    write_folder(tmp_path / "images")
    labelscrub.detect(tmp_path / "images", out=tmp_path / "cl", workers=0, **QUICK)
    np.save(tmp_path / "p.npy", np.zeros((72, 3), np.float32))
    for brought, cause in (("cl", "the run in .* is of --method cl"), ("p.npy", "needs a run of its own")):
        with pytest.raises(UsageError, match=cause) as raised:
            labelscrub.detect(
                tmp_path / "images", pred_probs=tmp_path / brought, out=tmp_path / "run", method="calibrated"
            )
        assert "leave out --pred-probs" in raised.value.fix
