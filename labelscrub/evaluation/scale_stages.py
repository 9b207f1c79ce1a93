"""The stages that `bench scale` measures: their data, their targets, and one measurement of each.

Every measurement runs in a fresh process (`scale_parts`); what it gives is a value a figure.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from labelscrub.evaluation import measuring, scale_data
from labelscrub.evaluation.measuring import Memory, Usage
from labelscrub.processes import cores
from labelscrub.records import Event, Progress

Values = dict[str, float]
CLASSES, MANY_CLASSES, NAME_CLASSES = 10, 1000, 100
PHOTOS, PHOTO_SIZE, SMALL_SIZE = 2_000, (400, 500), (32, 32)
START_IMAGES = 200  # of the run that `check` is timed on
CLEANLAB_COPIES = 4  # matrices that must fit into free memory
CLEANLAB_LIMIT = 900.0  # seconds


@dataclass(frozen=True)
class Figure:
    """What is measured of a stage, and what it should be."""

    name: str
    title: str
    """With its unit."""
    target: float | None = None
    """For the stage's whole size."""
    better: Literal["less", "more"] = "less"


@dataclass(frozen=True)
class Work:
    """Where and how a stage is measured."""

    folder: Path
    """With the stage's data; nothing else is in it."""
    size: int
    """N: rows, images or files."""
    workers: int | None
    """Decoding processes; None is one a core."""
    progress: Progress
    notes: list[str]


@dataclass(frozen=True)
class Stage:
    """A part of the job at a size that hurts."""

    name: str
    title: str
    size: int
    """N of the targets."""
    repeats: int
    disk: Callable[[int], int]
    """Bytes that the data of N takes."""
    prepare: Callable[[Work], None]
    once: Callable[[Work, int], Values]
    """One measurement; the number of it is from 0."""
    figures: tuple[Figure, ...]


def _prepare_confident(work: Work) -> None:
    import numpy as np

    work.progress(Event("bench", message=f"making {work.size:,} x {MANY_CLASSES:,} probabilities"))
    true = np.random.default_rng(0).integers(0, MANY_CLASSES, work.size)
    scale_data.write_probabilities(work.folder / "pred_probs.npy", true, MANY_CLASSES)
    np.save(work.folder / "labels.npy", scale_data.flipped(true, MANY_CLASSES))


def _confident(work: Work, number: int) -> Values:
    import numpy as np

    matrix = work.size * MANY_CLASSES * 4
    ours, usage = _part("confident", work, memory="anon")
    values = {
        "ours_s": ours["seconds"],
        "ours_cpu_s": usage.cpu,
        "ours_memory": _grown(ours, usage) / matrix,
    }
    if number:
        return values  # cleanlab's time is for comparison: once will do
    if matrix * CLEANLAB_COPIES > measuring.free_memory():
        work.notes.append("cleanlab is left out: it needs several times the matrix in memory")
        return values
    usage = measuring.measure(
        _command("cleanlab", work), folder=work.folder, memory="anon", limit=CLEANLAB_LIMIT
    )
    if usage.code:
        work.notes.append(f"cleanlab gave no result in {usage.wall:,.0f} s, code {usage.code}")
        return values
    theirs = json.loads(usage.stdout.splitlines()[-1])
    values |= {"cleanlab_s": theirs["seconds"], "cleanlab_memory": _grown(theirs, usage) / matrix}
    ours_listed, theirs_listed = (np.load(work.folder / f"{who}.npy") for who in ("ours", "cleanlab"))
    differ = float((ours_listed != theirs_listed).sum())
    return values | {"listed": float(theirs_listed.sum()), "differ": differ}


def _grown(found: dict[str, float], usage: Usage) -> float:
    """Bytes of anonymous memory over those before the stage began."""
    return max(usage.peak_between(found["began"], found["ended"]) - found["anonymous"], 0.0)


