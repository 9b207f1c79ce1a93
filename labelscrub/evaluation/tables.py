"""An experiment's figures beside the published ones: rows, JSON, CSV, a Markdown table like the paper's."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from labelscrub.config import LOSS_DELAY, LOSSES
from labelscrub.evaluation.published import Published, find
from labelscrub.evaluation.results import Cell, TrialResult
from labelscrub.reporting.text import one_line, percent, printable

HOW_TO_READ = {
    "mean, std": "over the trials that did not fail, null where undefined; std is the sample's (n - 1), "
    "null for one trial",
    "trials": "each draws its own flips, folds, starting weights and batch order",
    "noise_rate": "share of the labels that are wrong, 0 to 1",
    "published_*": "the figure of 'Hard Samples, Bad Labels' for this data set, noise rate and loss",
    "published_parameter": "the paper shows, of a sweep of gamma (bl) and cutoff (pz), the best only",
    "difference": "mean - published_mean",
    "comparable": "whether images, loss, parameters, delay, folds, filter, network, epochs and weights "
    "are the paper's",
    "why": "what is not the paper's, or why there is nothing to compare with",
}

TITLES = {"f1": "F1", "cohens_d": "Cohen's d", "wasserstein": "Wasserstein distance, in logits"}
LOSS_TITLES = {"focal": "Focal"}  # the others are abbreviations
SWEPT = {"bl": "gamma", "pz": "cutoff"}  # the paper gives these a column of their own
COUNTS = ("suspects", "planted")  # more is not better
SEPARATOR = "; "  # of the reasons why a published figure is no comparison
MISSING = "–"  # noqa: RUF001  (what was not run)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One metric of one cell, with the published figure that belongs to it."""

    table: str
    """The experiment: table1, figure7, ..."""
    metric: str
    """f1, balanced_accuracy, ...: see `evaluation.metrics`."""
    framework: str
    """confident-learning, aum or calibrated; as published where there is a published figure."""
    dataset: str
    noise: str
    """none, uniform, pair, confusable, matrix or given."""
    noise_rate: float
    """Share of wrong labels, 0..1."""
    method: str
    """cl, aum or calibrated."""
    loss: str
    parameter: str
    """Of the loss: "cutoff=0.005"; "" where it has none."""
    delay: int
    """Epochs of cross-entropy first."""
    images: int
    """In each trial; the fewest where they differ."""
    mean: float
    """Over the trials that did not fail; NaN where all did or the metric is undefined."""
    std: float
    """Sample standard deviation over the same trials; NaN for a single one."""
    trials: int
    failed: int
    """Trials whose models could not be trusted: not in the mean."""
    failure: str
    """Why not; "" where none failed."""
    published_mean: float | None
    """None where nothing is published."""
    published_std: float | None
    published_parameter: str | None
    published_trials: int | None
    difference: float | None
    """mean - published_mean."""
    comparable: bool
    """Whether the published figure was got the same way."""
    why: str
    """Why not: "10,000 of 60,000 images; cutoff=0.02, published cutoff=0.005"."""


def table_rows(cells: Iterable[Cell], table: str, metrics: Sequence[str]) -> list[Row]:
    """One row a cell and metric, cells in their order."""
    return [_row(cell, table, metric) for metric in metrics for cell in cells]


def _row(cell: Cell, table: str, metric: str) -> Row:
    figure = find(
        table=table, metric=metric, dataset=cell.dataset, noise_rate=cell.noise_rate, loss=cell.loss
    )
    if figure and (figure.noise, figure.method) != (cell.noise, cell.method):
        figure = None
    reasons = _differences(cell, figure) if figure else ["nothing published"]
    mean = cell.mean(metric)
    return Row(
        table=table,
        metric=metric,
        framework=figure.framework if figure else {"cl": "confident-learning"}.get(cell.method, cell.method),
        dataset=cell.dataset,
        noise=cell.noise,
        noise_rate=cell.noise_rate,
        method=cell.method,
        loss=cell.loss,
        parameter=cell.setting,
        delay=cell.delay,
        images=min(trial.images for trial in cell.trials),
        mean=mean,
        std=cell.std(metric),
        trials=len(cell.trials),
        failed=cell.failed(metric),
        failure="; ".join(dict.fromkeys(t.failure for t in cell.trials if t.failure)),
        published_mean=figure.mean if figure else None,
        published_std=figure.std if figure else None,
        published_parameter=figure.parameter if figure else None,
        published_trials=figure.trials if figure else None,
        difference=mean - figure.mean if figure else None,
        comparable=not reasons,
        why=SEPARATOR.join(reasons),
    )


