"""Predictions for a run: trained model by model and stored, or brought by the user."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelscrub.config import AUTO, Settings
from labelscrub.errors import DataError, EnvironmentProblem, UsageError
from labelscrub.records import Event, Images, Manifest, Plants, Predictions, Progress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from labelscrub.store import RunDirectory
    from labelscrub.training import FoldResult, TrainingPlan


def train(
    run: RunDirectory,
    manifest: Manifest,
    images: Images,
    settings: Settings,
    fingerprint: dict[str, Any],
    progress: Progress,
) -> tuple[Predictions, TrainingPlan]:
    """Every model that the method needs, each stored when it is done; what is stored is not trained again."""
    from labelscrub import training
    from labelscrub.pipeline import tuning

    labels, num_classes = manifest.labels[images.rows], len(manifest.classes)
    why: tuple[str, ...] = ()  # of --loss auto
    if settings.training.loss == AUTO:
        chosen, note = tuning.decide(run, manifest, images, settings, fingerprint, progress)
        settings, why = replace(settings, training=chosen), (note,)
    aum = settings.detection.method == "aum"
    plan = training.plan_training(
        settings.training,
        shape=images.pixels.shape,
        num_classes=num_classes,
        trainings=training.THRESHOLD_RUNS if aum else settings.training.folds,
    )
    plan = replace(plan, notes=(*why, *plan.notes))

    def predictions() -> Predictions:
        if aum:
            return _threshold_runs(run, images, labels, num_classes, plan, settings, progress)
        groups = fold_groups(manifest, images)
        return _cross_validated(run, images, labels, num_classes, groups, plan, settings, progress)

    return once(run, plan, fingerprint, predictions, progress, begun=bool(why)), plan


def once(
    run: RunDirectory,
    plan: TrainingPlan,
    fingerprint: dict[str, Any],
    train: Callable[[], Predictions],
    progress: Progress,
    *,
    begun: bool = False,
) -> Predictions:
    """Begin the run, unless it has `begun`; its stored predictions, else those of `train`, now stored."""
    from labelscrub import training

    if not begun:
        run.begin({**fingerprint, "training": plan.fingerprint()})
    for note in plan.notes:
        progress(Event("train", message=note))
    arrays = stored_arrays(run, "predictions", progress)
    if arrays is not None:
        progress(Event("train", message=f"trained before, predictions taken from {run.path}"))
        return training.predictions_from_arrays(arrays)
    predictions = train()
    run.put_arrays("predictions", training.predictions_to_arrays(predictions))
    return predictions


def _cross_validated(
    run: RunDirectory,
    images: Images,
    labels: NDArray[np.int32],  # (N,)
    num_classes: int,
    groups: NDArray[np.int64],  # (N,)
    plan: TrainingPlan,
    settings: Settings,
    progress: Progress,
) -> Predictions:
    """Fold by fold; with method calibrated the first says what is planted in the others."""
    import numpy as np

    from labelscrub import training
    from labelscrub.detection import duplicate_groups

    folds, calibrated = settings.training.folds, settings.detection.method == "calibrated"
    fold = training.assign_folds(labels, groups, folds, settings.training.seed)
    apart = len(np.unique(fold))
    if apart < folds:
        raise UsageError(
            f"the images form only {apart} groups that can be kept apart, too few for {folds} folds",
            "choose fewer --folds, or a --group-column with more values",
        )

    def trained(plants: Mapping[int, Plants | None]) -> Iterator[FoldResult]:
        fixed: dict[str, Any] = {"labels": labels, "fold": fold, "num_classes": num_classes, "plan": plan}
        jobs = {f"fold-{k}": partial(training.train_fold, k=k, plants=plants[k], **fixed) for k in plants}
        return _trained(run, jobs, images, plan, progress)

    def results() -> Iterator[FoldResult]:
        if not calibrated:
            yield from trained(dict.fromkeys(range(folds)))
            return
        (scout,) = trained({0: training.no_plants(0)})
        copies = duplicate_groups(images.sha256)
        plants = training.plan_plants(scout, labels, fold, copies, settings.training.seed)
        progress(Event("train", message=_planted([len(of_fold.index) for of_fold in plants])))
        yield scout
        yield from trained({k: plants[k] for k in range(1, folds)})

    return training.combine(results(), len(labels), num_classes)


def _planted(plants: Sequence[int]) -> str:
    """A sentence on how many labels each training plants."""
    trainings = sum(number > 0 for number in plants)
    if not trainings:
        return "no labels planted: the first training agrees with too few of the labels that it did not see"
    return (
        f"planted {sum(plants):,} labels in {trainings} trainings to learn what wrong labels look like here"
    )


def _threshold_runs(
    run: RunDirectory,
    images: Images,
    labels: NDArray[np.int32],  # (N,)
    num_classes: int,
    plan: TrainingPlan,
    settings: Settings,
    progress: Progress,
) -> Predictions:
    from labelscrub import training

    thresholds = training.threshold_sets(len(labels), num_classes, settings.training.seed)  # (2, N)

    jobs = {
        f"threshold-run-{k}": partial(
            training.train_threshold_run,
            labels=labels,
            threshold=thresholds[k],
            k=k,
            num_classes=num_classes,
            plan=plan,
        )
        for k in range(len(thresholds))
    }
    results = list(_trained(run, jobs, images, plan, progress))
    return training.combine_threshold_runs(results, thresholds, len(labels), num_classes)


def _trained(
    run: RunDirectory,
    jobs: Mapping[str, partial[FoldResult]],  # by the name that the result is stored under
    images: Images,
    plan: TrainingPlan,
    progress: Progress,
) -> Iterator[FoldResult]:
    """Do the jobs that are not done yet, each stored as soon as it is; then the results in order, one by one.

    All are read from the disk: held until the slowest is done, N x K of each could be gigabytes.
    """
    from labelscrub import training

    missing = dict(jobs)
    for name in jobs:
        if stored_arrays(run, name, progress) is not None:
            progress(Event("train", message=f"{name} was trained before, taken from {run.path}"))
            del missing[name]

    def store(name: str, result: FoldResult) -> None:
        run.put_arrays(name, result.arrays())

    training.train_side_by_side(missing, len(jobs), images.pixels, plan, progress, store, run.path)
    for name in jobs:
        arrays = stored_arrays(run, name, progress)
        if arrays is None:
            raise EnvironmentProblem(
                f"{run.path / name}.npz is not as it was written a moment ago",
                "check the disk; the same command trains again what is missing",
            )
        yield training.FoldResult.from_arrays(arrays)


def stored_arrays(run: RunDirectory, name: str, progress: Progress) -> dict[str, NDArray[Any]] | None:
    """What the run has under this name; None where it has none, or a damaged one, which is said."""
    known = len(run.warnings)
    arrays = run.get_arrays(name)
    for warning in run.warnings[known:]:
        progress(Event("train", message=warning))
    return arrays


def fold_groups(manifest: Manifest, images: Images) -> NDArray[np.int64]:
    """(N,) images that must share a fold share a number: same bytes, or same value of the group column."""
    import numpy as np

    from labelscrub.detection import duplicate_groups

    duplicates = duplicate_groups(images.sha256)
    if manifest.groups is None:
        return duplicates
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    number_of: dict[str, int] = {}
    values = np.array([number_of.setdefault(manifest.groups[row], len(number_of)) for row in images.rows])
    # A graph of contents and group values: an image joins its own two, and what hangs together is one group.
    first_value = int(duplicates.max()) + 1
    size = first_value + len(number_of)
    joined = coo_array((np.ones(len(duplicates)), (duplicates, first_value + values)), shape=(size, size))
    component: NDArray[np.int32] = connected_components(joined, directed=False)[1]
    return component[duplicates].astype(np.int64)


def identity(pred_probs: Path) -> str:
    """Digest of the probabilities that the user brings, so that a changed file is noticed."""
    from labelscrub.store import sha256_file

    file = pred_probs / "predictions.npz" if pred_probs.is_dir() else pred_probs
    if not file.is_file():
        raise UsageError(
            f"there is no file {file}", "--pred-probs takes a file or a finished run's directory"
        )
    return sha256_file(file)


def with_classes(manifest: Manifest, names: Sequence[str]) -> Manifest:
    """The manifest with these classes too, after its own, where it does not have them."""
    own = set(manifest.classes)
    return replace(manifest, classes=(*manifest.classes, *(name for name in names if name not in own)))


def classes_of(pred_probs: Path) -> tuple[str, ...]:
    """The classes that a run's network knew, which may be more than its source has; () where it is a file."""
    from labelscrub.reporting.run_json import parse_run_json
    from labelscrub.store import read_run

    if not pred_probs.is_dir():
        return ()
    return tuple(entry["label"] for entry in parse_run_json(read_run(pred_probs))["summary"]["classes"])


