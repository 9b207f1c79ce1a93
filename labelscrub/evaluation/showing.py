"""An experiment's results as files: JSON, CSV and Markdown, and each view as a picture (PNG and SVG)."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelscrub.evaluation import calibrated_tables
from labelscrub.evaluation.experiments import Experiment
from labelscrub.evaluation.results import Cell, TrialResult, cells
from labelscrub.evaluation.tables import Row, as_csv, as_json, as_markdown, metric_title, table_rows
from labelscrub.evaluation.trials import PREDICTIONS, RATELESS, Trial
from labelscrub.records import Event, Progress
from labelscrub.store import write_atomic

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from labelscrub.evaluation.box_plots import BoxStats

DYNAMICS = ("gradients", "probabilities")
METRICS = {
    "calibrated": calibrated_tables.METRICS,
    "rates": ("precision", "recall", "f1"),
    "margins": ("cohens_d", "wasserstein", "aum_average_precision"),
}
PICTURES = ("png", "svg")


def show(
    experiment: Experiment,
    jobs: Sequence[Trial],
    results: Sequence[TrialResult],
    trials: Path,
    out: Path,
    *,
    drawing: bool,
) -> tuple[list[Row], tuple[Path, ...]]:
    """Write the table in three forms and the view's picture of each data set."""
    grouped = cells(results)
    rows = table_rows(grouped, experiment.name, METRICS.get(experiment.view, (experiment.metric,)))
    table = calibrated_tables.as_markdown(rows) if experiment.view == "calibrated" else as_markdown(rows)
    heading = f"# {experiment.name}: {experiment.title}\n\n"
    page = heading + table + "\n" + trained(results) + "\n"
    texts = {"json": as_json(rows, results), "csv": as_csv(rows), "md": page.encode()}
    files = [_write(out / f"{experiment.name}.{suffix}", content) for suffix, content in texts.items()]
    for name in dict.fromkeys(cell.dataset for cell in grouped) if drawing else ():
        own = [cell for cell in grouped if cell.dataset == name]
        if experiment.view == "margins":
            files += _margins(experiment, [job for job in jobs if job.dataset.name == name], trials, out)
        elif experiment.view == "sweep":
            files += _sweep(experiment, own, out)
        elif experiment.view == "delay":
            files += _delay(experiment, own, out)
        elif experiment.view == "calibrated":
            files += _estimates(experiment, own, out)
        elif len({cell.noise_rate for cell in own}) > 1:
            files += _by_rate(experiment, own, out)
    return rows, tuple(files)


def trained(results: Sequence[TrialResult]) -> str:
    """What was trained, with what: nobody should take a small try for the paper's."""
    from labelscrub.reporting.text import one_line, printable

    found: dict[str, None] = {}
    for result in results:
        p = result.provenance
        if "network" not in p:
            continue
        start = "from scratch" if p["weights"] == "none" else "from starting weights"
        folds = f", {p['folds']} folds" if p.get("folds", 0) > 1 else ""
        found[
            f"{one_line(printable(Path(result.dataset).name))}: {result.images:,} images of {result.classes} "
            f"classes, {p['network']} {start}, {p['recipe']['epochs']} epochs{folds}, {p['device_name']}, "
            f"torch {p['torch']}, labelscrub {p['labelscrub']}"
        ] = None
    return "\n".join(f"Trained: {line}." for line in found)


def show_dynamics(
    experiment: Experiment,
    jobs: Sequence[Trial],
    trials: Path,
    out: Path,
    progress: Progress,
    *,
    resume: bool,
) -> tuple[Path, ...]:
    """Trace each first trial's training, then draw gradients or probabilities by epoch."""
    from labelscrub.evaluation import box_plots
    from labelscrub.evaluation.dynamics import run_trace

    drawn: dict[str, dict[str, list[tuple[BoxStats, BoxStats]]]] = {}
    jobs = [job for job in jobs if job.number == 0]
    first = {job.dataset.name: job for job in reversed(jobs)}
    rate = {name: _one_rate([job for job in jobs if job.dataset.name == name]) for name in first}
    for number, job in enumerate(jobs, start=1):
        progress(Event("bench", message=f"training {number} of {len(jobs)}, {job.name}"))
        trace = run_trace(job, trials, progress, resume=resume)
        name = _panel(job, rate[job.dataset.name])
        shown: dict[str, NDArray[np.floating]] = {name: trace.p_given}
        if experiment.view == "gradients":
            shown = {name: trace.gradient}
            if trace.equation_4 is not None:
                shown = {f"{name}, as trained": trace.gradient, f"{name}, eq. 4": trace.equation_4}
        for label, values in shown.items():
            drawn.setdefault(job.dataset.name, {})[label] = [
                (box_plots.box_statistics(epoch[~trace.wrong]), box_plots.box_statistics(epoch[trace.wrong]))
                for epoch in values
            ]
    files = [_write(out / f"{experiment.name}.json", _boxes_json(experiment, drawn))]
    for name, losses in drawn.items():
        title = _title(experiment, name, rate[name], len(first[name].dataset.images.rows), 1)
        what = "dL/dp" if experiment.view == "gradients" else "p(given label)"
        for target in _pictures(experiment, name, out):
            gradients = experiment.view == "gradients"
            limits = None if gradients else (0.0, 1.0)  # probabilities can be compared by eye
            box_plots.boxes(losses, what, title, target, detail=gradients, limits=limits)
            files.append(target)
    return tuple(files)


