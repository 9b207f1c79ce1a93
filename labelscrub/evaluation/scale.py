"""`bench scale`: single stages at size, on data that is made for it and removed, beside their targets."""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import io
import json
import math
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labelscrub.config import nearest
from labelscrub.errors import EnvironmentProblem, UsageError
from labelscrub.evaluation import measuring
from labelscrub.evaluation.measured import Measured, Table, as_markdown, number
from labelscrub.evaluation.scale_stages import STAGES, Figure, Stage, Work
from labelscrub.evaluation.tables import MISSING, csv_value
from labelscrub.records import Event, Progress, silent
from labelscrub.store import write_atomic

TITLE = "Single stages at size, beside their targets"


@dataclass(frozen=True)
class Found:
    """A figure and its values, one a measurement."""

    stage: Stage
    size: int
    figure: Figure
    values: tuple[float, ...]

    @property
    def met(self) -> bool | None:
        """Whether the median is within the target; None where there is none for this size."""
        if self.figure.target is None or self.size < self.stage.size or not self.values:
            return None
        median = statistics.median(self.values)
        return median >= self.figure.target if self.figure.better == "more" else median <= self.figure.target


def parse_parts(text: str) -> tuple[str, ...]:
    """The value of --parts, checked: "confident,scan"."""
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    if not names:
        raise UsageError("--parts names no part", f"it takes: {', '.join(STAGES)}")
    for name in names:
        if name not in STAGES:
            raise UsageError(f"--parts: there is no part '{name}'", nearest(name, STAGES))
    return names


def scale(
    *,
    out: Path,
    parts: tuple[str, ...] = tuple(STAGES),
    limit: int | None = None,
    trials: int | None = None,
    workers: int | None = None,
    resume: bool = True,
    progress: Progress = silent,
) -> Measured:
    """Measure what is not stored, then write the table in all forms.

    Args:
        limit: size of each stage, at most; targets are for the whole size.
        trials: measurements of each stage; None is its own number.
    Raises:
        UsageError, EnvironmentProblem: `out` can't be written or is too small for the data.
    """
    from labelscrub.evaluation.bench import TRIALS, make_folder

    if "confident" in parts and importlib.util.find_spec("cleanlab") is None:
        raise EnvironmentProblem(
            "the part confident compares with cleanlab, which is not installed",
            "pip install 'labelscrub[bench]', or leave the part out of --parts",
        )
    make_folder(out)
    stages = [STAGES[name] for name in dict.fromkeys(parts)]
    sizes = [min(stage.size, limit or stage.size) for stage in stages]
    for stage, size in zip(stages, sizes, strict=True):
        measuring.require_space(out, stage.disk(size), f"bench scale, part {stage.name},")
    found: list[Found] = []
    notes: list[str] = []
    for stage, size in zip(stages, sizes, strict=True):
        values = _measured(
            stage, size, trials or stage.repeats, out, out / TRIALS, workers, notes, progress, resume=resume
        )
        for figure in stage.figures:
            own = tuple(each[figure.name] for each in values if figure.name in each)
            if own:
                found.append(Found(stage, size, figure, own))
    return _show(found, out, notes)


def _measured(
    stage: Stage,
    size: int,
    repeats: int,
    out: Path,
    store: Path,
    workers: int | None,
    notes: list[str],
    progress: Progress,
    *,
    resume: bool,
) -> list[dict[str, float]]:
    """A stage's measurements; the data is made only where one is missing."""
    deciding = [size, workers, measuring.hardware(), measuring.versions()]
    digest = hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()
    folder = store / f"scale-{stage.name}-{size}-{digest[:12]}"
    places = [folder / f"{number}.json" for number in range(repeats)]
    kept = [measuring.stored(place, progress) if resume else None for place in places]
    if all(each is not None for each in kept):
        progress(Event("bench", message=f"{stage.name}: done before"))
        return [each["values"] for each in kept if each is not None]
    with tempfile.TemporaryDirectory(prefix=f"scale-{stage.name}-", dir=out.resolve()) as scratch:
        work = Work(Path(scratch), size, workers, progress, notes)
        stage.prepare(work)
        for index, place in enumerate(places):
            if kept[index] is None:
                progress(Event("bench", message=f"{stage.name}: measurement {index + 1} of {repeats}"))
                values = stage.once(work, index)
                kept[index] = {"values": values}
                measuring.store(place, {"values": values, **_on()})
        progress(Event("bench", message=f"{stage.name}: removing its data"))
    return [each["values"] for each in kept if each is not None]


def _on() -> dict[str, Any]:
    return {"machine": measuring.hardware(), "versions": measuring.versions()}


def _show(found: Sequence[Found], out: Path, notes: Sequence[str]) -> Measured:
    tables = []
    for stage in dict.fromkeys(each.stage for each in found):
        own = [each for each in found if each.stage is stage]
        title = f"{stage.name}: {stage.title}, N = {own[0].size:,}"
        lines = tuple(_line(each) for each in own)
        tables.append(Table(title, ("", "median", "lowest", "highest", "n", "target", "met"), lines))
    legend = (
        "Each measurement in a fresh process; files were written just before, so they come from the page "
        "cache. Targets are for two processor cores and the whole N.",
        f"On: {measuring.machine_line(measuring.hardware(), measuring.versions())}.",
    )
    files = [out / f"scale.{suffix}" for suffix in ("json", "csv", "md")]
    contents = (_as_json(found, notes), _as_csv(found), as_markdown(f"scale: {TITLE}", tables, legend, notes))
    for file, content in zip(files, contents, strict=True):
        write_atomic(file, content)
    return Measured(TITLE, tuple(tables), legend, tuple(notes), tuple(files))


def _line(found: Found) -> tuple[str, ...]:
    values, figure = found.values, found.figure
    sign = "≥" if figure.better == "more" else "≤"
    target = "" if figure.target is None else f"{sign} {figure.target:,g}"
    met = {None: MISSING if figure.target is not None else "", True: "yes", False: "no"}[found.met]
    median, low, high = statistics.median(values), min(values), max(values)
    return (figure.title, number(median), number(low), number(high), str(len(values)), target, met)


def _rows(found: Sequence[Found]) -> list[dict[str, Any]]:
    return [
        {
            "part": each.stage.name,
            "figure": each.figure.name,
            "meaning": each.figure.title,
            "size": each.size,
            "n": len(each.values),
            "median": statistics.median(each.values),
            "mean": math.fsum(each.values) / len(each.values),
            "std": statistics.stdev(each.values) if len(each.values) > 1 else None,
            "lowest": min(each.values),
            "highest": max(each.values),
            "target": each.figure.target,
            "better": each.figure.better,
            "met": each.met,
        }
        for each in found
    ]


def _as_json(found: Sequence[Found], notes: Sequence[str]) -> bytes:
    rows = [{**row, "values": each.values} for row, each in zip(_rows(found), found, strict=True)]
    content = {**_on(), "notes": list(notes), "rows": rows}
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()


def _as_csv(found: Sequence[Found]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    rows = _rows(found)
    writer.writerow(rows[0])
    writer.writerows([csv_value(value) for value in row.values()] for row in rows)
    return text.getvalue().encode()
