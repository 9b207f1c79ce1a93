"""Figures 3 and 4: box plots by epoch, of statistics that can be taken as each epoch ends."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    Epochs = Sequence[tuple["BoxStats", "BoxStats"]]

MOST_TICKS = 6
MOST_COLUMNS = 4


@dataclass(frozen=True)
class BoxStats:
    """What a box plot draws of one set of values; all NaN for an empty one."""

    q1: float
    median: float
    q3: float
    whisker_low: float
    """The lowest value within 1.5 interquartile ranges of the box."""
    whisker_high: float
    trimmed_low: float
    """15th percentile."""
    trimmed_high: float
    """85th percentile."""
    trimmed_mean: float
    """Mean of the values between these two, as the paper has it: outliers don't move it."""


def box_statistics(
    values: NDArray[np.floating[Any]],  # (V,)
) -> BoxStats:
    """Median, quartiles, whiskers and trimmed mean, as in figure 3; only of finite values."""
    import numpy as np

    values = np.sort(values[np.isfinite(values)].astype(np.float64))
    if not len(values):
        return BoxStats(*[math.nan] * 8)
    low, q1, median, q3, high = (float(q) for q in np.percentile(values, (15, 25, 50, 75, 85)))
    reach = 1.5 * (q3 - q1)
    within = values[(values >= q1 - reach) & (values <= q3 + reach)]
    # Interpolated quartiles may lie beyond every value in reach: then there is no whisker, as in matplotlib.
    whiskers = min(float(within[0]), q1), max(float(within[-1]), q3)
    trimmed = values[(values >= low) & (values <= high)]
    # Of two values none lies between their percentiles.
    return BoxStats(q1, median, q3, *whiskers, low, high, float(trimmed.mean()) if len(trimmed) else median)


@styled()
def boxes(
    epochs: Mapping[str, Epochs],
    y_label: str,
    title: str,
    target: Path,
    *,
    detail: bool,
    limits: tuple[float, float] | None = None,
) -> Figure:
    """Two boxes an epoch, correct labels on the left and wrong ones, hatched, on the right: figures 3 and 4.

    Args:
        epochs: loss -> of each epoch the statistics of images with correct and with wrong labels. Losses
            with a noise rate, "pz, 20% noise", are in a band of rows with all others of that rate.
        y_label: with its unit.
        title: data set, noise rate, number of images.
        target: the file to write.
        detail: draw each loss twice: cut to the 15th and 85th percentiles of a middling epoch, and in full
            right below.
        limits: one y axis for all panels, as of probabilities; else each has its own.
    """
    rows = _rows(epochs)
    columns = max(len(losses) for _, losses in rows)
    views = ("detail", "full") if detail else ("",)
    figure = new_figure(0.9 + 2.2 * len(rows) * len(views), title)
    lengths = [len(losses) for _, losses in rows]
    grid = panel_grid(figure, lengths, "epoch", views=len(views), share_x=False, share_y=limits is not None)
    handles: dict[str, Any] = {}
    for line, row in enumerate(grid):
        (rate, losses), view = rows[line // len(views)], views[line % len(views)]
        row[0].set_ylabel("\n".join(filter(None, (rate, view))))
        for axes, (loss, statistics) in zip(row, losses, strict=False):
            if view != "full":  # the detail above has it
                axes.set_title(wrapped(loss, 0.8 * WIDTH / columns))
            if limits:
                margin = 0.02 * (limits[1] - limits[0])
                axes.set_ylim(limits[0] - margin, limits[1] + margin)
            drawn = _draw_boxes(axes, statistics)
            handles |= drawn
            if not drawn:
                say_empty(axes, 0.8 * WIDTH / columns)
                if not limits:
                    axes.set_yticks([])
            elif view == "detail":
                _cut(axes, statistics)
    figure.align_ylabels(grid[:, 0])
    figure.supylabel(y_label, fontsize=10)
    legend_below(figure, handles)
    return save(figure, target)


def _rows(epochs: Mapping[str, Epochs]) -> list[tuple[str, list[tuple[str, Epochs]]]]:
    """Of each row of panels the noise rate, "" where no loss names one, and the losses, without it."""
    bands: dict[str, list[tuple[str, Epochs]]] = {}
    for label, statistics in epochs.items():
        parts = label.split(", ")
        rate = next((part for part in parts if part.endswith("% noise")), "")
        bands.setdefault(rate, []).append((", ".join(part for part in parts if part != rate), statistics))
    columns = max(panel_rows(len(losses), MOST_COLUMNS)[0] for losses in bands.values())
    return [
        (rate, losses[start : start + columns])
        for rate, losses in bands.items()
        for start in range(0, len(losses), columns)
    ]


def _draw_boxes(axes: Axes, statistics: Epochs) -> dict[str, Any]:
    handles: dict[str, Any] = {}
    mean = {}
    for side, (label, colour, hatch) in enumerate(((CLEAN_LABEL, CLEAN, ""), (WRONG_LABEL, WRONG, "/////"))):
        drawn = {e: pair[side] for e, pair in enumerate(statistics, 1) if not math.isnan(pair[side].median)}
        if not drawn:
            continue
        artists = axes.bxp(
            [
                {
                    "q1": box.q1,
                    "med": box.median,
                    "q3": box.q3,
                    "whislo": box.whisker_low,
                    "whishi": box.whisker_high,
                    "mean": box.trimmed_mean,
                }
                for box in drawn.values()
            ],
            positions=[epoch + 0.4 * side - 0.2 for epoch in drawn],
            widths=0.34,
            manage_ticks=False,
            showfliers=False,
            showmeans=True,
            patch_artist=True,
            boxprops={"facecolor": colour, "edgecolor": "black", "hatch": hatch, "linewidth": 0.6},
            medianprops={"color": "black", "linewidth": 1.4},
            whiskerprops={"color": colour, "linewidth": 1},
            capprops={"color": colour, "linewidth": 1},
            meanprops={
                "marker": "D",
                "markersize": 3,
                "markerfacecolor": "white",
                "markeredgecolor": "black",
            },
        )
        handles[label] = artists["boxes"][0]
        mean = {"trimmed mean": artists["means"][0]}
    axes.grid(axis="y")
    axes.set_xlim(0.4, len(statistics) + 0.6)
    axes.set_xticks(range(1, len(statistics) + 1, math.ceil(len(statistics) / MOST_TICKS)))
    return handles | mean


def _cut(axes: Axes, statistics: Epochs) -> None:
    """The y axis from the 15th to the 85th percentile of a middling epoch; the first ones are far out."""
    import numpy as np

    pairs = [[box for box in pair if not math.isnan(box.median)] for pair in statistics]
    if drawn := [pair for pair in pairs if pair]:
        low = float(np.median([min(box.trimmed_low for box in pair) for pair in drawn]))
        high = float(np.median([max(box.trimmed_high for box in pair) for pair in drawn]))
        margin = 0.05 * (high - low) or 0.05
        axes.set_ylim(low - margin, high + margin)
