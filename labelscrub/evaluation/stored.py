"""A finished run as it lies on the disk: whole, of the same source, and with all that it says of its images.

Symbols: R rows listed by the source, U of them used by the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from labelscrub.config import FILTERS, DetectionSettings, Settings
from labelscrub.errors import DataError
from labelscrub.records import Calibration, Predictions, Progress, silent

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from labelscrub.curation import SuspectTable
    from labelscrub.records import Manifest


@dataclass(frozen=True, eq=False)
class StoredRun:
    """What a finished run left behind, found whole and of the same source."""

    folder: Path
    manifest: Manifest
    settings: Settings
    table: SuspectTable
    predictions: Predictions | None
    """(U,) None where the user brought probabilities: the run keeps no copy of them."""
    columns: Mapping[str, NDArray[np.float64]]
    """(U,) self_confidence, normalized_margin, aum, by_class, by_noise_rate of report.parquet;
    error_probability, NaN where not assessed, all NaN where the run was not calibrated."""
    calibration: Calibration | None
    """Without its transition matrix; None where the run was not calibrated."""

    @property
    def own(self) -> tuple[str, str]:
        """The run's method, and its filter where the method has one."""
        detection = self.settings.detection
        return detection.method, detection.filter if detection.method == "cl" else ""

    @property
    def rows(self) -> NDArray[np.int64]:
        """(U,) manifest row of each used image."""
        return self.table.row[self.table.used]

    @property
    def given(self) -> NDArray[np.int32]:
        """(U,) class index of the label in the source."""
        return self.manifest.labels[self.rows]

    @property
    def suspect(self) -> NDArray[np.bool_]:
        """(U,) the run's own verdict."""
        return self.table.is_suspect[self.table.used]

    @property
    def conflict(self) -> NDArray[np.int64]:
        """(U,) group of same-bytes images with different labels, from 1; 0 is none."""
        return self.table.conflict[self.table.used]


def read_stored(folder: Path, source: str | Path | None = None, progress: Progress = silent) -> StoredRun:
    """A finished run and its source as it is now, or where it has moved to.

    Raises:
        UsageError: no finished run, or edited results.
        DataError: the source's rows, labels, classes or groups are not what the run saw.
    """
    import numpy as np

    from labelscrub import curation, data
    from labelscrub.data.column import read_numbers
    from labelscrub.reporting.run_json import parse_run_json
    from labelscrub.reporting.trusted import calibration_of
    from labelscrub.store import RunDirectory, read_arrays, read_run

    with RunDirectory.open(folder, finished=True) as directory:
        run = parse_run_json(read_run(folder))
        directory.verify_outputs(run)
        settings, provenance = Settings.of(run["settings"]), run["provenance"]
        if "labels" in provenance:
            manifest = data.read_labels(Path(source or provenance["labels"]))
        else:
            manifest = data.read_source(Path(source or provenance["source"]), settings.source, progress)
        table = curation.read_report(folder / "report.parquet")
        _require_unchanged(manifest, table, provenance["data"])
        names = ["self_confidence", "normalized_margin", "aum", "by_class", "by_noise_rate"]
        if settings.detection.method == "calibrated":  # older runs have no such column
            names.append("error_probability")
        columns = read_numbers(folder / "report.parquet", names)
        predictions = None
        if "pred_probs" not in provenance["training"]:
            arrays = read_arrays(folder / "predictions.npz")  # training's own reader would load torch
            predictions = Predictions(
                arrays["pred_probs"], arrays["fold"], arrays["aum"], arrays.get("aum_threshold")
            )
    used = {name: values[table.used] for name, values in columns.items()}
    used.setdefault("error_probability", np.full(int(table.used.sum()), np.nan))
    return StoredRun(folder, manifest, settings, table, predictions, used, calibration_of(run["summary"]))