def _boxes_json(
    experiment: Experiment, drawn: dict[str, dict[str, list[tuple[BoxStats, BoxStats]]]]
) -> bytes:
    import dataclasses

    values = {
        name: {
            loss: [
                {"epoch": e, "correct": dataclasses.asdict(right), "wrong": dataclasses.asdict(wrong)}
                for e, (right, wrong) in enumerate(epochs, start=1)
            ]
            for loss, epochs in losses.items()
        }
        for name, losses in drawn.items()
    }
    return json.dumps(
        {"experiment": experiment.name, "title": experiment.title, "boxes": values}, indent=1
    ).encode()


def _by_rate(experiment: Experiment, own: Sequence[Cell], out: Path) -> list[Path]:
    """Metric against noise rate, a line a loss; parameters may change with the rate, as in the tables."""
    metrics = METRICS.get(experiment.view, (experiment.metric,))
    found = Counter((cell.loss, cell.noise_rate) for cell in own)
    apart = {loss for (loss, _), parameters in found.items() if parameters > 1}  # a line a parameter

    def line(cell: Cell) -> str:
        return _label(cell) if cell.loss in apart else cell.loss

    panels = {metric_title(m): _series(own, m, lambda c: c.noise_rate, line) for m in metrics}
    return _lines(experiment, own, panels, "noise rate", " / ".join(panels), out)


def _delay(experiment: Experiment, own: Sequence[Cell], out: Path) -> list[Path]:
    """F1 against delay, a panel a noise rate, a line a parameter."""
    swept = [cell for cell in own if cell.loss in experiment.sweep]
    rates = sorted({cell.noise_rate for cell in own})
    panels = {}
    for rate in rates:
        here = [cell for cell in swept if cell.noise_rate == rate]
        series = _series(here, experiment.metric, lambda c: float(c.delay), _label)
        delays = [float(delay) for delay in experiment.delays]
        for cell in own:  # a baseline has no delay: a level line
            if cell.noise_rate == rate and cell.loss not in experiment.sweep:
                series[_label(cell)] = (delays, [cell.mean(experiment.metric)] * len(delays), None)
        panels[f"noise rate {rate:g}"] = series
    return _lines(
        experiment, own, panels, "delay: epochs of cross-entropy first", metric_title(experiment.metric), out
    )


def _estimates(experiment: Experiment, own: Sequence[Cell], out: Path) -> list[Path]:
    """Estimated against true noise rate, a panel a loss, a line a kind of noise, and where both are equal."""
    panels = {}
    for loss in dict.fromkeys(_label(cell) for cell in own):
        here = [cell for cell in own if _label(cell) == loss]
        true = sorted({0.0, *(cell.noise_rate for cell in here)})
        series = _series(here, "noise_rate_estimate", lambda c: c.noise_rate, lambda c: c.noise)
        panels[loss] = {"as true": (true, true, None), **series}
    return _lines(experiment, own, panels, "true noise rate", "estimated noise rate", out)


