"""`tune`, and `detect --loss auto`: the loss that planted wrong labels speak for."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelscrub.config import AUTO, CALIBRATED_LOSS, LOSS_PARAMETERS, Settings, TrainingSettings, flag
from labelscrub.errors import DataError, UsageError
from labelscrub.pipeline import predicting
from labelscrub.processes import cores
from labelscrub.records import Images, Manifest, Progress, silent

if TYPE_CHECKING:
    from collections.abc import Callable

    from labelscrub.store import RunDirectory
    from labelscrub.training.tuning import Arrays, Tuning

_NOTE = f"--loss {AUTO}"  # how the note on the choice begins
# Settings that the choice takes the place of.
CHOSEN = ("loss", "delay", *dict.fromkeys(name for legal in LOSS_PARAMETERS.values() for name in legal))


@dataclass(frozen=True)
class Tuned:
    """What `tune` found out."""

    tuning: Tuning
    detect: tuple[str, ...]
    """Arguments of the `labelscrub detect` that trains with the choice."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; seconds are null where nothing was trained."""
        tried = []
        for index, one in enumerate(self.tuning.tried):
            values = dataclasses.asdict(one)
            candidate = values.pop("candidate")
            values["seconds"] = None if math.isnan(one.seconds) else round(one.seconds, 1)
            tried.append({**candidate, **values, "chosen": index == self.tuning.chosen})
        return {
            "images": self.tuning.images,
            "planted": self.tuning.planted,
            "tried": tried,
            "why": self.tuning.sentence(),
            "detect": list(self.detect),
        }


def tune(
    source: str | Path,
    *,
    cache_dir: str | Path | None = None,
    workers: int | None = None,
    settings: Settings | None = None,
    progress: Progress = silent,
    **options: Any,
) -> Tuned:
    """Which loss, with which parameters, suits the source; what `labelscrub tune` does. Nothing is judged.

    Args:
        source: image folder or manifest.
        cache_dir: where decoded images are kept, for `detect` to take; default a folder that is deleted.
        workers: decoding processes; 0 decodes in this one; default one a core.
        settings: all settings at once, instead of `options`; those of the loss are not looked at.
        progress: called with an Event now and then.
        options: single settings by name; see labelscrub.config.
    Raises:
        UsageError, DataError, EnvironmentProblem, ModelError: with what is wrong and what to do.
    """
    from labelscrub import data
    from labelscrub.training.tuning import tune_loss

    if settings is not None and options:
        raise UsageError("give either settings or single options, not both: " + ", ".join(options))
    settings = settings or Settings.of(options)
    if not str(source):  # Path("") would be the working directory
        raise UsageError("the source's name is empty", "is the variable set that it comes from?")
    if "://" not in str(source) and not os.path.lexists(source):
        raise UsageError(f"there is no source {source}", "name an image folder or a manifest")
    with contextlib.ExitStack() as stack:
        cache = cache_dir or stack.enter_context(tempfile.TemporaryDirectory(prefix="labelscrub-"))
        manifest = data.read_source(Path(source), settings.source, progress)
        shape = data.image_shape(manifest, settings.source, settings.training.image_size)
        images = data.load_images(
            manifest,
            shape,
            settings.source,
            cache_dir=Path(cache),
            workers=cores() if workers is None else workers,
            progress=progress,
        )
        data.require_trainable(manifest, images, settings.source, folds=0)
        tuning = tune_loss(*_what(manifest, images), settings.training, progress)
        del images  # they are mapped from the folder that goes now
    arguments = [str(source), *_as_given(settings), *tuning.choice.options()]
    if cache_dir is not None:
        arguments += ["--cache-dir", str(cache_dir)]
    return Tuned(tuning, tuple(arguments))


def decide(
    run: RunDirectory,
    manifest: Manifest,
    images: Images,
    settings: Settings,
    fingerprint: dict[str, Any],
    progress: Progress,
) -> tuple[TrainingSettings, str]:
    """Begin a run with --loss auto: the settings to train with, and a note that says why.

    Each training is stored when it is done, so a run that goes on chooses the same, and trains only the rest.
    """
    from labelscrub import training
    from labelscrub.training.tuning import CANDIDATES, TooFewPlantsError, tune_loss

    plain = CANDIDATES[0].apply(settings.training)
    plan = training.plan_training(plain, shape=images.pixels.shape, num_classes=len(manifest.classes))
    run.begin({**fingerprint, "training": {**plan.fingerprint(), "loss": AUTO}})

    found = _finished(run, settings.training)
    if found is not None:
        return found

    def remember(name: str, compute: Callable[[], Arrays]) -> Arrays:
        name = f"fold-{name}"  # a checkpoint to the run directory
        arrays = predicting.stored_arrays(run, name, progress)
        if arrays is None:
            arrays = compute()
            run.put_arrays(name, arrays)
        return arrays

    try:
        tuning = tune_loss(*_what(manifest, images), settings.training, progress, remember=remember)
    except TooFewPlantsError as error:
        calibrated = settings.detection.method == "calibrated"
        loss = CALIBRATED_LOSS if calibrated else TrainingSettings().loss
        note = f"{_NOTE} COULD NOT CHOOSE and took {loss}, the default: {error.cause}"
        return replace(settings.training, loss=loss), note
    return tuning.choice.apply(settings.training), f"{_NOTE} {tuning.sentence()}"


def _finished(run: RunDirectory, training: TrainingSettings) -> tuple[TrainingSettings, str] | None:
    """What the finished run in this directory chose, whose checkpoints are gone; None where there is none."""
    from labelscrub.reporting.run_json import parse_run_json
    from labelscrub.store import read_run
    from labelscrub.training.tuning import Candidate

    try:
        done = parse_run_json(read_run(run.path))
    except (UsageError, DataError):
        return None
    trained, notes = done["provenance"]["training"], done["summary"]["notes"]
    candidate = Candidate(trained["loss"], trained["parameters"], trained["delay"])
    return candidate.apply(training), next(note for note in notes if note.startswith(_NOTE))


def _what(manifest: Manifest, images: Images) -> tuple[Any, Any, Any, int]:
    """The first arguments of `tune_loss`."""
    labels, groups = manifest.labels[images.rows], predicting.fold_groups(manifest, images)
    return images.pixels, labels, groups, len(manifest.classes)


def _as_given(settings: Settings) -> list[str]:
    """The command-line options of all settings that are not at their default, but those that are chosen."""
    arguments = []
    for group in (settings.source, settings.training, settings.detection):
        for field in dataclasses.fields(group):
            value = getattr(group, field.name)
            if value != field.default and field.name not in CHOSEN:
                arguments += [flag(field.name)] if value is True else [flag(field.name), f"{value}"]
    return arguments
