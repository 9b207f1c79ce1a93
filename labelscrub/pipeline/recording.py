"""What was found, as a Report and as the files of the run directory."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelscrub import __version__
from labelscrub.config import Settings
from labelscrub.pipeline.clock import Clock
from labelscrub.records import Event, Progress, Skipped, Summary

if TYPE_CHECKING:
    from labelscrub.detection import Assessment
    from labelscrub.records import Details, Findings, Images, Manifest, Report
    from labelscrub.store import RunDirectory

SMALL, LARGE = 160, 256  # longest side of the page's pictures: where there are few, they may be larger
FEW = 1_000


def make_report(
    manifest: Manifest,
    images: Images,
    findings: Findings,
    details: Details,
    assessment: Assessment,
    settings: Settings,
    fingerprint: dict[str, Any],
    out: Path,
    notes: tuple[str, ...],
) -> Report:
    """Everything that the formatters need; `notes` are those of training."""
    from labelscrub import curation
    from labelscrub.records import Report

    skipped = sorted((*manifest.skipped, *images.skipped), key=lambda s: s.row)
    kinds = Counter(s.kind for s in skipped)
    summary = Summary(
        listed=len(manifest),
        used=len(images.rows),
        unreadable=kinds["unreadable"],
        missing=kinds["missing"],
        skipped=kinds["skipped"],
        reasons=dict(Counter(s.reason for s in skipped if s.same_as < 0) | _listed_twice(skipped)),
        suspects=int(findings.is_suspect.sum()),
        conflicts=int((findings.conflict > 0).sum()),
        estimated_noise_rate=assessment.estimated_noise_rate,
        accuracy=assessment.accuracy,
        classes=assessment.classes,
        confused_pairs=assessment.confused_pairs,
        not_assessed=assessment.not_assessed,
        notes=(*manifest.notes, *images.notes, *notes, *assessment.notes),
        calibration=assessment.calibration,
    )
    if summary.listed != summary.used + len(skipped):
        raise RuntimeError(f"rows lost: {summary.listed} listed, {summary.used} used, {len(skipped)} skipped")
    given = settings.flat()
    for name in ("image_root", "classes"):  # prune reads them again, maybe from another working directory
        given[name] = given[name] and str(Path(given[name]).expanduser().resolve())
    provenance = {
        "source": str(manifest.source.resolve()),
        "source_kind": manifest.kind,
        "image_root": str(manifest.root.resolve()),
        "tables": curation.first_rows(manifest),
        "data": fingerprint["data"],
        "training": fingerprint["training"],
        "clean": f"clean.{curation.clean_suffix(manifest)}",
        "versions": _versions(),
    }
    return Report(
        manifest,
        images.rows,
        images.sha256,
        findings,
        tuple(skipped),
        summary,
        given,
        provenance,
        out,
        details,
        curation.locate(manifest, images.rows[details.index], settings.source.delimiter),
    )


def _listed_twice(skipped: list[Skipped]) -> Counter[str]:
    """One reason for all rows that repeat another, whatever row each names."""
    count = sum(s.same_as >= 0 for s in skipped)
    return Counter({"same file listed again": count} if count else {})


def _versions() -> dict[str, str]:
    import platform
    from importlib.metadata import version

    packages = ("torch", "torchvision", "numpy", "pillow", "pyarrow")
    return {
        "labelscrub": __version__,
        "python": platform.python_version(),
        **{p: version(p) for p in packages},
    }


def write(run: RunDirectory, report: Report, settings: Settings, clock: Clock, progress: Progress) -> None:
    """Every output of a run; run.json last, for it says that the others are whole."""
    from labelscrub import curation, data, reporting
    from labelscrub.reporting.html_data import EMBEDDED_LIMIT, picture_rows

    with clock.stage("report"):
        progress(Event("report"))
        rows = picture_rows(report)
        embedded, beside = rows[:EMBEDDED_LIMIT], rows[EMBEDDED_LIMIT:]
        size = LARGE if len(rows) <= FEW else SMALL
        pictures = data.thumbnails(report.manifest, embedded, settings.source, size)
        more = data.each_thumbnail(report.manifest, beside, settings.source, size)
        run.put_bytes("suspects.csv", reporting.suspects_csv(report))
        run.put_bytes("report.parquet", reporting.report_parquet(report))
        run.put_bytes("report.html", reporting.report_html(report, pictures, run.put_pictures(more)))
        drop = {int(row) for row in report.rows[report.findings.is_suspect]}
        keep = curation.kept_rows(report.manifest, drop, report.skipped)
        clean = report.provenance["clean"]
        curation.write_clean(report.manifest, keep, run.path / clean, overwrite=True)
        run.record_output(clean)
    report.provenance["times"] = clock.seconds
    run.put_bytes("run.json", reporting.run_json(report, {"files": run.outputs()}))
    for name in run.checkpoints():
        run.delete(name)
