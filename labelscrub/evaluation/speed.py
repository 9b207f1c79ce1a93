"""`bench speed`: the whole job by a plain PyTorch and cleanlab script and by us, in turn, on the same labels.

Each trial plants errors, then runs the baseline, ours with the very same network and epochs, and ours as it
comes; the next trial the other way round. Every run is a process of its own with an empty cache, stored when
it ends. The images have been read once before, so that all runs find them in the page cache.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from labelscrub.config import Settings
from labelscrub.errors import EnvironmentProblem, UsageError
from labelscrub.evaluation import measuring
from labelscrub.evaluation.loading import DataOptions, check_apart, known_name
from labelscrub.evaluation.speed_results import WHO, SpeedRun
from labelscrub.evaluation.speed_runs import ImageFiles, Job, run, warm_up, write_files
from labelscrub.records import Event, Progress, silent

if TYPE_CHECKING:
    from labelscrub.evaluation.datasets import Dataset
    from labelscrub.evaluation.measured import Measured

DATASETS, RATES, TRIALS = ("fashion-mnist",), (0.2,), 3
EPOCHS = 10  # the paper's
RECIPES = {  # the paper's networks, as `training.recipes` has them: batch size, learning rate, its drop
    "mnist-cnn": (64, 1e-3, 1.0),
    "cifar-resnet34": (128, 1e-4, 0.1),
}


def speed(
    *,
    out: Path,
    data: DataOptions,
    rates: tuple[float, ...] | None = None,
    trials: int | None = None,
    settings: Settings,
    resume: bool = True,
    progress: Progress = silent,
) -> Measured:
    """Run what is not stored, then write the table in all forms.

    Raises:
        UsageError, DataError, EnvironmentProblem: as `detect`; a run of ours whose models can't be trusted is
            a result without F1.
    """
    from labelscrub.evaluation.bench import TRIALS as FOLDER
    from labelscrub.evaluation.bench import make_folder
    from labelscrub.evaluation.speed_tables import show

    if importlib.util.find_spec("cleanlab") is None:
        raise EnvironmentProblem(
            "the baseline needs cleanlab, which is not installed", "pip install 'labelscrub[bench]'"
        )
    settings, lr_drop = _with_network(settings)
    check_apart(out, data)
    make_folder(out)
    notes: list[str] = []
    runs: list[SpeedRun] = []
    for name in data.names or DATASETS:
        with tempfile.TemporaryDirectory(prefix="speed-", dir=out.resolve()) as scratch:
            dataset = _load(known_name(name), data, settings, Path(scratch), notes, progress)
            jobs = [
                Job(dataset, rate, trial, _seeded(settings, trial), lr_drop, data.workers)
                for trial in range(trials or TRIALS)
                for rate in rates or RATES
            ]
            runs += _sweep(jobs, out / FOLDER, Path(scratch), progress, resume=resume)
    return show(runs, out, notes)


def _sweep(
    jobs: list[Job], folder: Path, scratch: Path, progress: Progress, *, resume: bool
) -> Iterator[SpeedRun]:
    """Every run in turn, from the store or anew."""
    files: ImageFiles | None = None
    for job in jobs:
        for who in WHO if job.trial % 2 == 0 else reversed(WHO):
            place = folder / job.folder() / f"{who}.json"
            kept = measuring.stored(place, progress) if resume else None
            progress(Event("bench", message=f"{job.name}, {who}{': done before' if kept else ''}"))
            if kept:
                yield SpeedRun.from_json({**kept, "dataset": job.dataset.name})  # wherever it lies now
                continue
            if files is None:
                files = write_files(job.dataset, scratch / "images", progress)
                warm_up(scratch)
            found = run(job, who, files, scratch, progress)
            measuring.store(place, dataclasses.asdict(found))
            yield found


def _with_network(settings: Settings) -> tuple[Settings, float]:
    """The settings with what the baseline trains in place, and the drop of its learning rate."""
    training = settings.training
    network = "mnist-cnn" if training.network == "auto" else training.network
    if network not in RECIPES:
        raise UsageError(
            f"bench speed has no baseline with --network {network}", f"it has: {', '.join(RECIPES)}"
        )
    batch_size, lr, lr_drop = RECIPES[network]
    training = dataclasses.replace(
        training,
        network=network,
        epochs=training.epochs or EPOCHS,
        batch_size=training.batch_size or batch_size,
        lr=training.lr or lr,
    )
    return dataclasses.replace(settings, training=training), lr_drop


def _seeded(settings: Settings, trial: int) -> Settings:
    training = settings.training
    return dataclasses.replace(settings, training=dataclasses.replace(training, seed=training.seed + trial))


def _load(
    name: str, data: DataOptions, settings: Settings, scratch: Path, notes: list[str], progress: Progress
) -> Dataset:
    """The data set, decoded: that also tells which images can be read."""
    from labelscrub import data as sources
    from labelscrub.evaluation.datasets import load_dataset
    from labelscrub.processes import cores

    dataset = load_dataset(
        name,
        data_root=data.root,
        limit=data.limit,
        settings=settings,
        cache_dir=scratch / "first",
        workers=cores() if data.workers is None else data.workers,
        progress=progress,
    )
    manifest, images = dataset.manifest, dataset.images
    sources.require_trainable(manifest, images, settings.source, settings.training.folds)
    notes += [f"{dataset.name}: {note}" for note in (*manifest.notes, *images.notes)]
    if settings.training.network == "cifar-resnet34" and images.pixels.shape[3] == 1:
        raise UsageError(
            f"{dataset.name} is grey: the baseline's --network cifar-resnet34 is for colour",
            "leave --network out",
        )
    return dataset
