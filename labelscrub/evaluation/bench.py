"""An experiment on whatever data there is, its figures beside the published ones where there are any."""

from __future__ import annotations

import dataclasses
import importlib.util
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelscrub.config import Settings
from labelscrub.errors import EnvironmentProblem, UsageError
from labelscrub.evaluation.experiments import Experiment, find_experiment, trials_of
from labelscrub.evaluation.loading import DataOptions, check_apart, load_all
from labelscrub.evaluation.results import TrialResult
from labelscrub.evaluation.trials import NoiseKind, Trial, read_trial, run_trial
from labelscrub.records import Event, Progress, silent

if TYPE_CHECKING:
    from labelscrub.evaluation.tables import Row

TRIALS = "trials"  # a folder each trial, in the output folder


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What the user wants otherwise than the experiment has it; None keeps the experiment's."""

    rates: tuple[float, ...] | None = None
    trials: int | None = None
    losses: tuple[str, ...] | None = None
    noise: NoiseKind | None = None
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
        if self.noise is not None:
            given["noises"] = ()
        return dataclasses.replace(experiment, **given)


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
    _reject_unused(experiment, changes, data, settings)
    check_apart(out, data)
    make_folder(out)
    trials = out / TRIALS
    jobs: list[Trial] = []
    notes: list[str] = []
    drawing = importlib.util.find_spec("matplotlib") is not None
    if not drawing:  # said before hours of training, not after
        missing = EnvironmentProblem("plots need matplotlib", "pip install 'labelscrub[plots]'")
        if experiment.view in showing.DYNAMICS:
            raise missing
        notes.append(f"no pictures: {missing.cause}; {missing.fix}")
    for dataset, train_on, chosen in load_all(experiment, out, data, settings, notes, progress):
        jobs += trials_of(experiment, dataset, chosen, train_on)
    jobs = _each_once(jobs)
    if not jobs:
        raise UsageError(f"{name} has no trial to run", "--trials, --rates and --losses need a value each")
    if experiment.view in showing.DYNAMICS:
        files = showing.show_dynamics(experiment, jobs, trials, out, progress, resume=resume)
        return Benched(experiment, [], (), files, tuple(notes))
    # First, so that each is trained once, be it with --no-resume.
    sweep = _each_once([*(job.reference for job in jobs if job.reference), *jobs])
    done = dict(
        zip([job.folder() for job in sweep], _sweep(sweep, trials, progress, resume=resume), strict=True)
    )
    results = tuple(done[job.folder()] for job in jobs)
    rows, files = showing.show(experiment, jobs, results, trials, out, drawing=drawing)
    return Benched(experiment, rows, results, files, tuple(notes))


def _each_once(jobs: Iterable[Trial]) -> list[Trial]:
    """Twice the same is no second trial."""
    return list({job.folder(): job for job in jobs}.values())


def make_folder(out: Path) -> None:
    """The output folder, found writable before any work."""
    if not out.parts or (out.exists() and not out.is_dir()):
        raise UsageError(f"--out '{out}' is not a folder", "name a new one, or one that bench wrote before")
    try:
        (out / TRIALS).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out / TRIALS):
            pass
    except OSError as error:
        raise EnvironmentProblem(
            f"cannot write in --out {out}: {error.strerror}", "make it writable, or name another folder"
        ) from error


def _reject_unused(experiment: Experiment, changes: Changes, data: DataOptions, settings: Settings) -> None:
    """UsageError for what would have no effect on the experiment."""
    if experiment.view != "delay" and changes.delays is not None:
        raise UsageError(
            f"--delays has no effect on {experiment.name}", "it belongs to figure11: see --delay"
        )
    if experiment.view == "delay" and settings.training.delay is not None:
        raise UsageError(f"--delay has no effect on {experiment.name}: it tries several", "see --delays")
    named = data.truth is not None or data.given is not None
    if experiment.noise == "given" and named and changes.rates is not None:
        raise UsageError(
            f"--rates has no effect on {experiment.name}: its labels are wrong as they come",
            "leave it out, or plant errors: --noise uniform",
        )
    if experiment.noise_kinds == ("none",) and changes.rates is not None:
        raise UsageError("--rates has no effect with --noise none: nothing is planted", "leave it out")
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
