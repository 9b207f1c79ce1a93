"""`corrupt`: a source's manifest with noise planted in its labels, and the true label beside each."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelscrub.config import Settings, SourceSettings, flag, nearest
from labelscrub.data.column import TRUE_LABEL
from labelscrub.errors import DataError, UsageError
from labelscrub.records import Progress, silent

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from labelscrub.records import Manifest

KINDS = ("uniform", "pair", "confusable", "matrix:FILE")
RATE = 0.2


@dataclass(frozen=True, eq=False)
class Corrupted:
    """What was planted, and where it is written."""

    manifest: Path
    kind: str
    rate: float | None
    """As asked for; None with a matrix."""
    seed: int
    classes: tuple[str, ...]
    """(K,)"""
    images: int
    """Usable rows, of which labels could change; the others keep theirs."""
    listed: int
    changed: NDArray[np.int64]
    """(K, K) changed labels by true class (row) and noisy class (column); its diagonal is 0."""
    detect: tuple[str, ...]
    """Arguments of the `labelscrub detect` that takes the manifest."""

    @property
    def planted(self) -> int:
        """Labels that were changed."""
        return int(self.changed.sum())

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know, a sentence each."""
        if self.planted or self.rate == 0:
            return ()
        why = "the matrix drew none"
        if self.rate is not None:
            why = f"{self.rate:g} of {self.images:,} labels is less than one: take a higher --rate"
        return (f"no label is changed: {why}",)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "manifest": str(self.manifest),
            "kind": self.kind,
            "rate": self.rate,
            "seed": self.seed,
            "listed": self.listed,
            "images": self.images,
            "planted": self.planted,
            "classes": list(self.classes),
            "changed": self.changed.tolist(),
            "detect": list(self.detect),
            "notes": list(self.notes),
        }


def corrupt(
    source: str | Path,
    *,
    kind: str = "uniform",
    rate: float | None = None,
    seed: int = 0,
    from_run: str | Path | None = None,
    out: str | Path | None = None,
    true_column: str = TRUE_LABEL,
    settings: Settings | None = None,
    progress: Progress = silent,
) -> Corrupted:
    """Write the source's manifest with wrong labels in it; what `labelscrub corrupt` does.

    Args:
        kind: uniform, pair, confusable, or matrix:FILE; see `evaluation.noise`.
        rate: share of the usable labels to change, exactly; default 0.2. Not with a matrix, which decides.
        from_run: for confusable: a finished run of the same source.
        out: the manifest to write; default beside the source. Nothing is overwritten.
        true_column: name of the new column with the labels as they were.
        settings: how to read the source.
    Raises:
        UsageError, DataError, EnvironmentProblem: with what is wrong and what to do.
    """
    import numpy as np

    from labelscrub import data
    from labelscrub.curation import relabel

    if not str(source):  # Path("") would be the working directory
        raise UsageError("the source's name is empty", "is the variable set that it comes from?")
    settings = settings or Settings()
    name, matrix = _parse(kind, rate, from_run)
    manifest = data.read_source(Path(source), settings.source, progress)
    data.require_present(manifest, settings.source)
    target = Path(out) if out is not None else default_out(manifest)
    if manifest.kind == "folder":
        _refuse_inside(manifest, target)
        _refuse_names(manifest)
    rate = None if matrix else RATE if rate is None else rate
    rows, noisy = _planted(manifest, name, rate, seed, matrix, from_run, progress)
    labels = np.full(len(manifest), -1, np.int32)
    labels[rows] = noisy
    relabel.write_relabelled(manifest, labels, target, true_column, delimiter=settings.source.delimiter)
    true, count = manifest.labels[rows], len(manifest.classes)
    changed = np.zeros((count, count), np.int64)
    np.add.at(changed, (true, noisy), true != noisy)
    return Corrupted(
        manifest=target,
        kind=kind,
        rate=rate,
        seed=seed,
        classes=manifest.classes,
        images=len(rows),
        listed=len(manifest),
        changed=changed,
        detect=_detect(manifest, target, settings.source, relabel.image_root(manifest, target)),
    )


def default_out(manifest: Manifest) -> Path:
    """SOURCE-noisy.* beside the source's table; beside the folder where there is none, or several."""
    from labelscrub import curation

    source = manifest.source
    in_folder = source.is_dir()
    if in_folder and len(manifest.tables) == 1 and manifest.kind != "parquet":
        source, in_folder = manifest.tables[0], False  # metadata.csv of a Hugging Face image folder
    if not in_folder:
        return source.with_name(f"{source.stem}-noisy{source.suffix}")
    # A Parquet file in a folder of Parquet files would be taken for one more of them.
    if source.name in ("", ".."):
        source = source.resolve()
    return source.with_name(f"{source.name}-noisy.{curation.clean_suffix(manifest)}")