def _prepare_decode(work: Work) -> None:
    work.progress(
        Event("bench", message=f"making {work.size:,} small JPEG files and {_photos(work.size):,} photos")
    )
    scale_data.write_jpegs(work.folder / "small", work.size, SMALL_SIZE, CLASSES, work.progress)
    scale_data.write_jpegs(work.folder / "photos", _photos(work.size), PHOTO_SIZE, CLASSES, work.progress)


def _photos(size: int) -> int:
    return min(size, PHOTOS)


def _decode(work: Work, number: int) -> Values:
    values: Values = {}
    for kind in ("small", "photos"):
        shutil.rmtree(work.folder / "cache", ignore_errors=True)
        first, usage = _part("decode", work, images=kind)
        again, _ = _part("decode", work, images=kind)
        values |= {
            f"{kind}_s": first["decode"],
            f"{kind}_per_second": first["images"] / first["decode"],
            f"{kind}_cpu_s": usage.cpu,
            f"{kind}_memory_mb": usage.peak / 1e6,
            f"{kind}_again_s": again["ready"],
        }
    return values


def _prepare_scan(work: Work) -> None:
    work.progress(Event("bench", message=f"making {work.size:,} hard links"))
    classes = min(NAME_CLASSES, work.size // 10 + 1)  # as many as images would be taken for ids
    scale_data.write_links(work.folder / "names", work.size, classes, work.progress)


def _scan(work: Work, number: int) -> Values:
    found, usage = _part("scan", work)
    return {"scan_s": found["seconds"], "scan_cpu_s": usage.cpu, "scan_memory_mb": found["resident"] / 1e6}


def _prepare_start(work: Work) -> None:
    import numpy as np

    scale_data.write_jpegs(work.folder / "small", work.size, SMALL_SIZE, CLASSES, work.progress)
    true = _true_labels(work.size)
    scale_data.write_probabilities(work.folder / "probs.npy", np.asarray(true), CLASSES)
    detect = ["detect", "small", "--pred-probs", "probs.npy", "--out", "run", "--quiet"]
    _command_line(work, *detect)


def _start(work: Work, number: int) -> Values:
    return {
        "help_s": _command_line(work, "--help").wall,
        "version_s": _command_line(work, "--version").wall,
        "check_s": _command_line(work, "check", "run", "--max-rate", "1").wall,
    }


def _prepare_rest(work: Work) -> None:
    work.progress(Event("bench", message=f"making {work.size:,} small JPEG files"))
    scale_data.write_jpegs(work.folder / "small", work.size, SMALL_SIZE, CLASSES, work.progress)
    true = scale_data.flipped(
        _true_labels(work.size), CLASSES
    )  # the folders are the labels: a tenth is wrong
    scale_data.write_probabilities(work.folder / "rest.npy", true, CLASSES)
    _part("decode", work, images="small")  # fills the cache


def _true_labels(size: int) -> Any:
    """(N,) class of each image that `write_jpegs` makes, in the order of a scan."""
    import numpy as np

    return np.sort(np.arange(size) % CLASSES)


def _rest(work: Work, number: int) -> Values:
    shutil.rmtree(work.folder / "run", ignore_errors=True)
    found, _ = _part("rest", work, images="small")
    stages = {f"{name}_s": found[name] for name in ("read", "folds", "detect", "report")}
    memory = {"rest_memory_mb": found["resident"] / 1e6}
    return {**stages, "rest_s": found["seconds"], "whole_s": found["seconds"] / 0.05, **memory}


def _command(name: str, work: Work, **options: Any) -> list[str]:
    own = {"folder": str(work.folder), "workers": cores() if work.workers is None else work.workers}
    return measuring.python("labelscrub.evaluation.scale_parts", name, json.dumps({**own, **options}))


def _part(name: str, work: Work, *, memory: Memory = "pss", **options: Any) -> tuple[dict[str, float], Usage]:
    """Run a part; what it says and what it took."""
    usage = measuring.measure(_command(name, work, **options), folder=work.folder, memory=memory)
    if usage.code:
        raise measuring.failure(f"bench scale: {name}", usage)
    found: dict[str, float] = json.loads(usage.stdout.splitlines()[-1])
    return found, usage


def _command_line(work: Work, *arguments: str) -> Usage:
    usage = measuring.measure(measuring.labelscrub_command(*arguments), folder=work.folder)
    if usage.code:
        raise measuring.failure(f"labelscrub {arguments[0]}", usage)
    return usage


STAGES = {
    stage.name: stage
    for stage in (
        Stage(
            "confident",
            f"confident learning on N x {MANY_CLASSES:,} float32 probabilities in a memory map",
            1_000_000,
            3,
            lambda n: n * (MANY_CLASSES * 4 + 8),
            _prepare_confident,
            _confident,
            (
                Figure("ours_s", "ours, s", 10.0),
                Figure("ours_cpu_s", "ours, processor seconds of the process"),
                Figure("ours_memory", "ours, more anonymous memory, as share of the matrix", 0.3),
                Figure("cleanlab_s", "cleanlab, s"),
                Figure("cleanlab_memory", "cleanlab, more anonymous memory, as share of the matrix"),
                Figure("listed", "labels listed by cleanlab"),
                Figure("differ", "labels listed by one alone (ties: cleanlab's sorts are not stable)"),
            ),
        ),
        Stage(
            "decode",
            f"N JPEG files of 32 px, and up to {PHOTOS:,} of 400 x 500 to 64 px, to the store",
            50_000,
            3,
            lambda n: n * (4096 + 32 * 32 * 3) + _photos(n) * (120_000 + 64 * 64 * 3),
            _prepare_decode,
            _decode,
            (
                Figure("small_s", "32 px, s", 8.0),
                Figure("small_per_second", "32 px, images/s", 6250, "more"),
                Figure("small_cpu_s", "32 px, processor seconds of all processes"),
                Figure("small_memory_mb", "32 px, peak memory of all processes (PSS), MB"),
                Figure(
                    "small_again_s", "32 px, second run: s from the scan until the images are at hand", 2.0
                ),
                Figure("photos_s", "photos, s"),
                Figure("photos_per_second", "photos, images/s", 1200, "more"),
                Figure("photos_cpu_s", "photos, processor seconds of all processes"),
                Figure("photos_memory_mb", "photos, peak memory of all processes (PSS), MB"),
                Figure(
                    "photos_again_s", "photos, second run: s from the scan until the images are at hand", 2.0
                ),
            ),
        ),
        Stage(
            "scan",
            f"reading a folder of N files (hard links) in up to {NAME_CLASSES} class folders",
            1_000_000,
            3,
            lambda n: n * 64,
            _prepare_scan,
            _scan,
            (
                Figure("scan_s", "s", 60.0),
                Figure("scan_cpu_s", "processor seconds of the process"),
                Figure("scan_memory_mb", "peak resident memory, MB", 1000.0),
            ),
        ),
        Stage(
            "start",
            "start-up: the command from typed to ended",
            START_IMAGES,
            10,
            lambda n: n * 30_000,
            _prepare_start,
            _start,
            (
                Figure("help_s", "labelscrub --help, s", 0.25),
                Figure("version_s", "labelscrub --version, s", 0.25),
                Figure("check_s", "labelscrub check RUN, s", 0.5),
            ),
        ),
        Stage(
            "rest",
            f"everything but decoding and training, N images of {CLASSES} classes, a tenth mislabelled",
            50_000,
            3,
            lambda n: n * (4096 + 32 * 32 * 3 + CLASSES * 4 + 4000),
            _prepare_rest,
            _rest,
            (
                Figure("read_s", "scanning the folder, s"),
                Figure("folds_s", "folds, s"),
                Figure("detect_s", "confident learning and ranking, s"),
                Figure("report_s", "report, page and tables, s"),
                Figure("rest_s", "together, s"),
                Figure("whole_s", "duration of a run of which that is 5 %, s"),
                Figure("rest_memory_mb", "peak resident memory, MB"),
            ),
        ),
    )
}
