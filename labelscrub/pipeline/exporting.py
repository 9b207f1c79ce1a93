"""`export`: a finished run's listed images, or all of them, for the tools that people look at images with."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from labelscrub.config import Settings
from labelscrub.errors import DataError, UsageError
from labelscrub.records import Progress, silent

if TYPE_CHECKING:
    from labelscrub.records import Manifest
    from labelscrub.review_records import Suspect

ExportFormat = Literal["label-studio", "fiftyone", "huggingface"]

_EMBEDDED = {  # format by its leading bytes -> extension
    "JPEG": ".jpg",
    "PNG": ".png",
    "GIF": ".gif",
    "BMP": ".bmp",
    "TIFF": ".tif",
    "WEBP": ".webp",
    "PPM": ".ppm",
}
_NAMELESS = re.compile(r".*\.parquet#\d+", re.DOTALL)  # what the manifest calls an image without a path


@dataclass(frozen=True)
class Exported:
    """What `export` wrote."""

    target: Path
    images: int
    config: Path | None
    """Label Studio's labelling configuration."""
    image_prefix: str
    """What Label Studio's image addresses begin with; "" for the other formats."""
    image_root: Path
    """Where the images of the source are."""
    linked: bool
    """Whether all images are hard links."""
    renamed: int
    """Images whose path in the export is not their path in the source."""


def export(
    run: str | Path = "labelscrub-out",
    *,
    format: ExportFormat,
    to: str | Path,
    image_prefix: str | None = None,
    everything: bool = False,
    link: bool = False,
    source: str | Path | None = None,
    progress: Progress = silent,
) -> Exported:
    """Write the suspects and conflicting duplicates of a finished run for another tool, whole or not at all.

    Args:
        run: a finished run's directory.
        format: the tool.
        to: the file (label-studio) or folder to write, which may not exist yet.
        image_prefix: with label-studio, what is put before each image's quoted path below the image root;
            default its local files: `/data/local-files/?d=<name of the image root>/`.
        everything: all images that the run judged.
        link: with fiftyone and huggingface, hard-link image files instead of copying them.
        source: where the source is now, if it has moved.
    Raises:
        UsageError: no finished run, edited results, an existing target, or a run without images.
        DataError: the data changed since the run.
    """
    from labelscrub import curation, reporting
    from labelscrub.reporting.run_json import parse_run_json
    from labelscrub.store import RunDirectory, read_run

    if format == "label-studio" and link:
        raise UsageError(
            "--link has no effect with --format label-studio: no image is copied", "leave it out"
        )
    if format != "label-studio" and image_prefix is not None:
        raise UsageError(f"--image-prefix has no effect with --format {format}", "leave it out")
    folder, target = Path(run), Path(to)
    with RunDirectory.open(folder, finished=True) as directory:
        stored = parse_run_json(read_run(folder))
        directory.verify_outputs(stored)
        manifest = _manifest(stored, source, progress)
        report = folder / "report.parquet"
        if changes := curation.changed_rows(manifest, curation.read_report(report), None):
            raise _changed(changes[0][1], changes[0][2], len(changes) - 1)
        suspects = reporting.read_suspects(report, all_used=everything)
        classes = [str(entry["label"]) for entry in stored["summary"]["classes"]]
        if format == "label-studio":
            return _label_studio(manifest, suspects, classes, target, image_prefix)
        return _folder(manifest, suspects, classes, target, format, link, progress)


def _manifest(stored: dict[str, Any], source: str | Path | None, progress: Progress) -> Manifest:
    """The rows of the run's source, read again."""
    from labelscrub import data

    if "labels" in stored["provenance"]:
        cause = "the run judged labels alone, so there are no images to export"
        raise UsageError(cause, "run detect on the images with --pred-probs, then export")
    settings = Settings.of(stored["settings"])
    return data.read_source(Path(source or stored["provenance"]["source"]), settings.source, progress)


def _label_studio(
    manifest: Manifest, suspects: Sequence[Suspect], classes: Sequence[str], target: Path, prefix: str | None
) -> Exported:
    from labelscrub.reporting import label_studio
    from labelscrub.store import write_new

    if os.path.lexists(target):  # before its configuration is written
        raise UsageError(f"{target} exists already; it is never overwritten", "choose another name with --to")
    config = target.with_suffix(".xml")
    if config == target:
        raise UsageError(f"{target} is where the labelling configuration goes", "name a .json file with --to")
    root = Path(os.path.realpath(manifest.root))
    paths = [_path_below_root(manifest, suspect, prefix) for suspect in suspects]
    if prefix is None:
        prefix = label_studio.LOCAL_FILES + quote(os.fsencode(root.name)) + ("/" if root.name else "")
    images = [label_studio.image_address(prefix, path) for path in paths]
    configuration = label_studio.labelling_config(classes)
    left = _holds(config, configuration)  # by an export that was killed before it wrote the tasks
    if not left:
        write_new(config, configuration)
    try:
        write_new(target, label_studio.tasks_json(suspects, images))
    except BaseException:
        if not left:
            config.unlink(missing_ok=True)
        raise
    return Exported(target, len(suspects), config, prefix, root, linked=False, renamed=0)