def _parse(kind: str, rate: float | None, from_run: str | Path | None) -> tuple[str, Path | None]:
    """The kind's name and a matrix's file; UsageError for arguments that don't belong to it."""
    name, colon, file = kind.partition(":")
    names = [known.partition(":")[0] for known in KINDS]
    if name not in names or (colon and name != "matrix"):
        raise UsageError(f"--kind {kind!r} is not one of: {', '.join(KINDS)}", nearest(name, names))
    if name == "matrix" and not file:
        raise UsageError("--kind matrix needs its file", "write --kind matrix:FILE")
    if name == "matrix" and rate is not None:
        raise UsageError("--rate has no effect with a matrix, which decides by itself", "leave it out")
    if name == "confusable" and from_run is None:
        raise UsageError(
            "--kind confusable needs a model's probabilities",
            "run `labelscrub detect` on the source, and name its run directory with --from",
        )
    if name != "confusable" and from_run is not None:
        raise UsageError(
            f"--from has no effect with --kind {name}", "leave it out, or take --kind confusable"
        )
    return name, Path(file).expanduser() if file else None


def _refuse_inside(manifest: Manifest, target: Path) -> None:
    """A table inside the image folder would be one of its files when it is read again."""
    place = target.resolve().parent
    root = manifest.root.resolve()
    if root in (place, *place.parents):
        raise UsageError(f"{target} is inside the source {manifest.source}", "choose another --out")


def _refuse_names(manifest: Manifest) -> None:
    """Folder names that a table can't hold as labels: they would be read as none, or not at all."""
    for name in manifest.classes:
        if name in ("nan", "NaN") or not name.strip() or name != name.encode(errors="replace").decode():
            raise DataError(
                f"the class folder {name!r} of {manifest.source} can't be a label in a CSV",
                "rename the folder",
            )


def _planted(
    manifest: Manifest,
    kind: str,
    rate: float | None,
    seed: int,
    matrix: Path | None,
    from_run: str | Path | None,
    progress: Progress,
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """(N,) the usable rows, and (N,) their noisy labels."""
    import numpy as np

    from labelscrub.evaluation import noise

    usable = manifest.labels >= 0
    usable[[skip.row for skip in manifest.skipped]] = False
    rows = np.flatnonzero(usable)
    if from_run is not None:
        rows, pred_probs = _predicted(manifest, Path(from_run), progress)
    if not len(rows):
        reasons = Counter(skip.reason for skip in manifest.skipped).most_common(3)
        shown = ", ".join(f"{count:,} {reason}" for reason, count in reasons) or "it lists none"
        raise DataError(
            f"{manifest.source} has no usable image: {shown}",
            f"paths are looked for in {manifest.root}: set --image-root if that is wrong",
        )
    true, count = manifest.labels[rows], len(manifest.classes)
    if matrix is not None:
        transition = noise.read_transition(matrix, manifest.classes)
        return rows, noise.matrix_flips(true, transition, seed)
    assert rate is not None
    if kind == "confusable":
        return rows, noise.confusable_flips(true, pred_probs, rate, seed)
    flips = {"uniform": noise.uniform_flips, "pair": noise.pair_flips}[kind]
    return rows, flips(true, count, rate, seed)


def _predicted(
    manifest: Manifest, folder: Path, progress: Progress
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """(N,) the rows that a finished run used, and (N, K) its out-of-fold probabilities.

    DataError unless the source is what the run saw, down to every image's bytes.
    """
    import numpy as np

    from labelscrub import curation, data
    from labelscrub.pipeline.predicting import brought
    from labelscrub.records import Images
    from labelscrub.reporting.run_json import parse_run_json
    from labelscrub.store import RunDirectory, read_run

    stored = parse_run_json(read_run(folder))  # first of all: it says best what is no run
    with RunDirectory.open(folder, finished=True) as run:
        run.verify_outputs(stored)
        if not (folder / "predictions.npz").is_file():
            raise UsageError(
                f"the run in {folder} trained no model: it was given --pred-probs",
                "name a run that trained its own",
            )
        table = curation.read_report(folder / "report.parquet")
        rows, fingerprint = table.row[table.used], ""
        if len(table.row) == len(manifest):
            no_pixels = np.zeros((len(rows), 0, 0, 1), np.uint8)
            digests = data.hash_images(manifest, rows.tolist(), progress)
            images = Images(no_pixels, rows, digests, table.skipped)
            fingerprint = data.data_fingerprint(manifest, images)
        else:
            images = Images(np.zeros((0, 0, 0, 1), np.uint8), rows, np.zeros((0, 32), np.uint8))
        return rows, brought(folder, manifest, images, fingerprint).pred_probs


def _detect(manifest: Manifest, target: Path, settings: SourceSettings, root: Path | None) -> tuple[str, ...]:
    """Arguments of the `labelscrub detect` that reads `target` as the source was read."""
    given: dict[str, Any] = {"split": None, "image_root": None if root is None else str(root)}
    if manifest.tables:  # named, for the new column might make them a riddle
        given |= {"path_column": manifest.path_column, "label_column": manifest.label_column}
    settings = dataclasses.replace(settings, **given)
    arguments = [str(target)]
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if value != field.default:
            arguments += [flag(field.name)] if value is True else [flag(field.name), str(value)]
    return (*arguments, "--out", str(target.with_name(f"{target.stem}-run")))
