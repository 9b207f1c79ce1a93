"""The data sets of an experiment, and what each is trained with."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from labelscrub.config import Settings
from labelscrub.errors import DataError, EnvironmentProblem, LabelscrubError, UsageError
from labelscrub.evaluation.experiments import Experiment, with_recipe
from labelscrub.evaluation.trials import RATELESS
from labelscrub.records import Progress
from labelscrub.store import check_not_inside

if TYPE_CHECKING:
    from labelscrub.evaluation.datasets import Dataset


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


def check_apart(out: Path, data: DataOptions) -> None:
    """UsageError where the results would go into a folder of images: its next scan would see them."""
    for name in (*data.names, *([data.train_on] if data.train_on else [])):
        if Path(name).is_dir():
            check_not_inside(out, Path(name))


def load_all(
    experiment: Experiment,
    out: Path,
    data: DataOptions,
    settings: Settings,
    notes: list[str],
    progress: Progress,
) -> Iterator[tuple[Dataset, Dataset | None, Settings]]:
    """Each data set, what to train on instead, and its settings.

    What is not there is an error where the user named it, else one of the `notes`.
    """
    from labelscrub import data as sources
    from labelscrub.evaluation.datasets import load_dataset

    names = [known_name(name) for name in data.names or experiment.datasets]
    if not names:
        raise UsageError(
            f"{experiment.name} has no data set of its own here", "name a folder or manifest with --data"
        )
    if "given" in experiment.noise_kinds and data.truth is None and data.given is None:
        raise UsageError(
            f"{experiment.name} compares with labels known to be true, and none are named",
            "name their column or file with --truth, or plant errors: --noise uniform --rates 0.2",
        )
    if not experiment.rates and any(kind not in RATELESS for kind in experiment.noise_kinds):
        raise UsageError(f"{experiment.name} has no noise rates of its own", "name them: --rates 0.2")
    stems = Counter(Path(name).stem for name in names)
    if twice := [stem for stem, count in stems.items() if count > 1]:
        raise UsageError(
            f"two data sets are called '{twice[0]}', and so would be their plots",
            "run them apart, each with its --out",
        )
    missing: list[LabelscrubError] = []
    for name in names:
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
            folds = chosen.training.folds if train_on is None and experiment.method != "aum" else 0
            sources.require_trainable(loaded.manifest, loaded.images, chosen.source, folds)
            notes += [f"{loaded.name}: {note}" for note in (*loaded.manifest.notes, *loaded.images.notes)]
        if dataset.truth is not None and (unknown := int((dataset.truth == -1).sum())):
            notes.append(f"{dataset.name}: {unknown:,} images of unknown true label are not compared")
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
    names = {judged.manifest.classes[k] for k in judged.manifest.labels[judged.images.rows]}
    if not names & {train_on.manifest.classes[k] for k in train_on.manifest.labels[train_on.images.rows]}:
        raise DataError(
            f"{train_on.name} and {judged.name} have no class in common", "their labels must be spelled alike"
        )
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


def known_name(name: str) -> str:
    """FASHION-MNIST is fashion-mnist and cifar-10 is cifar10; odd spellings only where no path has them."""
    from labelscrub.evaluation.dataset_files import KNOWN, SPELLINGS
    from labelscrub.evaluation.published import dataset_key

    keys = {dataset_key(known): known for known in KNOWN}
    is_path = name not in SPELLINGS and (Path(name).exists() or "/" in name or "." in name)
    return name if is_path else keys.get(dataset_key(name), name)
