"""What `bench scale` times, each in a process of its own: `python -m ...scale_parts PART OPTIONS`.

Prints one line of JSON: seconds of the stage alone, and what else it counts itself.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from labelscrub.config import Settings


def confident(folder: Path, options: dict[str, Any]) -> dict[str, float]:
    """Our confident learning on a memory map."""
    import numpy as np

    from labelscrub.detection import checks, confident_learning

    pred_probs, labels = _probabilities(folder)
    classes = [str(k) for k in range(pred_probs.shape[1])]
    assessed = np.ones(pred_probs.shape[1], np.bool_)

    def work() -> np.ndarray[Any, Any]:
        checks.check_predictions(pred_probs, labels, classes, brought=True)  # cleanlab checks too
        by_class, by_noise_rate, _ = confident_learning.propose(pred_probs, labels, assessed)
        return by_class & by_noise_rate

    return _proposed(work, folder / "ours.npy")


def cleanlab(folder: Path, options: dict[str, Any]) -> dict[str, float]:
    """cleanlab's on the same."""
    from cleanlab.filter import find_label_issues

    pred_probs, labels = _probabilities(folder)
    return _proposed(lambda: find_label_issues(labels, pred_probs, filter_by="both"), folder / "cleanlab.npy")


def decode(folder: Path, options: dict[str, Any]) -> dict[str, float]:
    """Image files to the store, or from it."""
    from labelscrub import data

    settings = Settings().source
    began = time.perf_counter()
    manifest = data.read_source(folder / options["images"], settings)
    scanned = time.perf_counter()
    shape = data.image_shape(manifest, settings, None)
    images = data.load_images(
        manifest, shape, settings, cache_dir=folder / "cache", workers=options["workers"]
    )
    ended = time.perf_counter()
    return {"images": len(images.rows), "decode": ended - scanned, "ready": ended - began}


def scan(folder: Path, options: dict[str, Any]) -> dict[str, float]:
    """A folder's names to a manifest."""
    from labelscrub import data

    began = time.perf_counter()
    manifest = data.read_source(folder / "names", Settings().source)
    return {"images": len(manifest), "seconds": time.perf_counter() - began}


def rest(folder: Path, options: dict[str, Any]) -> dict[str, float]:
    """All of `detect` but decoding and training: probabilities are brought, images come from the store."""
    import labelscrub
    from labelscrub import data, detection, training
    from labelscrub.pipeline.predicting import fold_groups

    settings = Settings()
    source = folder / options["images"]
    manifest = data.read_source(source, settings.source)
    shape = data.image_shape(manifest, settings.source, None)
    images = data.load_images(
        manifest, shape, settings.source, cache_dir=folder / "cache", workers=options["workers"]
    )
    detection.duplicate_groups(images.sha256[:1])  # imported: that is the start, not the folds
    began = time.perf_counter()
    groups = fold_groups(manifest, images)
    training.assign_folds(manifest.labels[images.rows], groups, settings.training.folds, 0)
    folds = time.perf_counter() - began
    report = labelscrub.detect(
        source, pred_probs=folder / "rest.npy", out=folder / "run", cache_dir=folder / "cache"
    )
    times = report.provenance["times"]
    stages = {name: times[name] for name in ("read", "detect", "report")}
    suspects = int(report.findings.is_suspect.sum())
    return {"suspects": suspects, "folds": folds, **stages, "seconds": folds + sum(stages.values())}


def _probabilities(folder: Path) -> tuple[Any, Any]:
    import numpy as np

    return np.load(folder / "pred_probs.npy", mmap_mode="r"), np.load(folder / "labels.npy")


def _proposed(work: Callable[[], Any], target: Path) -> dict[str, float]:
    """Time and anonymous memory; the suspects are written, to be compared."""
    import numpy as np

    from labelscrub.evaluation.measuring import anonymous

    before, began = anonymous("self"), time.monotonic()
    suspects = work()
    ended = time.monotonic()
    np.save(target, suspects)
    return {"seconds": ended - began, "began": began, "ended": ended, "anonymous": before}


PARTS = {part.__name__: part for part in (confident, cleanlab, decode, scan, rest)}


def main() -> None:
    """The part, in the folder of its data."""
    from labelscrub.evaluation.measuring import peak_resident

    name, options = sys.argv[1], json.loads(sys.argv[2])
    found = PARTS[name](Path(options["folder"]), options)
    sys.stdout.write(json.dumps({**found, "resident": peak_resident()}) + "\n")


if __name__ == "__main__":
    main()
