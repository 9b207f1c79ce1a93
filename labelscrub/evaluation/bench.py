"""An experiment of the paper on whatever data there is, its figures beside the published ones."""

from __future__ import annotations

import dataclasses
import functools
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelscrub.config import Settings
from labelscrub.errors import EnvironmentProblem, LabelscrubError, UsageError
from labelscrub.evaluation.experiments import Experiment, find_experiment, trials_of, with_recipe
from labelscrub.evaluation.results import TrialResult
from labelscrub.evaluation.trials import Trial, read_trial, run_trial
from labelscrub.records import Event, Progress, silent

if TYPE_CHECKING:
    from labelscrub.evaluation.datasets import Dataset
    from labelscrub.evaluation.tables import Row

TRIALS = "trials"  # a folder each trial, in the output folder


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What the user wants otherwise than the experiment has it; None keeps the experiment's."""

    rates: tuple[float, ...] | None = None
    trials: int | None = None
    losses: tuple[str, ...] | None = None
    noise: str | None = None
    delays: tuple[int, ...] | None = None

    def applied(self, experiment: Experiment) -> Experiment:
        """The experiment with the changes; --losses also says what is swept, and over which values."""
        given: dict[str, Any] = {
            field.name: value
            for field in dataclasses.fields(self)
            if (value := getattr(self, field.name)) is not None
        }
        if self.losses is not None and experiment.sweep:
            sweep: dict[str, str] = {}
            for loss, _, value in (text.partition(":") for text in self.losses):
                if loss in experiment.sweep and not value:
                    sweep[loss] = experiment.sweep[loss]
                elif loss in experiment.sweep:  # "cutoff=0.02", then ",0.04"
                    sweep[loss] = f"{sweep[loss]},{value.partition('=')[2]}" if loss in sweep else value
            given["sweep"] = sweep
            given["losses"] = tuple(text for text in self.losses if text.partition(":")[0] not in sweep)
        return dataclasses.replace(experiment, **given)


@dataclass(frozen=True)
class DataOptions:
    """Where data sets come from."""

    names: tuple[str, ...] = ()
    """Named data sets or sources; empty takes the experiment's own that are found."""
    root: Path | None = None
    """Folder with published data sets."""
    limit: int | None = None
    """Images of each data set, at most."""
    truth: str | None = None
    """Column or file with the true labels of a source."""
    given: Path | None = None
    """File with labels as given, in the data set's order; the data set's own are the true ones."""
    train_on: str | None = None
    """For table3: what is trained on; a named data set has a split of its own for that."""
    cache: Path | None = None
    workers: int | None = None
    """Decoding processes; None is one a core."""


@dataclass(frozen=True)
class Benched:
    """What an experiment has shown."""

    experiment: Experiment
    rows: list[Row]
    results: tuple[TrialResult, ...]
    files: tuple[Path, ...]
    notes: tuple[str, ...]


def bench(
    name: str,
    *,
    out: Path,
    data: DataOptions,
    changes: Changes,
    settings: Settings,
    resume: bool = True,
    progress: Progress = silent,
) -> Benched:
    """Run an experiment trial by trial, each stored when it ends, then write its results and plots.

    Raises:
        UsageError, DataError, EnvironmentProblem: as `detect`; a trial that fails is a result, not an error.
    """
    from labelscrub.evaluation import showing

    experiment = changes.applied(find_experiment(name))
    _reject_unused(experiment, changes, data)
    trials = out / TRIALS
    jobs: list[Trial] = []
    notes: list[str] = []
    for dataset, train_on, chosen in _load(experiment, out, data, settings, notes, progress):
        jobs += trials_of(experiment, dataset, chosen, train_on)
    jobs = list({job.folder(): job for job in jobs}.values())  # twice the same is no second trial
    if not jobs:
        raise UsageError(f"{name} has no trial to run", "--trials, --rates and --losses need a value each")
    if experiment.view in showing.DYNAMICS:
        files = showing.show_dynamics(experiment, jobs, trials, out, progress, resume=resume)
        return Benched(experiment, [], (), files, tuple(notes))
    results = tuple(_sweep(jobs, trials, progress, resume=resume))
    rows, files = showing.show(experiment, jobs, results, trials, out)
    return Benched(experiment, rows, results, files, tuple(notes))


def _reject_unused(experiment: Experiment, changes: Changes, data: DataOptions) -> None:
    """UsageError for what would have no effect on the experiment."""
    named = data.truth is not None or data.given is not None
    if experiment.noise == "given" and named and changes.rates is not None:
        raise UsageError(
            f"--rates has no effect on {experiment.name}: its labels are wrong as they come",
            "leave it out, or plant errors: --noise uniform",
        )
    if data.train_on is not None and not experiment.trains_on_other:
        raise UsageError(
            f"--train-on has no effect on {experiment.name}: its images judge each other", "leave it out"
        )
    anl = [spec.loss for spec in experiment.loss_specs() if spec.loss.startswith("anl-")]
    if experiment.view == "gradients" and anl:
        raise UsageError(
            f"{experiment.name} has no gradient in p(given label) of {anl[0]}: it also depends on the others",
            "leave it out of --losses; figure4 takes it",
        )


