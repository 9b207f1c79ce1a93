"""`labelscrub export`: the suspects for Label Studio, FiftyOne or Hugging Face."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from labelscrub.cli.console import ProgressDisplay
from labelscrub.cli.options import DEFAULT_OUT, Debug, MovedTo, Quiet, Run
from labelscrub.reporting.text import counted, one_line

if TYPE_CHECKING:
    from labelscrub.pipeline.exporting import Exported


def export(
    run: Run = DEFAULT_OUT,
    *,
    format: Annotated[
        Literal["label-studio", "fiftyone", "huggingface"],
        typer.Option("--format", help="The tool to write for."),
    ],
    to: Annotated[
        Path,
        typer.Option(
            "--to",
            help="What to write: a .json file for label-studio (its labelling configuration goes beside it, "
            "as .xml), a folder for the others.",
        ),
    ],
    image_prefix: Annotated[
        str | None,
        typer.Option(
            "--image-prefix",
            help="label-studio: what goes before each image's path below the image root, as "
            "https://host/images, s3://bucket/images or /data/local-files/?d=images.",
            show_default="/data/local-files/?d=<name of the image root>",
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every image the run judged, not the listed ones alone.")
    ] = False,
    link: Annotated[
        bool,
        typer.Option(
            "--link",
            help="fiftyone, huggingface: hard links instead of copies. Who edits the one edits the other.",
        ),
    ] = False,
    source: MovedTo = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write the suspects for Label Studio, FiftyOne or Hugging Face; nothing is overwritten.

    What people answer there comes back with --decisions of prune and check.
    Label Studio: its JSON or JSON-MIN export. FiftyOne: labels.json, exported with include_attributes=True.
    Of FiftyOne and Hugging Face a changed label is an answer, and "remove" is one.
    An unchanged label is one only where the image has "decision": "keep" beside it.

    Example: labelscrub export labelscrub-out --format label-studio --to tasks.json

    Example: labelscrub export --format fiftyone --to suspects --link

    Example: labelscrub export --format huggingface --to suspects --all
    """
    from labelscrub import pipeline

    with ProgressDisplay(quiet=quiet) as progress:
        exported = pipeline.export(
            run,
            format=format,
            to=to,
            image_prefix=image_prefix,
            everything=everything,
            link=link,
            source=source,
            progress=progress,
        )
    for line in _told(exported, link=link, local_files=image_prefix is None):
        typer.echo(one_line(line))


def _told(exported: Exported, *, link: bool, local_files: bool) -> list[str]:
    """What was written, and what to do with it; `local_files`: Label Studio is to serve the images itself."""
    count = counted(exported.images, "image")
    if exported.config is None:
        notes = (
            ["all of them hard links" if exported.linked else "not all could be hard links"] if link else []
        )
        notes += [f"{exported.renamed:,} under another path than in the source"] if exported.renamed else []
        return [", ".join([f"{exported.target}: {count}", *notes])]
    lines = [
        f"{exported.target}: a task each for {count}, to import",
        f"{exported.config}: the labelling configuration of the project",
        f"Label Studio looks for the images at {exported.image_prefix}",
    ]
    if local_files:
        root = exported.image_root
        lines += [
            "To serve them from this machine, start it with LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true",
            f"and LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={root.parent},",
            f"and give the project a local files storage of {root}",
        ]
    return lines