def _holds(path: Path, content: bytes) -> bool:
    try:
        return path.is_file() and path.read_bytes() == content
    except OSError:
        return False


def _path_below_root(manifest: Manifest, suspect: Suspect, prefix: str | None) -> str:
    """An image's path as Label Studio gets it after the prefix."""
    file = manifest.files[suspect.row]
    if not file and prefix is None:
        cause = f"{suspect.path} is inside a Parquet file, where Label Studio can't show it"
        fix = "--format huggingface --all writes the images out: run detect on that folder and export again"
        raise UsageError(cause, f"{fix}; or name where they are served with --image-prefix")
    path = posixpath.normpath(file or manifest.paths[suspect.row])
    if prefix is None and path.startswith(("/", "../")):
        cause = f"{suspect.path} is not below the image root {manifest.root}"
        raise UsageError(cause, "name where Label Studio finds the images with --image-prefix")
    while path.startswith(("/", "../")):
        path = path.removeprefix("/").removeprefix("../")
    return path


def _folder(
    manifest: Manifest,
    suspects: Sequence[Suspect],
    classes: Sequence[str],
    target: Path,
    format: ExportFormat,
    link: bool,
    progress: Progress,
) -> Exported:
    from labelscrub import data
    from labelscrub.curation.tree import Copied, copy_target, write_tree
    from labelscrub.reporting import fiftyone, huggingface
    from labelscrub.reporting.safe_places import Places
    from labelscrub.store import write_new

    tree = copy_target(manifest, target)
    by_row = sorted(suspects, key=lambda suspect: suspect.row)
    _require_unchanged(manifest, by_row, progress)
    for_fiftyone = format == "fiftyone"
    images = fiftyone.DATA if for_fiftyone else huggingface.IMAGES
    places = Places(stems=for_fiftyone, splits=for_fiftyone)
    placed: dict[int, str] = {}
    renamed = 0

    def place(row: int, wanted: str) -> str:
        nonlocal renamed
        placed[row] = places.place(wanted)
        renamed += placed[row] != wanted
        return f"{images}/{placed[row]}"

    def finish(folder: Path) -> list[Path]:
        """Images in Parquet files, which are not synced yet, and the table of all."""
        written = []
        (folder / images).mkdir(exist_ok=True)  # tools want it, also where nothing is listed
        for row, content in data.read_embedded(manifest, embedded) if embedded else ():
            if content is None:
                raise _changed(manifest.paths[row], "gone")
            there = folder / place(row, embedded_name(manifest.paths[row], row, content))
            there.parent.mkdir(parents=True, exist_ok=True)
            with there.open("xb") as file:
                file.write(content)
            written.append(there)
        if for_fiftyone:
            labels = fiftyone.labels_json(suspects, [placed[s.row] for s in suspects], classes)
            write_new(folder / fiftyone.LABELS, labels)
        else:
            paths = [f"{images}/{placed[s.row]}" for s in suspects]
            write_new(folder / huggingface.METADATA, huggingface.metadata_jsonl(suspects, paths))
        return written

    rows = [suspect.row for suspect in by_row]
    embedded = [row for row in rows if not manifest.files[row]]
    files = [(row, manifest.files[row]) for row in rows if manifest.files[row]]
    copied = write_tree(
        manifest,
        [Copied(row, file, place(row, file)) for row, file in files],
        tree,
        {suspect.row: suspect.sha256 for suspect in suspects},
        link=link,
        finish=finish,
        progress=progress,
    )
    linked = link and not (copied or embedded)
    return Exported(target, len(suspects), None, "", manifest.root, linked, renamed)


def _require_unchanged(manifest: Manifest, suspects: Sequence[Suspect], progress: Progress) -> None:
    """Refuse images, by row, that have other bytes than the run saw."""
    from labelscrub import data

    digests = data.hash_images(manifest, [suspect.row for suspect in suspects], progress)
    for suspect, digest in zip(suspects, digests, strict=True):
        if bytes(digest).hex() != suspect.sha256:
            raise _changed(suspect.path, "changed" if digest.any() else "gone")


def _changed(path: str, how: str, more: int = 0) -> DataError:
    others = f" and {more:,} more" if more else ""
    cause = f"the data is not what the run saw: {path} ({how}){others}"
    return DataError(cause, "run detect again, then export")


def embedded_name(path: str, row: int, data: bytes) -> str:
    """A file name for an image that had none of its own, with the extension that its bytes ask for."""
    from labelscrub.data.formats import EXTENSIONS, sniff

    name = f"row-{row:07d}" if not path or _NAMELESS.fullmatch(path) else path
    kind = sniff(data)
    matches = EXTENSIONS.get(posixpath.splitext(name)[1].lower()) == kind
    return name if matches else name + _EMBEDDED.get(kind, "")