def _load(
    experiment: Experiment,
    out: Path,
    data: DataOptions,
    settings: Settings,
    notes: list[str],
    progress: Progress,
) -> Iterator[tuple[Dataset, Dataset | None, Settings]]:
    """Each data set, what to train on instead, and its settings. What is not there is an error if it was
    named, else a note."""
    from labelscrub import data as sources
    from labelscrub.evaluation.dataset_files import SPELLINGS
    from labelscrub.evaluation.datasets import load_dataset

    names = data.names or experiment.datasets
    if not names:
        raise UsageError(
            f"{experiment.name} has no data set of its own here", "name a folder or manifest with --data"
        )
    if experiment.noise == "given" and data.truth is None and data.given is None:
        raise UsageError(
            f"{experiment.name} compares with labels known to be true, and none are named",
            "name their column or file with --truth, or plant errors: --noise uniform --rates 0.2",
        )
    stems = Counter(Path(name).stem for name in names)
    if twice := [stem for stem, count in stems.items() if count > 1]:
        raise UsageError(
            f"two data sets are called '{twice[0]}', and so would be their plots",
            "run them apart, each with its --out",
        )
    missing: list[LabelscrubError] = []
    for name in (SPELLINGS.get(name, name) for name in names):
        chosen = with_recipe(experiment, name, settings)
        load = functools.partial(
            load_dataset,
            data_root=data.root,
            limit=data.limit,
            settings=chosen,
            cache_dir=data.cache or out / "cache",
            workers=os.cpu_count() or 1 if data.workers is None else data.workers,
            progress=progress,
        )
        try:
            dataset, train_on = _loaded(experiment, name, data, load, chosen)
        except (UsageError, EnvironmentProblem) as error:
            if data.names:
                raise
            missing.append(error)
            notes.append(f"{name} left out: {error.cause}; {error.fix}")
            continue
        for loaded in filter(None, (dataset, train_on)):
            folds = chosen.training.folds if train_on is None and experiment.method == "cl" else 0
            sources.require_trainable(loaded.manifest, loaded.images, chosen.source, folds)
            notes += [f"{loaded.name}: {note}" for note in (*loaded.manifest.notes, *loaded.images.notes)]
        yield dataset, train_on, chosen
    if len(missing) == len(names):
        raise missing[0]


def _loaded(
    experiment: Experiment,
    name: str,
    data: DataOptions,
    load: functools.partial[Dataset],
    settings: Settings,
) -> tuple[Dataset, Dataset | None]:
    """What is judged and, for an experiment that trains on something else, what is trained on."""
    from labelscrub.pipeline import predicting

    if not experiment.trains_on_other:
        return load(name, truth=data.truth, given=data.given), None
    train_on = load(_other(data.train_on, name, experiment), split="train")
    side = train_on.images.pixels.shape[1]
    same = dataclasses.replace(settings, training=dataclasses.replace(settings.training, image_size=side))
    judged = load(name, split="test", truth=data.truth, given=data.given, settings=same)
    manifest = predicting.with_classes(judged.manifest, train_on.manifest.classes)
    return dataclasses.replace(judged, manifest=manifest), train_on


def _other(train_on: str | None, name: str, experiment: Experiment) -> str:
    """What to train on: what the user names, or the training split of a data set known by name."""
    from labelscrub.evaluation.dataset_files import KNOWN

    if train_on is None and name not in KNOWN:
        raise UsageError(
            f"{experiment.name} trains on one source and judges another", "name both: --train-on, --data"
        )
    return train_on or name


def _sweep(jobs: Sequence[Trial], trials: Path, progress: Progress, *, resume: bool) -> Iterator[TrialResult]:
    """Every trial in turn, with news of how long the rest will take."""
    spent, run = 0.0, 0
    waiting = sum(1 for job in jobs if not (resume and read_trial(trials / job.folder())))
    for number, job in enumerate(jobs, start=1):
        fresh = not (resume and read_trial(trials / job.folder()))
        left = f", about {_duration(spent / run * (waiting - run))} left" if fresh and run else ""
        state = "" if fresh else ": done before"
        progress(Event("bench", message=f"trial {number} of {len(jobs)}, {job.name}{state}{left}"))
        started = time.monotonic()
        yield run_trial(job, trials, progress, resume=resume)
        if fresh:
            spent, run = spent + time.monotonic() - started, run + 1


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{max(minutes, 1)} min"