def require_evidence(pred_probs: Path) -> None:
    """UsageError unless --pred-probs names a run that planted labels."""
    from labelscrub.reporting.run_json import parse_run_json
    from labelscrub.store import read_run

    own = "leave out --pred-probs, name a run of --method calibrated, or take --method cl"
    if not pred_probs.is_dir():
        raise UsageError("--method calibrated needs a run of its own, in which it plants labels", own)
    method = parse_run_json(read_run(pred_probs))["settings"]["method"]
    if method != "calibrated":
        raise UsageError(
            f"--method calibrated needs a run of its own, in which it plants labels: the run in {pred_probs} "
            f"is of --method {method}",
            own,
        )


def brought(pred_probs: Path, manifest: Manifest, images: Images, fingerprint: str) -> Predictions:
    """The user's probabilities, in image order; those of a run keep their folds, AUM and evidence."""
    import numpy as np

    from labelscrub import data
    from labelscrub.reporting.run_json import parse_run_json
    from labelscrub.store import read_arrays, read_run

    if pred_probs.is_dir():
        from labelscrub import training  # loads torch, which a file does without

        run = parse_run_json(read_run(pred_probs))
        if run["provenance"]["data"] != fingerprint:
            raise DataError(
                f"the run in {pred_probs} is of other data than this source",
                "name the source that run had, as it was then",
            )
        if run["settings"]["method"] == "aum":
            raise UsageError(
                f"the run in {pred_probs} used --method aum: its probabilities are not out of fold",
                "name a run of --method cl",
            )
        arrays = read_arrays(pred_probs / "predictions.npz")
        return replace(training.predictions_from_arrays(arrays), aum_threshold=None)
    probabilities = data.brought_probabilities(pred_probs, manifest, images)
    count = len(probabilities)
    return Predictions(probabilities, np.full(count, -1, np.int16), np.full(count, np.nan, np.float32))
