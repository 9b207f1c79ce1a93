"""One run of `bench speed`: planted errors in a file, one side's command, what it found and took."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import json
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelscrub.config import Settings, flag
from labelscrub.errors import EXIT_MODEL, UsageError
from labelscrub.evaluation import measuring
from labelscrub.evaluation.speed_results import SpeedRun, Who
from labelscrub.records import Event, Progress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from labelscrub.evaluation.datasets import Dataset

MANIFEST, RESULTS = "labels.csv", "run"  # in the folder of a run


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """The images of a data set as files."""

    root: Path
    names: list[str]
    """(N,) relative to `root`, or absolute."""
    sha256: NDArray[np.uint8]
    """(N, 32) of each file's bytes: equal ones share a fold."""
    resize: bool
    """Whether files may be of another size than the training images."""


@dataclass(frozen=True)
class Job:
    """One trial: what is the same for all of its runs."""

    dataset: Dataset
    rate: float
    trial: int
    settings: Settings
    """With the trial's own seed, the baseline's network, epochs, batch size and learning rate."""
    lr_drop: float
    """Factor on the baseline's learning rate after half of the epochs."""
    workers: int | None
    """Our decoding processes; None is one a core."""

    @property
    def name(self) -> str:
        """For people: "fashion-mnist 0.2 trial 1"."""
        return f"{Path(self.dataset.name).name} {self.rate:g} trial {self.trial + 1}"

    def folder(self) -> str:
        """A folder name that people can read; no other trial has it, nor have other versions or machines."""
        from labelscrub.evaluation.trials import content_digest

        deciding = [content_digest(self.dataset), self.dataset.images.pixels.shape, self.rate, self.trial]
        deciding += [dataclasses.asdict(self.settings.training), self.workers]
        deciding += [measuring.hardware(), measuring.versions()]
        digest = hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()
        readable = "".join(c if c.isalnum() or c in "." else "-" for c in self.name)
        return f"speed-{readable[-60:]}-{digest[:12]}"


def write_files(dataset: Dataset, folder: Path, progress: Progress) -> ImageFiles:
    """A source's own image files, or new PNG files in `folder` of a data set that is known by name."""
    import numpy as np
    from PIL import Image

    manifest, images = dataset.manifest, dataset.images
    names = [manifest.files[row] for row in images.rows]
    if all(names):
        return ImageFiles(manifest.root.resolve(), names, images.sha256, resize=True)
    if manifest.image_column:
        raise UsageError(
            f"bench speed starts from image files, and {dataset.name} embeds its images",
            "name a folder, or a manifest with paths",
        )
    progress(Event("bench", message=f"writing {len(names):,} PNG files"))
    folder.mkdir()
    names = [f"{index:06d}.png" for index in range(len(names))]
    digests = []
    for name, pixels in zip(names, images.pixels, strict=True):
        file = io.BytesIO()
        Image.fromarray(pixels.squeeze()).save(file, "PNG")
        (folder / name).write_bytes(file.getvalue())
        digests.append(hashlib.sha256(file.getvalue()).digest())
    sha256 = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)
    return ImageFiles(folder, names, sha256, resize=False)


def warm_up(folder: Path) -> None:
    """Load what both sides import once, so that the first run does not pay for reading it from the disk."""
    code = "import cleanlab.filter, labelscrub.pipeline.finding, labelscrub.training, pyarrow, torchvision"
    usage = measuring.measure([sys.executable, "-W", "ignore", "-c", code], folder=folder)
    if usage.code:
        raise measuring.failure("importing torch and cleanlab", usage)


def run(job: Job, who: Who, files: ImageFiles, folder: Path, progress: Progress) -> SpeedRun:
    """Plant the errors, run one side in `folder`, read what it wrote and remove it.

    Raises:
        EnvironmentProblem: the command failed, which neither side should.
    """
    content, wrong, fold = _manifest(job, files)
    (folder / MANIFEST).write_bytes(content)
    results = folder / RESULTS
    command = _baseline(job, files) if who == "baseline" else _ours(job, who, files)
    usage = measuring.measure(command, folder=folder)
    no_verdict = who != "baseline" and usage.code == EXIT_MODEL
    if usage.code and not no_verdict:
        raise measuring.failure(f"the run of {who}", usage)
    failure = ""
    found: dict[str, Any]
    if no_verdict:
        said = [line for line in usage.stderr.splitlines() if line.startswith("labelscrub: ")]
        failure = said[0].removeprefix("labelscrub: ") if said else "no verdict"
        progress(Event("bench", message=f"no verdict: {failure}"))
        found = {"network": "", "epochs": 0, "precision": "", "device": "", "seconds": {}, "rows": []}
    else:
        found = _of_baseline(job, results) if who == "baseline" else _of_ours(results, fold, progress)
    shutil.rmtree(results)
    suspects = found.pop("rows")
    return SpeedRun(
        dataset=job.dataset.name,
        noise_rate=job.rate,
        trial=job.trial,
        who=who,
        images=len(wrong),
        classes=len(job.dataset.manifest.classes),
        folds=job.settings.training.folds,
        wall=round(usage.wall, 3),
        cpu=round(usage.cpu, 3),
        others=round(usage.others, 3),
        peak_memory=usage.peak,
        planted=int(wrong.sum()),
        suspects=len(suspects),
        found=int(wrong[suspects].sum()),
        failure=failure,
        command=shlex.join([Path(command[0]).name, *command[1:]]),
        versions=measuring.versions(),
        machine=measuring.hardware(),
        **found,
    )