def _sweep(experiment: Experiment, own: Sequence[Cell], out: Path) -> list[Path]:
    """Metric over noise rates and parameters, baselines in a block of their own."""
    import numpy as np

    from labelscrub.evaluation import plots

    rates = sorted({cell.noise_rate for cell in own})
    blocks: dict[str, dict[str, list[float]]] = {}
    for cell in own:
        name, _, value = cell.setting.partition("=")
        block, column = (
            (f"{cell.loss}: {name}", value) if cell.loss in experiment.sweep else ("baselines", cell.loss)
        )
        at = blocks.setdefault(block, {}).setdefault(column, [math.nan] * len(rates))
        at[rates.index(cell.noise_rate)] = cell.mean(experiment.metric)
    drawn = {block: (list(columns), np.array(list(columns.values())).T) for block, columns in blocks.items()}
    labels = [f"{rate:g}" if own[0].noise != "given" else "as given" for rate in rates]
    files = _pictures(experiment, own[0].dataset, out)
    for target in files:
        plots.heat_map(labels, drawn, "noise rate", _cells_title(experiment, own), target)
    return files


def _margins(experiment: Experiment, jobs: Sequence[Trial], trials: Path, out: Path) -> list[Path]:
    """Distributions of AUM of the first trial, a panel a loss; none of a training that diverged."""
    from labelscrub.evaluation import metrics, plots
    from labelscrub.evaluation.dynamics import margins

    jobs = [job for job in jobs if job.number == 0 and (trials / job.folder() / PREDICTIONS).is_file()]
    if not jobs:
        return []
    rate = _one_rate(jobs)
    pairs = {_panel(job, rate): margins(job, trials) for job in jobs}
    captions = {
        loss: f"Cohen's d {metrics.cohens_d(*pair):.2f}, Wasserstein {metrics.wasserstein(*pair):.2f}"
        for loss, pair in pairs.items()
    }
    job = jobs[0]
    title = _title(experiment, job.dataset.name, rate, len(job.dataset.images.rows), 1)
    files = _pictures(experiment, job.dataset.name, out)
    for target in files:
        plots.histograms(pairs, captions, "area under the margin, in logits", title, target)
    return files


def _series(
    own: Sequence[Cell], metric: str, x: Callable[[Cell], float], label: Callable[[Cell], str]
) -> dict[str, Any]:
    """Label -> x, mean, standard deviation (None for single trials), by rising x."""
    found: dict[str, Any] = {}
    for name in dict.fromkeys(label(cell) for cell in own):
        line = sorted((cell for cell in own if label(cell) == name), key=x)
        std = [cell.std(metric) for cell in line]
        means = [cell.mean(metric) for cell in line]
        found[name] = ([x(cell) for cell in line], means, None if all(map(math.isnan, std)) else std)
    return found


def _lines(
    experiment: Experiment, own: Sequence[Cell], panels: dict[str, Any], x_label: str, y_label: str, out: Path
) -> list[Path]:
    from labelscrub.evaluation import plots

    files = _pictures(experiment, own[0].dataset, out)
    for target in files:
        plots.lines(panels, x_label, y_label, _cells_title(experiment, own), target)
    return files


def _label(cell: Cell) -> str:
    return f"{cell.loss} {cell.setting}" if cell.setting else cell.loss


def _one_rate(jobs: Sequence[Trial]) -> float | None:
    """The noise rate of all of them, for the title; None where there are several."""
    rates = {job.noise.rate for job in jobs}
    return rates.pop() if len(rates) == 1 else None


def _panel(job: Trial, rate: float | None) -> str:
    return job.loss if rate is not None else f"{job.loss}, {job.noise.rate:.0%} noise"


def _pictures(experiment: Experiment, dataset: str, out: Path) -> list[Path]:
    name = Path(dataset).stem or "data"
    return [out / f"{experiment.name}-{name}.{suffix}" for suffix in PICTURES]


def _cells_title(experiment: Experiment, own: Sequence[Cell]) -> str:
    rates = {cell.noise_rate for cell in own}
    trials = min(len(cell.trials) for cell in own)
    return _title(
        experiment, own[0].dataset, rates.pop() if len(rates) == 1 else None, own[0].trials[0].images, trials
    )


def _title(experiment: Experiment, dataset: str, rate: float | None, images: int, trials: int) -> str:
    kinds = experiment.noise_kinds
    noise = {"given": "labels wrong as given", "none": "no noise"}.get(kinds[0], f"{kinds[0]} noise")
    if len(kinds) > 1:
        noise = "several kinds of noise"
    share = "" if rate is None or kinds[0] in RATELESS else f" {rate:.0%}"
    count = "1 trial" if trials == 1 else f"{trials} trials"
    return f"{experiment.title}: {Path(dataset).name}, {images:,} images, {noise}{share}, {count}"


def _write(target: Path, content: bytes) -> Path:
    write_atomic(target, content)
    return target