def _require_unchanged(manifest: Manifest, table: SuspectTable, fingerprint: str) -> None:
    """Refuse a source whose rows, labels, classes or groups are not what the run saw.

    The run's own digests stand in for the images': nothing here depends on what is in them by now, only on
    which row is which, so they are not read again.
    """
    import numpy as np

    from labelscrub import curation, data
    from labelscrub.records import Images

    changed = curation.changed_rows(manifest, table, None)
    rows = table.row[table.used]
    then = Images(np.zeros((len(rows), 0, 0, 1), np.uint8), rows, table.sha256, table.skipped)
    if changed or data.data_fingerprint(manifest, then) != fingerprint:
        shown = ", ".join(f"{path} ({what})" for _, path, what in changed[:3]) or "classes, groups or files"
        more = f" and {len(changed) - 3:,} more" if len(changed) > 3 else ""
        raise DataError(f"the data is not what the run saw: {shown}{more}", "run detect again, then score")


def ranking_keys(stored: StoredRun) -> tuple[dict[str, NDArray[np.float64]], list[str]]:
    """Score -> what it sorts by (U,), higher is more likely wrong; and notes."""
    import numpy as np

    from labelscrub.detection.score import margins, ranking

    columns, method, notes = stored.columns, stored.settings.detection.method, []
    recorded = not np.isnan(columns["aum"]).all()
    if stored.predictions is None:  # what the report has of them: single precision
        keys = {
            "self-confidence": 1 - columns["self_confidence"],
            "normalized-margin": (1 - columns["normalized_margin"]) / 2,
            "aum": -columns["aum"],
        }
    else:
        found = margins(stored.predictions.pred_probs, stored.given)
        if not np.array_equal(found.p_given, columns["self_confidence"]):
            raise DataError(
                f"{stored.folder / 'predictions.npz'} is not of the run that wrote the report",
                "delete it and run the same detect command again",
            )
        said = columns["error_probability"]
        keys = {
            name: ranking(name, found, stored.predictions, said, method=method)[0]
            for name in ("self-confidence", "normalized-margin", *(["aum"] if recorded else []))
        }
    if not recorded:
        keys.pop("aum", None)
        why = "the probabilities were brought" if stored.predictions is None else "others were trained on"
        notes.append(f"AUM was not recorded: {why}")
    elif not np.isfinite(keys["aum"]).all():
        del keys["aum"]
        notes.append("AUM is left out: it is not finite for every image")
    if method == "calibrated":
        keys["error-probability"] = np.nan_to_num(columns["error_probability"], nan=0.0)  # not assessed: last
    if method == "aum":
        notes.append(
            "method aum has no out-of-fold probabilities: self-confidence and normalized-margin are taken "
            "while training, and confident learning is left out"
        )
    return keys, notes


def suspects_by_method(stored: StoredRun) -> tuple[dict[tuple[str, str], NDArray[np.bool_]], list[str]]:
    """(method, filter) -> suspects (U,), for each that the stored figures allow; and notes."""
    from labelscrub.detection import find_errors

    settings, conflict = stored.settings.detection, stored.conflict
    own = stored.own
    if settings.method == "aum":
        return {own: stored.suspect}, []
    calibrated = settings.method == "calibrated"
    if not conflict.any() or (settings.filter == "both" and not calibrated):
        by_class, by_noise_rate = (stored.columns[name] > 0 for name in ("by_class", "by_noise_rate"))
        masks = dict(zip(FILTERS, (by_class & by_noise_rate, by_class, by_noise_rate), strict=True))
        if calibrated:
            return {own: stored.suspect, **{("cl", name): mask for name, mask in masks.items()}}, []
        # Beside what its filter proposes a run suspects copies whose like have a better label; so does every
        # filter. With "both" these are all that count, for the other filters propose what it proposes.
        outvoted = stored.suspect & ~masks[settings.filter]
        return {("cl", name): mask | outvoted for name, mask in masks.items()}, []
    if stored.predictions is None:
        return {own: stored.suspect}, [
            "other filters are left out: with copies under different labels they need the probabilities"
        ]
    found = {own: stored.suspect}
    for name in (name for name in FILTERS if ("cl", name) != own):
        findings, _ = find_errors(
            stored.predictions,
            stored.given,
            stored.manifest.classes,
            stored.rows,
            DetectionSettings(filter=name, score="self-confidence"),
            folds=int(stored.predictions.fold.max()) + 1,
            conflict=conflict,
        )
        found["cl", name] = findings.is_suspect
    return found, []
