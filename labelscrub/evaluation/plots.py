"""The paper's figures 6 to 11: plain numbers in, one .png, .svg or .pdf out. Equal numbers give equal bytes.

Colours are Okabe and Ito's, which people see apart whatever their colour vision; markers, dashes and hatches
say the same once more. Each function writes `target` and returns the figure it drew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelscrub.config import LOSSES
from labelscrub.evaluation.figures import (
    CLEAN,
    CLEAN_LABEL,
    WIDTH,
    WRONG,
    WRONG_LABEL,
    legend_below,
    new_figure,
    panel_grid,
    panel_rows,
    save,
    say_empty,
    styled,
    wrapped,
)

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    Series = tuple[Sequence[float], Sequence[float], Sequence[float] | None]
    Block = tuple[Sequence[str], NDArray[np.float64]]

COLOURS = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#0072B2", "#D55E00")
MARKERS = ("o", "s", "^", "v", "D", "P", "X")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (4, 1, 1, 1)))
BINS = 60
MOST_TICKS = 8


def _looks(labels: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Colour, marker and dashes by label; a loss looks the same in every plot, and only ce is black."""
    names = list(dict.fromkeys(labels))
    places = {name: (LOSSES.index(name), 0) for name in names if name in LOSSES}  # colour, how often used
    others = [name for name in names if name not in places]
    taken = {place for place, _ in places.values()}
    free = [place for place in range(1, len(COLOURS)) if place not in taken] or [*range(1, len(COLOURS))]
    places |= {name: (free[i % len(free)], i // len(free)) for i, name in enumerate(others)}
    return {
        name: {
            "color": COLOURS[place],
            "marker": MARKERS[(place + turn) % len(MARKERS)],
            "linestyle": DASHES[(place + turn) % len(DASHES)],
        }
        for name, (place, turn) in places.items()
    }


@styled()
def precision_recall_plot(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    points: Mapping[str, tuple[float, float]],
    title: str,
    target: Path,
    reliability: Sequence[tuple[float, float]] = (),
) -> Figure:
    """All cuts of a score as a curve, single detectors as points, and the lines of equal F1 behind them.

    With `reliability` a second panel: what error probabilities said against what was wrong.

    Args:
        curves: label -> precision (C,), recall (C,), by threshold in either direction.
        points: label -> precision, recall. One whose label names a curve ("aum" or "best cut, aum") has
            the curve's colour; the others are black.
        title: data set, noise rate, number of images.
        target: the file to write.
        reliability: mean error probability and share of wrong labels of each bin, by rising probability.
    """
    import numpy as np

    panels = 2 if reliability else 1
    figure = new_figure(5.6, title, width=6.6 if panels == 1 else 11.6)
    axes = figure.add_subplot(1, panels, 1, xlabel="recall: share of the wrong labels that is found")
    axes.set(xlim=(0, 1.02), ylabel="precision: share of what is found that is wrong", ylim=(0, 1.02))
    for f1 in (0.3, 0.5, 0.7, 0.8, 0.9):
        line = np.linspace(f1 / (2 - f1), 1, 100)  # precision 1 at its left end
        axes.plot(line, f1 * line / (2 * line - f1), color="0.85", linewidth=0.8, zorder=0)
        axes.annotate(
            f"F1 {f1:g}", (1.02, f1 / (2 - f1)), color="0.5", fontsize=8, va="center", annotation_clip=False
        )
    owners = {
        label: next((c for c in curves if c in (label, label.split(", ")[-1])), None) for label in points
    }
    free = [label for label, owner in owners.items() if owner is None]
    looks = _looks([*curves, *free])
    looks |= {label: {**looks[label], "color": COLOURS[0]} for label in free}
    handles: dict[str, tuple[Any, ...]] = {}
    for label, (along_precision, along_recall) in curves.items():
        precision, recall = np.asarray(along_precision), np.asarray(along_recall)
        step = -1 if len(recall) and recall[0] > recall[-1] else 1
        look = {**looks[label], "marker": None}
        handles[label] = (*axes.plot(recall[::step], precision[::step], **look, drawstyle="steps-pre"),)
    for label, (at_precision, at_recall) in points.items():
        look = {**looks[owners[label] or label], "linestyle": "none"}
        look |= {"markersize": 9, "markeredgecolor": "white"}
        drawn = axes.plot([at_recall], [at_precision], **look, zorder=3, clip_on=False)
        handles[label] = (*handles.get(label, ()), *drawn)
    if reliability:
        right = figure.add_subplot(1, 2, 2, xlabel="error probability, mean of a bin", xlim=(0, 1.02))
        right.set(ylabel="share of the bin's labels that is wrong", ylim=(0, 1.02))
        right.plot([0, 1], [0, 1], color="0.85", linewidth=0.8, zorder=0)  # as they should be
        right.plot(*zip(*reliability, strict=True), color=COLOURS[0], marker=MARKERS[0], clip_on=False)
    legend_below(figure, handles)
    return save(figure, target)


@styled()
def lines(
    panels: Mapping[str, Mapping[str, Series]], x_label: str, y_label: str, title: str, target: Path
) -> Figure:
    """Series over x, with bars of one standard deviation: figures 7 and 11.

    Args:
        panels: panel title -> label -> x (P,), mean (P,), standard deviation (P,) or None. Panels share axes.
        x_label: with its unit.
        y_label: with its unit.
        title: data set, noise rate, number of trials.
        target: the file to write.
    """
    import numpy as np

    rows = panel_rows(len(panels), 4)
    figure = new_figure(0.9 + 3.1 * len(rows), title)
    grid = panel_grid(figure, rows, x_label)
    pitch = WIDTH / max(rows)
    looks = _looks(label for series in panels.values() for label in series)
    handles = {}
    empty = []
    for axes, (name, series) in zip(grid.flat, panels.items(), strict=False):
        axes.set_title("" if name == y_label else wrapped(name, 0.8 * pitch))
        axes.grid(axis="y")
        for label, (x, mean, std) in series.items():
            handles[label] = axes.errorbar(x, mean, std, **looks[label], markersize=5, capsize=2.5)
        if not any(np.isfinite(np.asarray(mean)).any() for _, mean, _ in series.values()):
            say_empty(axes, 0.8 * pitch)
            empty.append(axes)
    ticks = sorted({float(value) for series in panels.values() for x, _, _ in series.values() for value in x})
    if len(ticks) <= MOST_TICKS:
        grid[0, 0].set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    if len(empty) == len(panels):
        grid[0, 0].set(xticks=[], yticks=[])
    figure.supylabel(y_label, fontsize=10)
    legend_below(figure, handles)
    return save(figure, target)


@styled()
def bars(
    names: Sequence[str], parts: Mapping[str, Sequence[float]], x_label: str, title: str, target: Path
) -> Figure:
    """A bar a name, its parts end to end, the sum behind it: where the time goes.

    Args:
        names: B names, top to bottom.
        parts: part -> (B,) lengths.
        x_label: with its unit.
        title: data set, number of images.
        target: the file to write.
    """
    figure = new_figure(1.7 + 0.45 * len(names), title)
    axes = figure.subplots()
    ends = [0.0] * len(names)
    looks: list[dict[str, Any]] = [
        {"color": COLOURS[1:][i % 6], "hatch": ("", "///", "...")[i % 3]} for i in range(len(parts))
    ]
    handles = {}
    for look, (part, lengths) in zip(looks, parts.items(), strict=True):
        handles[part] = axes.barh(range(len(names)), lengths, left=ends, edgecolor="white", **look)
        ends = [end + length for end, length in zip(ends, lengths, strict=True)]
    for place, end in enumerate(ends):
        axes.annotate(f" {end:,.3g}" if end < 100 else f" {end:,.0f}", (end, place), va="center")
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.set_xlabel(x_label)
    axes.grid(axis="x")
    legend_below(figure, handles)
    return save(figure, target)


@styled()
def heat_map(
    rows: Sequence[str], blocks: Mapping[str, Block], row_label: str, title: str, target: Path
) -> Figure:
    """Blocks of columns side by side over the same rows, on one colour scale: figure 8.

    The best value of a row is bold on white; the best of each block has a frame.

    Args:
        rows: R names, top to bottom: "10 %".
        blocks: block title -> C column names, (R, C) values, NaN where not run: "baselines", "bl, gamma", ...
        row_label: what the rows are: "noise rate".
        title: metric, data set, number of images and trials.
        target: the file to write.
    """
    import numpy as np
    from matplotlib.colors import Normalize
    from matplotlib.patches import Rectangle

    widths = [max(len(names), 2) for names, _ in blocks.values()]
    figure = new_figure(
        1.8 + 0.4 * len(rows), title, width=max(5.0, 1.2 + 0.37 * (sum(widths) + len(widths)))
    )
    everything = np.concatenate([np.asarray(values, np.float64) for _, values in blocks.values()], axis=1)
    finite = everything[np.isfinite(everything)]
    scale = Normalize(*((finite.min(), finite.max()) if len(finite) else (0.0, 1.0)))
    best_of_row = np.nanmax(np.where(np.isnan(everything), -np.inf, everything), axis=1)
    grid = figure.subplots(1, len(blocks), sharey=True, squeeze=False, width_ratios=widths)
    for axes, width, (name, (columns, values)) in zip(grid.flat, widths, blocks.items(), strict=True):
        axes.imshow(values, cmap="cividis", norm=scale, aspect="auto")
        axes.set_title(wrapped(name, 0.37 * (width + 1)))
        axes.set_xticks(range(len(columns)), columns, rotation=45 if max(map(len, columns)) > 4 else 0)
        axes.set_yticks(range(len(rows)), rows)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        if np.isnan(values).all():
            say_empty(axes, figure.get_figwidth() * (width + 0.5) / (sum(widths) + len(widths)))
            continue
        for (row, column), value in np.ndenumerate(values):
            if np.isnan(value):
                axes.text(column, row, "–", ha="center", va="center", color="0.5")  # noqa: RUF001
                continue
            best = value == best_of_row[row]
            dark = scale(value) < 0.55
            axes.text(
                column,
                row,
                f"{value:.3f}".replace("0.", ".", 1),
                ha="center",
                va="center",
                fontsize=9,
                color="black" if best or not dark else "white",
                fontweight="bold" if best else "normal",
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5} if best else None,
            )
            if len(columns) > 1 and value == np.nanmax(values[row]):
                frame = Rectangle((column - 0.46, row - 0.46), 0.92, 0.92, fill=False, edgecolor=WRONG, lw=2)
                axes.add_patch(frame)
    grid[0, 0].set_ylabel(row_label)
    if len(finite):
        figure.supxlabel("bold: best of its row; frame: best of its block in the row", fontsize=9)
    return save(figure, target)


@styled()
def histograms(
    pairs: Mapping[str, tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]],
    captions: Mapping[str, str],
    x_label: str,
    title: str,
    target: Path,
) -> Figure:
    """Densities of images with correct and with wrong labels, a panel a loss, on one x axis: figure 6.

    Args:
        pairs: panel title -> values of the correct ones (A,), of the wrong ones (B,).
        captions: panel title -> a line such as Cohen's d and Wasserstein distance.
        x_label: with its unit.
        title: data set, noise rate, number of images.
        target: the file to write.
    """
    import numpy as np

    rows = panel_rows(len(pairs), 3)
    figure = new_figure(1.0 + 2.5 * len(rows), title)
    grid = panel_grid(figure, rows, x_label)
    pitch = WIDTH / max(rows)
    everything = np.concatenate([np.ravel(values) for pair in pairs.values() for values in pair])
    everything = everything[np.isfinite(everything)]
    bins = np.histogram_bin_edges(everything, BINS)
    handles: dict[str, Any] = {}
    for axes, (name, (clean, wrong)) in zip(grid.flat, pairs.items(), strict=False):
        axes.set_title("\n".join(wrapped(text, pitch) for text in (name, captions.get(name)) if text))
        axes.set_yticks([])
        if not np.isfinite(np.concatenate([clean, wrong])).any():
            say_empty(axes, 0.8 * pitch)
        for label, values, look in (
            (CLEAN_LABEL, clean, {"facecolor": CLEAN, "alpha": 0.55}),
            (WRONG_LABEL, wrong, {"facecolor": WRONG, "alpha": 0.55, "hatch": "////"}),
        ):
            values = values[np.isfinite(values)]
            if len(values):
                _, _, bars = axes.hist(values, bins, density=True, histtype="stepfilled", **look)
                handles.setdefault(label, bars[0])
                mean = axes.axvline(values.mean(), color=look["facecolor"], linestyle="--", linewidth=1.8)
                handles.setdefault(f"mean, {label}", mean)
    if not len(everything):
        grid[0, 0].set_xticks([])
    figure.supylabel("density", fontsize=10)
    legend_below(figure, handles)
    return save(figure, target)
