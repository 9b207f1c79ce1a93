"""`bench speed` for people: a table a data set and noise rate, its files, and the times as bars."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from pathlib import Path

from labelscrub.evaluation.measured import Measured, Table, as_markdown, number
from labelscrub.evaluation.measuring import machine_line
from labelscrub.evaluation.speed_results import (
    STAGES,
    TITLES,
    Line,
    SpeedRun,
    Spread,
    as_csv,
    as_json,
    lines_of,
)
from labelscrub.evaluation.tables import MISSING
from labelscrub.reporting.text import percent
from labelscrub.store import write_atomic

TITLE = (
    "The whole job, from image files to suspects: a plain PyTorch and cleanlab script, and labelscrub detect"
)
SHOWN = (  # figure, what people read, decimals
    ("ratio", "times as fast as the baseline", 2),
    ("wall_s", "seconds in all", 1),
    ("read_s", "of it reading the list, s", 2),
    ("decode_s", "of it decoding, s", 2),
    ("train_s", "of it training and predicting, s", 1),
    ("detect_s", "of it confident learning, s", 2),
    ("report_s", "of it report, s", 2),
    ("start_s", "of it start, imports, end, s", 2),
    ("decoded_per_second", "images decoded a second", 0),
    ("images_per_second", "images trained on a second", 0),
    ("outside_share", "share outside decoding and training", 3),
    ("cpu_s", "processor seconds, user and system", 1),
    ("others_cpu_s", "processor seconds of other programs meanwhile", 1),
    ("cpu_ratio", "baseline's processor time / own", 2),
    ("peak_memory_mb", "peak memory, MB", 0),
    ("f1", "F1", 4),
    ("f1_difference", "F1, own minus baseline's", 4),
)
NOT_OF_THE_BASELINE = ("ratio", "cpu_ratio", "f1_difference")


def show(runs: Sequence[SpeedRun], out: Path, notes: Sequence[str]) -> Measured:
    """Write the table in three forms, and the picture where matplotlib is installed."""
    lines, notes = lines_of(runs), list(notes)
    cells: dict[tuple[str, float], list[Line]] = {}
    for line in lines:
        cells.setdefault((line.runs[0].dataset, line.runs[0].noise_rate), []).append(line)
    tables = tuple(_table(group) for group in cells.values())
    legend = _legend(runs, lines)
    files = [out / f"speed.{suffix}" for suffix in ("json", "csv", "md")]
    contents = (as_json(runs), as_csv(runs), as_markdown(f"speed: {TITLE}", tables, legend, notes))
    for file, content in zip(files, contents, strict=True):
        write_atomic(file, content)
    if importlib.util.find_spec("matplotlib") is None:
        notes.append("no picture: it needs matplotlib; pip install 'labelscrub[plots]'")
    else:
        files += [
            _picture(group, out / f"speed-{_name(group)}.{s}")
            for group in cells.values()
            for s in ("png", "svg")
        ]
    failures = tuple(dict.fromkeys(run.failure for run in runs if run.failure))
    every = failures if all(run.failure for run in runs if run.who != "baseline") else ()
    notes += [f"no verdict: {why}" for why in failures]
    return Measured(TITLE, tables, legend, tuple(notes), tuple(files), every)


def _table(group: Sequence[Line]) -> Table:
    lines = []
    for name, title, decimals in SHOWN:
        own = [line.figures[name] for line in group]
        shown = [
            "" if name in NOT_OF_THE_BASELINE and line.who == "baseline" else _spread(spread, decimals)
            for line, spread in zip(group, own, strict=True)
        ]
        lines.append((title, *shown))
    lines.append(("network", *(line.runs[0].network or MISSING for line in group)))
    lines.append(("epochs a fold", *(str(line.runs[0].epochs or MISSING) for line in group)))
    lines.append(("arithmetic", *(line.runs[0].precision or MISSING for line in group)))
    return Table(_name_of(group), ("", *(TITLES[line.who] for line in group)), tuple(lines))


def _spread(spread: Spread, decimals: int) -> str:
    if math.isnan(spread.std):
        return number(spread.mean, decimals)
    return f"{number(spread.mean, decimals)} ± {number(spread.std, decimals)}"


def _name_of(group: Sequence[Line]) -> str:
    run = group[0].runs[0]
    return (
        f"{Path(run.dataset).name}: {run.images:,} images of {run.classes} classes, "
        f"uniform noise {percent(run.noise_rate)}, {run.folds} folds"
    )


def _name(group: Sequence[Line]) -> str:
    """Of the picture."""
    run = group[0].runs[0]
    return f"{Path(run.dataset).stem or 'data'}-{run.noise_rate:g}"


def _legend(runs: Sequence[SpeedRun], lines: Sequence[Line]) -> tuple[str, ...]:
    trials, device = len(lines[0].runs), lines[0].runs[0].device  # the baseline's
    spread = "one trial" if trials == 1 else f"mean ± standard deviation over {trials} trials"
    return (
        f"n: {spread}, each with its own flips, folds and starting weights, the same for its three runs. "
        "They run one after the other, in every second trial the other way round; ratios and differences are "
        "within a trial.",
        "The default recipe is `labelscrub detect` without training options. Images trained on a "
        "second: those of all folds and epochs, over the time of training and predicting.",
        "The baseline decodes while it trains, in every epoch. Each run is a process of its own with an "
        "empty cache; the files were in the page cache. Peak memory: largest sum of the proportional set "
        "sizes of all processes, sampled once a second.",
        f"On: {machine_line(runs[0].machine, runs[0].versions, device)}.",
    )


def _picture(group: Sequence[Line], target: Path) -> Path:
    from labelscrub.evaluation.plots import bars

    stages = (*(f"{stage}_s" for stage in STAGES), "start_s")
    titles = {name: title.removeprefix("of it ").removesuffix(", s") for name, title, _ in SHOWN}
    values = {
        titles[stage]: [0.0 if math.isnan(m := line.figures[stage].mean) else m for line in group]
        for stage in stages
    }
    bars([TITLES[line.who] for line in group], values, "seconds", _name_of(group), target)
    return target