def _differences(cell: Cell, figure: Published) -> list[str]:
    """What the paper did otherwise; what a trial does not tell counts as otherwise."""
    setup, reasons = figure.setup, []
    images = min(trial.images for trial in cell.trials)
    if setup.images is None:
        reasons.append(setup.caveat)
    elif images != setup.images:
        reasons.append(f"{images:,} of {setup.images:,} images")
    expected = figure.parameters
    if not expected and cell.parameters:
        reasons.append("published without its parameters")
    elif not _equal(dict(cell.parameters), expected):
        published = ", ".join(f"{name}={value:g}" for name, value in sorted(expected.items()))
        reasons.append(f"{cell.setting}, published {published}")
    if cell.delay != figure.delay:
        reasons.append(f"delay {cell.delay}, published {figure.delay}")
    if cell.method == "cl":
        folds = 5 if figure.framework == "confident-learning" else 1  # section 5; table 3 has no folds
        for name, usual in (("folds", folds), ("filter", "both")):
            ours = dict.fromkeys(trial.provenance.get(name, usual) for trial in cell.trials)
            reasons += [f"{name} {value}, published {usual}" for value in ours if value != usual]
    if cell.loss == "bl":  # training.losses.LOSSES: equation 4's own gradient ends in collapse
        reasons.append("bl trained as gce with q = gamma, published with equation 4's gradient")
    for trained in dict.fromkeys(_trained(trial) for trial in cell.trials):
        network, epochs, imagenet = trained
        if network != setup.network and (network, setup.network) != ("resnet34", "cifar-resnet34"):
            reasons.append(f"network {network}, published {setup.network}")
        if epochs != setup.epochs:
            reasons.append(f"{epochs} epochs, published {setup.epochs}")
        if imagenet != setup.imagenet:
            start = {True: "starting weights", False: "from scratch"}
            published = "ImageNet weights" if setup.imagenet else "from scratch"
            reasons.append(f"{start[imagenet]}, published {published}")
    return list(dict.fromkeys(reasons))


def _equal(ours: dict[str, float], published: dict[str, float]) -> bool:
    return ours.keys() == published.keys() and all(math.isclose(ours[k], published[k]) for k in ours)


def _trained(trial: TrialResult) -> tuple[str, int | str, bool]:
    """Network, epochs, and whether it had starting weights, from the trial's provenance."""
    recipe = trial.provenance.get("recipe", {})
    return (
        str(trial.provenance.get("network", "unknown")),
        recipe.get("epochs", "unknown"),
        trial.provenance.get("weights", "none") != "none",
    )


def as_json(rows: Sequence[Row], results: Iterable[TrialResult]) -> bytes:
    """Rows, every trial behind them, and how to read them; NaN is null."""
    content = {
        "how_to_read": HOW_TO_READ,
        "rows": [{name: _json_value(value) for name, value in _values(row).items()} for row in rows],
        "trials": [result.to_json() for result in results],
    }
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()


def _values(row: Row) -> dict[str, Any]:
    return {field.name: getattr(row, field.name) for field in dataclasses.fields(row)}


