"""One trial of an experiment: plant errors, train, detect, compare with the truth, store the result.

A trial is known by what decides its figures: images, labels, noise, settings. Two experiments that share a
trial share its folder, and one that was stopped goes on fold by fold.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from labelscrub import __version__
from labelscrub.config import (
    LOSS_PARAMETERS,
    DetectionSettings,
    Settings,
    SourceSettings,
    loss_delay,
    loss_parameters,
)
from labelscrub.errors import DataError, ModelError, UsageError
from labelscrub.evaluation.comparing import compare_margins, compare_suspects
from labelscrub.evaluation.results import TrialResult
from labelscrub.records import Event, Progress, silent
from labelscrub.store import RunDirectory, read_arrays, write_atomic

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from labelscrub.evaluation.datasets import Dataset
    from labelscrub.records import Predictions
    from labelscrub.training import TrainingPlan

NoiseKind = Literal["none", "uniform", "pair", "confusable", "given"]
RATELESS = ("none", "given")
RESULT, PREDICTIONS = "trial.json", "predictions.npz"


@dataclass(frozen=True)
class Noise:
    """How labels are made wrong."""

    kind: NoiseKind
    """none: the true labels; given: they came wrong, and the data set has the true ones."""
    rate: float
    """Share of labels to flip; 0 with none and given."""

    def plant(
        self,
        labels: NDArray[np.int32],  # (N,)
        num_classes: int,
        seed: int,
        pred_probs: NDArray[np.float32] | None = None,  # (N, K) out of fold; for confusable
    ) -> NDArray[np.int32]:
        """(N,) the labels to train on."""
        from labelscrub.evaluation import noise

        if self.kind == "uniform":
            return noise.uniform_flips(labels, num_classes, self.rate, seed)
        if self.kind == "pair":
            return noise.pair_flips(labels, num_classes, self.rate, seed)
        if self.kind == "confusable":
            if pred_probs is None:
                raise ValueError("confusable noise needs the probabilities of `Trial.reference`")
            return noise.confusable_flips(labels, pred_probs, self.rate, seed)
        return labels


@dataclass(frozen=True)
class Trial:
    """Everything that decides one trial's figures, but the machine."""

    dataset: Dataset
    """What is judged."""
    noise: Noise
    settings: Settings
    """With the trial's own seed, that of flips, folds, weights and batch order."""
    number: int
    """From 0."""
    train_on: Dataset | None = None
    """What is trained on, as it is; None cross-validates `dataset` itself."""

    @property
    def loss(self) -> str:
        """With its parameters: "pz cutoff=0.005"."""
        training = self.settings.training
        return " ".join([training.loss, *(f"{k}={v:g}" for k, v in loss_parameters(training).items())])

    @property
    def folds(self) -> int:
        """Of the cross-validation, as detection wants it: 0 by AUM, 1 where others are trained on."""
        if self.settings.detection.method == "aum":
            return 0
        return self.settings.training.folds if self.train_on is None else 1

    @property
    def name(self) -> str:
        """For people: "fashion-mnist uniform 0.2 pz cutoff=0.005 trial 1"."""
        noise = self.noise.kind if self.noise.kind in RATELESS else f"{self.noise.kind} {self.noise.rate:g}"
        how = f"calibrated {self.loss}" if self.settings.detection.method == "calibrated" else self.loss
        return f"{Path(self.dataset.name).name} {noise} {how} trial {self.number + 1}"

    @property
    def reference(self) -> Trial | None:
        """For confusable noise: the trial on the true labels whose probabilities say what is confusable.

        One for all trials that differ in rate, loss, method and number only.
        """
        if self.noise.kind != "confusable":
            return None
        changes: dict[str, Any] = dict.fromkeys(n for legal in LOSS_PARAMETERS.values() for n in legal)
        changes |= {"loss": "ce", "delay": None, "seed": 0}
        training = dataclasses.replace(self.settings.training, **changes)
        settings = dataclasses.replace(self.settings, training=training, detection=DetectionSettings())
        return Trial(self.dataset, Noise("none", 0.0), settings, 0)

    def folder(self) -> str:
        """A folder name that people can read, and that no other trial has."""
        readable = "".join(c if c.isalnum() or c in ".=" else "-" for c in self.name.replace(" trial", ""))
        return f"{readable[-80:]}-{self._digest()[:12]}"

    def labels(
        self,
        pred_probs: NDArray[np.float32] | None = None,  # (N, K) of the reference, where there is one
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """(N,) labels to train on and (N,) true labels, -1 where unknown; see `labels_of`."""
        import numpy as np

        manifest, images = self.dataset.manifest, self.dataset.images
        given: NDArray[np.int32] = manifest.labels[images.rows]
        truth = given if self.dataset.truth is None else self.dataset.truth
        if self.noise.kind == "given":
            if self.dataset.truth is None:
                raise DataError(
                    f"{self.dataset.name} has no true labels", "name their column or file with --truth"
                )
            return given, truth
        clean = np.where(truth >= 0, truth, given).astype(np.int32)
        seed = self.settings.training.seed
        return self.noise.plant(clean, len(manifest.classes), seed, pred_probs), truth

    def _digest(self) -> str:
        """Settings at their default are left out: one more of them must not make stored trials new."""
        settings = self.settings
        chosen = {**settings.flat(), **loss_parameters(settings.training)}
        chosen["delay"] = loss_delay(settings.training)
        defaults = Settings().flat()
        deciding = {
            "labelscrub": __version__,
            "data": [content_digest(d) for d in (self.dataset, self.train_on) if d is not None],
            "noise": [self.noise.kind, self.noise.rate],
            "settings": {
                name: value
                for name, value in chosen.items()
                if value != defaults[name]
                and name not in SourceSettings.__dataclass_fields__
                and name not in ("device", "score")  # the score only sorts a report
            },
            "number": self.number,
        }
        if self.train_on is not None:  # their classes are matched by name
            deciding["classes"] = [d.manifest.classes for d in (self.dataset, self.train_on)]
        return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()


@functools.cache  # asked for each trial again, and a sweep has thousands
def content_digest(dataset: Dataset) -> str:
    """SHA-256 of images, labels, groups and classes without an image, wherever they lie."""
    import numpy as np

    manifest, rows = dataset.manifest, dataset.images.rows
    labels = manifest.labels[rows]
    digest = hashlib.sha256(np.ascontiguousarray(dataset.images.sha256).tobytes())
    digest.update(np.ascontiguousarray(labels, "<i4").tobytes())
    if dataset.truth is not None:
        digest.update(np.ascontiguousarray(dataset.truth, "<i4").tobytes())
    if len(manifest.classes) != len(np.unique(labels)):  # they are outputs, and labels to flip to
        digest.update(f"{len(manifest.classes)} classes".encode())
    if manifest.groups is not None:  # they decide the folds
        digest.update(json.dumps([manifest.groups[row] for row in rows]).encode())
    return digest.hexdigest()


def read_trial(folder: Path, progress: Progress = silent) -> TrialResult | None:
    """The result stored in a trial's folder; None where there is none. A damaged one is said and left out."""
    try:
        return TrialResult.from_json(json.loads((folder / RESULT).read_bytes()))
    except FileNotFoundError:
        return None
    except (ValueError, DataError):
        progress(Event("bench", message=f"{folder / RESULT} is damaged: computed again"))
        return None


@contextlib.contextmanager
def trial_folder(folder: Path, *, resume: bool) -> Iterator[RunDirectory]:
    """The folder's run. What another torch, device or number of threads began is refused, not mixed."""
    try:
        with RunDirectory.open(folder, restart=not resume) as run:
            yield run
    except UsageError as error:
        if "--restart" not in error.fix:
            raise
        raise UsageError(error.cause, f"delete {folder}: then this trial begins anew") from error


def run_trial(trial: Trial, trials: Path, progress: Progress, *, resume: bool) -> TrialResult:
    """The stored result where there is one and `resume`; else the trial itself, stored when it ends.

    A trial whose models can't be trusted (NaN, chance level) has no metrics of suspects and says why.
    """
    folder = trials / trial.folder()
    if resume and (stored := read_trial(folder, progress)) is not None:
        if stored.provenance.get("weights") == "none" != trial.settings.training.weights:
            progress(Event("bench", message="trained from scratch, for want of weights; see --no-resume"))
        return dataclasses.replace(stored, dataset=trial.dataset.name)  # ./mnist or /data/mnist: one trial
    started = time.monotonic()
    with trial_folder(folder, resume=resume) as run:
        failure, metrics, provenance = "", {}, {}
        try:
            given, truth = labels_of(trial, trials, progress)
            predictions, plan = _train(run, trial, given, progress)
            provenance = plan.fingerprint()
            metrics = compare_margins(given, truth, predictions.aum)
            metrics |= compare_suspects(trial, given, truth, predictions)
        except ModelError as error:
            failure = error.cause
            progress(Event("bench", message=f"no verdict: {failure}"))
        result = TrialResult(
            dataset=trial.dataset.name,
            noise=trial.noise.kind,
            noise_rate=trial.noise.rate if trial.noise.kind != "given" else share_wrong(trial.dataset),
            method=trial.settings.detection.method,
            loss=trial.settings.training.loss,
            parameters=loss_parameters(trial.settings.training),
            delay=loss_delay(trial.settings.training),
            trial=trial.number,
            images=len(trial.dataset.images.rows),
            classes=len(trial.dataset.manifest.classes),
            metrics=metrics,
            failure=failure,
            seconds=round(time.monotonic() - started, 1),
            provenance={
                "labelscrub": __version__,
                "folds": trial.folds,
                "filter": trial.settings.detection.filter,
                **provenance,
            },
        )
        write_atomic(folder / RESULT, json.dumps(result.to_json(), indent=1).encode())
        for name in run.checkpoints():
            run.delete(name)
    return result


def labels_of(
    trial: Trial, trials: Path, progress: Progress = silent
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """`Trial.labels`; its reference is run first where it is not stored.

    Raises:
        ModelError: the reference learnt nothing that could be confused.
    """
    reference = trial.reference
    if reference is None:
        return trial.labels()
    stored = trials / reference.folder() / PREDICTIONS
    result = run_trial(reference, trials, progress, resume=True)
    if not result.failure and not stored.is_file():  # the result was kept, and this was not
        result = run_trial(reference, trials, progress, resume=False)
    if result.failure:
        raise ModelError(
            f"what is confusable is not known: trained on the true labels, {result.failure}",
            "more images or epochs may help; --noise uniform needs no model",
        )
    return trial.labels(read_arrays(stored)["pred_probs"])


def share_wrong(dataset: Dataset) -> float:
    """Share of the given labels that are wrong, of those whose truth is known; 0 where none is."""
    given, truth = dataset.manifest.labels[dataset.images.rows], dataset.truth
    if truth is None or not (truth != -1).any():
        return 0.0
    return float((given != truth)[truth != -1].mean())


def _train(
    run: RunDirectory, trial: Trial, given: NDArray[np.int32], progress: Progress
) -> tuple[Predictions, TrainingPlan]:
    from labelscrub.pipeline import judging, predicting, two_sources

    manifest, images, settings = trial.dataset.manifest, trial.dataset.images, trial.settings
    fingerprint: dict[str, Any] = {"trial": trial.folder()}
    if trial.train_on is not None:
        source = two_sources.TrainSource(trial.train_on.manifest, trial.train_on.images)
        labels, _ = two_sources.training_labels(source, manifest, images)
        return judging.train_on(
            run, labels, source.images, given, images, manifest.classes, settings, fingerprint, progress
        )
    labels = manifest.labels.copy()
    labels[images.rows] = given
    noisy = dataclasses.replace(manifest, labels=labels)
    return predicting.train(run, noisy, images, settings, fingerprint, progress)