def _manifest(job: Job, files: ImageFiles) -> tuple[bytes, NDArray[np.bool_], NDArray[np.int16]]:
    """The labels as a CSV file, which of them are wrong (N,), and the fold of each (N,), as ours has it."""
    import numpy as np

    from labelscrub import training
    from labelscrub.detection import duplicate_groups
    from labelscrub.evaluation.noise import uniform_flips

    manifest, chosen = job.dataset.manifest, job.settings.training
    true = manifest.labels[job.dataset.images.rows]
    given = uniform_flips(true, len(manifest.classes), job.rate, chosen.seed)
    labels = [manifest.classes[k] for k in given]
    by_text = np.unique(np.array(labels, object), return_inverse=True)[1]  # as the file will be read
    fold = training.assign_folds(by_text, duplicate_groups(files.sha256), chosen.folds, chosen.seed)
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["path", "label", "fold"])
    writer.writerows(zip(files.names, labels, fold.tolist(), strict=True))
    return text.getvalue().encode(errors="surrogateescape"), given != true, fold


def _baseline(job: Job, files: ImageFiles) -> list[str]:
    chosen, (_, side, _, channels) = job.settings.training, job.dataset.images.pixels.shape
    options: dict[str, Any] = {
        "--image-root": files.root,
        "--out": RESULTS,
        "--side": side,
        "--mode": "L" if channels == 1 else "RGB",
        "--network": chosen.network,
        "--epochs": chosen.epochs,
        "--batch-size": chosen.batch_size,
        "--lr": chosen.lr,
        "--lr-drop": job.lr_drop,
        "--seed": chosen.seed,
    }
    if chosen.device != "auto":
        options["--device"] = chosen.device
    return measuring.python(
        "labelscrub.evaluation.baseline", MANIFEST, *_flat(options), *(["--resize"] if files.resize else [])
    )


def _ours(job: Job, who: Who, files: ImageFiles) -> list[str]:
    """`labelscrub detect` as anybody types it; what is at its default is left out."""
    chosen, default = job.settings.flat(), Settings().flat()
    names = ["max_pixels", "max_file_mb", "folds", "seed", "device", "precision"]
    if who == "same":
        names += ["network", "epochs", "batch_size", "lr"]
    options: dict[str, Any] = {
        "--image-root": files.root,
        "--path-column": "path",
        "--label-column": "label",
        "--out": RESULTS,
        "--image-size": job.dataset.images.pixels.shape[1],
        **{flag(name): chosen[name] for name in names if chosen[name] != default[name]},
    }
    if who == "same":
        options["--loss"] = "ce"
        options["--precision"] = "float32"  # the baseline's
    if job.workers is not None:
        options["--workers"] = job.workers
    return measuring.labelscrub_command("detect", MANIFEST, *_flat(options), "--allow-outside", "--quiet")


def _flat(options: dict[str, Any]) -> list[str]:
    return [str(part) for pair in options.items() for part in pair]


def _of_baseline(job: Job, results: Path) -> dict[str, Any]:
    result = json.loads((results / "result.json").read_bytes())
    seconds = {stage: round(value, 3) for stage, value in result["seconds"].items()}
    seconds["train"] = round(seconds["train"] + seconds.pop("predict"), 3)
    return {
        "network": job.settings.training.network,
        "epochs": job.settings.training.epochs,
        "precision": "float32",
        "device": result["device"],
        "seconds": seconds,
        "rows": result["suspects"],
    }


def _of_ours(results: Path, fold: NDArray[np.int16], progress: Progress) -> dict[str, Any]:
    import numpy as np

    from labelscrub import curation
    from labelscrub.store import read_arrays

    provenance = json.loads((results / "run.json").read_bytes())["provenance"]
    plan = provenance["training"]
    table = curation.read_report(results / "report.parquet")
    own = read_arrays(results / "predictions.npz")["fold"]
    if not np.array_equal(own, fold[table.row[table.used]]):
        progress(Event("bench", message="the folds of this run are not those of the baseline"))
    return {
        "network": plan["network"],
        "epochs": plan["recipe"]["epochs"],
        "precision": plan["precision"],
        "device": "cpu" if plan["device"] == "cpu" else plan["device_name"],
        "seconds": provenance["times"],
        "rows": table.row[table.used & table.is_suspect].tolist(),
    }