def _json_value(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def as_csv(rows: Sequence[Row]) -> bytes:
    """One line a row, UTF-8, "\\n"; its columns include those of the published figures' table."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([field.name for field in dataclasses.fields(Row)])
    writer.writerows([csv_value(value) for value in _values(row).values()] for row in rows)
    return text.getvalue().encode()


def csv_value(value: Any) -> str:
    """One cell: "" for what is not known, nothing that a spreadsheet takes for a formula."""
    if isinstance(value, str):
        text = one_line(printable(value))
        return "'" + text if text.startswith(("=", "+", "-", "@")) else text  # no formula for a spreadsheet
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return str(value).lower() if isinstance(value, bool) else f"{value:.9g}"


def metric_title(metric: str) -> str:
    """Its name for people: F1, balanced accuracy."""
    return TITLES.get(metric, metric.replace("_", " "))


def as_markdown(rows: Sequence[Row]) -> str:
    """One table a metric, laid out as in the paper: data set and noise rate down, losses across.

    A cell is "0.887 ± 0.002 [0.885]": ours, and the published figure. The best mean of a line is bold, all of
    them where several are equal. Where a loss ran with several parameters, the best one is shown.
    """
    metrics = dict.fromkeys(row.metric for row in rows)
    return "\n".join(_metric_table([row for row in rows if row.metric == metric]) for metric in metrics)


def _metric_table(rows: Sequence[Row]) -> str:
    losses = [loss for loss in LOSSES if any(row.loss == loss for row in rows)]
    by_delay = len({(row.loss, row.delay) for row in rows}) > len(losses)  # figure 11
    lines: dict[tuple[str, ...], dict[str, list[Row]]] = {}
    for row in rows:
        line = (escape(row.dataset), _noise(row), *([str(row.delay)] if by_delay else []))
        lines.setdefault(line, {}).setdefault(row.loss, []).append(row)
    notes: list[str] = []
    header = ["data", "noise", *(["delay"] if by_delay else [])]
    for loss in losses:
        header += [LOSS_TITLES.get(loss, loss.upper())] + ([SWEPT[loss]] if loss in SWEPT else [])
    body = [[*line, *_line(by_loss, losses, notes, by_delay)] for line, by_loss in lines.items()]
    metric = rows[0].metric
    title = f"**{metric_title(metric)}** · {trials_title(rows)}"
    table = [pipes(header), pipes(["---"] * len(header)), *map(pipes, body)]
    legend = _legend(rows, notes)
    return "\n".join([title, "", *table, "", *([legend, ""] if legend else [])])


def _line(
    by_loss: dict[str, list[Row]], losses: Sequence[str], notes: list[str], by_delay: bool
) -> list[str]:
    """The cells of one line; reasons for which a published figure is no comparison are added to `notes`."""
    shown = {
        loss: max(rows, key=lambda row: (not math.isnan(row.mean), row.mean))
        for loss, rows in by_loss.items()
    }
    means = [row.mean for row in shown.values() if not math.isnan(row.mean)]
    cells = []
    for loss in losses:
        row = shown.get(loss)
        best = row is not None and len(means) > 1 and row.metric not in COUNTS and row.mean == max(means)
        cells.append(_cell(row, best, notes) if row else MISSING)
        if loss in SWEPT:
            cells.append(_swept(row, by_delay) if row else MISSING)
    return cells


def _cell(row: Row, best: bool, notes: list[str]) -> str:
    text = "undefined" if math.isnan(row.mean) else _number(row, row.mean)
    if not math.isnan(row.std):
        text += f" ± {_number(row, row.std)}"
    text = f"**{text}**" if best else text
    if row.failed == row.trials:
        text = f"{row.failed} of {row.trials} failed"
    elif row.failed:
        text += f" ({row.failed} of {row.trials} failed)"
    if row.published_mean is None:
        return text
    mark = ""
    if not row.comparable:
        reasons = row.why.split(SEPARATOR)
        notes.extend(reason for reason in reasons if reason not in notes)
        numbers = sorted(notes.index(reason) + 1 for reason in reasons)
        mark = f"<sup>{','.join(map(str, numbers))}</sup>"
    return f"{text} [{_published(row.published_mean)}]{mark}"


def _number(row: Row, value: float) -> str:
    return f"{value:,.1f}" if row.metric in COUNTS else f"{value:.3f}"


def _published(value: float) -> str:
    """As printed: three decimals, in table 6 four."""
    return f"{value:.4f}".removesuffix("0")


def _swept(row: Row, by_delay: bool) -> str:
    ours = row.parameter.rpartition("=")[2]
    if not by_delay and row.delay != LOSS_DELAY.get(row.loss, 0):
        ours += f", delay {row.delay}"
    return (
        f"{ours} [{float(row.published_parameter.rpartition('=')[2]):g}]" if row.published_parameter else ours
    )


def _noise(row: Row) -> str:
    """ "20 %" for uniform flips; "pair 20 %"; with "aum" where that is the method."""
    text = noise_title(row).removeprefix("uniform ")
    return text + ("" if row.method == "cl" else f", {row.method}")


def noise_title(row: Row) -> str:
    """ "uniform 20 %"; "none"."""
    return "none" if row.noise == "none" else f"{row.noise} {percent(row.noise_rate)}"


def trials_title(rows: Sequence[Row]) -> str:
    """How many trials the figures are of."""
    low, high = min(row.trials for row in rows), max(row.trials for row in rows)
    if high == 1:
        return "one trial each"
    return f"mean ± standard deviation over {low if low == high else f'{low} to {high}'} trials"


def _legend(rows: Sequence[Row], notes: Sequence[str]) -> str:
    sentences = []
    if any(row.published_mean is not None for row in rows):
        sentences.append('In brackets: published in "Hard Samples, Bad Labels".')
    failures = dict.fromkeys(row.failure for row in rows if row.failed)
    sentences += [f"Failed: {escape(why)}." for why in failures]
    several = len({(row.dataset, _noise(row), row.loss, row.delay) for row in rows}) < len(rows)
    if several:
        sentences.append("Of several parameters of a loss the best is shown, as in the paper.")
    sentences += [
        f"<sup>{number}</sup> not the same experiment: {escape(why)}." for number, why in enumerate(notes, 1)
    ]
    return "\n\n".join(sentences)


def pipes(cells: Iterable[str]) -> str:
    """A line of a Markdown table."""
    return "| " + " | ".join(cells) + " |"


def escape(text: str) -> str:
    """A name, whatever is in it, as one cell of a Markdown table."""
    text = one_line(printable(text))
    for char in "\\|`*_<>[]$":
        text = text.replace(char, "\\" + char)
    return text
