"""`detect`: the main job."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelscrub import __version__
from labelscrub.config import GROUPS, Settings
from labelscrub.errors import UsageError
from labelscrub.pipeline.clock import Clock
from labelscrub.processes import cores
from labelscrub.records import Event, Progress, silent

if TYPE_CHECKING:
    from labelscrub.pipeline.two_sources import TrainSource
    from labelscrub.records import Images, Manifest, Report


def detect(
    source: str | Path | None,
    *,
    train_on: str | Path | None = None,
    train_split: str | None = None,
    out: str | Path = "labelscrub-out",
    restart: bool = False,
    pred_probs: str | Path | None = None,
    labels: str | Path | None = None,
    cache_dir: str | Path | None = None,
    workers: int | None = None,
    settings: Settings | None = None,
    progress: Progress = silent,
    **options: Any,
) -> Report:
    """Find the wrong labels of `source`; what `labelscrub detect` does.

    Args:
        source: image folder or manifest; None only with both `pred_probs` and `labels`.
        train_on: another source, which one network is trained on to judge the labels of `source`; its own may
            be noisy. Default: the images of `source` judge each other, fold by fold.
        train_split: which split of `train_on` to read, as the setting `split` says it of `source`.
        out: run directory. A run that was stopped there goes on, and gives the same bytes.
        restart: begin anew where `out` holds a run with other data or settings.
        pred_probs: (N, K) out-of-fold probabilities of your own model: a file, or a finished run's directory.
        labels: with `pred_probs` and no source: the labels' file.
        cache_dir: where decoded images are kept; default in `out`.
        workers: decoding processes; 0 decodes in this one; default one a core.
        settings: all settings at once, instead of `options`; by `Settings.of`, which knows the loss that goes
            with a method.
        progress: called with an Event now and then.
        options: single settings by name: `loss="pz", cutoff=0.05`; see labelscrub.config.
    Raises:
        UsageError, DataError, EnvironmentProblem, ModelError: with what is wrong and what to do.
    """
    from labelscrub import data, detection
    from labelscrub.pipeline import judging, predicting, recording, two_sources
    from labelscrub.store import RunDirectory, check_not_inside

    if settings is not None and options:
        raise UsageError("give either settings or single options, not both: " + ", ".join(options))
    settings = settings or Settings.of(options)
    out, clock = Path(out), Clock()
    _check_arguments(source, out, pred_probs, labels, settings)
    two_sources.check_arguments(train_on, train_split, out, pred_probs, settings)
    if pred_probs is not None and settings.detection.method == "calibrated":
        predicting.require_evidence(Path(pred_probs))
    for scanned in (source, train_on):
        if scanned is not None:
            check_not_inside(out, Path(scanned))
    fingerprint: dict[str, Any] = {
        "labelscrub": __version__,
        "settings": {name: getattr(getattr(settings, group), name) for group, name in _deciding()},
    }
    if pred_probs is not None:
        fingerprint["training"] = {"pred_probs": predicting.identity(Path(pred_probs))}
    read_as = None  # with --train-on: how each of the two sources is read
    if source is not None and train_on is not None:
        fingerprint["settings"]["train_on"] = "another source"  # which one, its content says
        read_as = two_sources.source_settings(Path(source), Path(train_on), train_split, settings.source)
        settings = replace(settings, source=read_as[0])
    with RunDirectory.open(out, restart=restart) as run:
        run.expect(fingerprint)
        taught: TrainSource | None = None
        load = partial(
            data.load_images,
            cache_dir=Path(cache_dir) if cache_dir else out / "cache",
            workers=cores() if workers is None else workers,
            progress=progress,
        )
        if source is None:
            manifest = data.read_labels(Path(str(labels)))
            images = _no_images(manifest)
        elif read_as is not None:
            manifest, images, taught = two_sources.read(
                Path(source),
                Path(str(train_on)),
                read_as,
                settings.training.image_size,
                load,
                clock,
                progress,
            )
            fingerprint["train_data"] = data.data_fingerprint(taught.manifest, taught.images)
        else:
            with clock.stage("read"):
                manifest = data.read_source(Path(source), settings.source, progress)
                if pred_probs is not None:
                    manifest = predicting.with_classes(manifest, predicting.classes_of(Path(pred_probs)))
            with clock.stage("decode"):
                shape = data.image_shape(manifest, settings.source, settings.training.image_size)
                images = load(manifest, shape, settings.source)
        cross_validates = taught is None and pred_probs is None and settings.detection.method != "aum"
        folds = settings.training.folds if cross_validates else 0
        data.require_trainable(manifest, images, settings.source, folds)
        given = manifest.labels[images.rows]
        fingerprint["data"] = data.data_fingerprint(manifest, images)
        notes: tuple[str, ...] = ()
        with clock.stage("train"):
            if pred_probs is not None:
                run.begin(fingerprint)
                predictions = predicting.brought(Path(pred_probs), manifest, images, fingerprint["data"])
                folds = int(predictions.fold.max()) + 1  # 0 where no fold is known
            elif taught is not None:
                folds = 1
                train_labels, notes = two_sources.training_labels(taught, manifest, images)
                predictions, plan = judging.train_on(
                    run,
                    train_labels,
                    taught.images,
                    given,
                    images,
                    manifest.classes,
                    settings,
                    fingerprint,
                    progress,
                )
                fingerprint["training"], notes = plan.fingerprint(), (*notes, *plan.notes)
            else:
                predictions, plan = predicting.train(run, manifest, images, settings, fingerprint, progress)
                fingerprint["training"], notes = plan.fingerprint(), plan.notes
        with clock.stage("detect"):
            progress(Event("detect"))
            findings, assessment = detection.find_errors(
                predictions,
                given,
                manifest.classes,
                images.rows,
                settings.detection,
                folds=folds,
                conflict=detection.conflicts(images.sha256, given),
            )
            details = detection.details(findings, predictions.pred_probs, images.pixels)
        report = recording.make_report(
            manifest, images, findings, details, assessment, settings, fingerprint, out, notes
        )
        if taught is not None:
            report.provenance["train_source"] = str(taught.manifest.source.resolve())
            report.provenance["train_data"] = fingerprint["train_data"]
        if labels is not None:
            report.provenance["labels"] = str(Path(labels).resolve())
        recording.write(run, report, settings, clock, progress)
        return report


def _check_arguments(
    source: str | Path | None,
    out: Path,
    pred_probs: str | Path | None,
    labels: str | Path | None,
    settings: Settings,
) -> None:
    if source is not None and not str(source):  # Path("") would be the working directory
        raise UsageError("the source's name is empty", "is the variable set that it comes from?")
    for given in (source, pred_probs, labels):
        if given is not None and out.resolve() in (Path(given).resolve(), Path(given).resolve().parent):
            raise UsageError(f"{given} is in the run directory {out} itself", "choose another --out")
    if source is None and (pred_probs is None or labels is None):
        raise UsageError(
            "no source given", "name an image folder or a manifest, or both --pred-probs and --labels"
        )
    if source is not None and labels is not None:
        raise UsageError(
            "--labels goes with --pred-probs alone", "the labels of a source come from the source"
        )
    if pred_probs is not None and settings.detection.method == "aum":
        raise UsageError("--method aum trains its own models", "leave out --pred-probs, or take --method cl")
    if source is not None and "://" not in str(source) and not os.path.lexists(source):
        raise UsageError(f"there is no source {source}", "name an image folder or a manifest")


def _no_images(manifest: Manifest) -> Images:
    """The images of labels that came without pictures."""
    import numpy as np

    from labelscrub.records import Images

    rows = np.flatnonzero(manifest.labels >= 0)
    return Images(np.zeros((len(rows), 0, 0, 1), np.uint8), rows, np.zeros((len(rows), 32), np.uint8))


def _deciding() -> list[tuple[str, str]]:
    """(group, name) of the settings that a run can't change half-way; the source's act through its data."""
    return [
        (group, name) for group in ("training", "detection") for name in GROUPS[group].__dataclass_fields__
    ]
