"""A page to draw on: matplotlib with our settings, panels, titles, legends; how a figure becomes a file."""

from __future__ import annotations

import contextlib
import io
import math
import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelscrub.errors import EnvironmentProblem, UsageError
from labelscrub.reporting.text import one_line, printable
from labelscrub.store import write_atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

SUFFIXES = (".png", ".svg", ".pdf")
WIDTH = 8.3  # inches: a README column of 830 px shows text at the size it was set
DPI = 200  # of a PNG: twice that, for sharp screens
CLEAN, WRONG = "#009E73", "#D55E00"
CLEAN_LABEL, WRONG_LABEL = "correct label", "wrong label"
NO_VERDICT = "no verdict: every trial failed"
GRID = "0.88"
RC = {
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
    "savefig.dpi": DPI,
    "svg.hashsalt": "labelscrub",
    "text.parse_math": False,  # a "$" in a data set's name is a "$"
}


@contextlib.contextmanager
def styled() -> Iterator[None]:
    """matplotlib with our settings for a while; EnvironmentProblem where it is not installed."""
    try:
        from matplotlib import style
    except ImportError as error:
        raise EnvironmentProblem(
            "plots need matplotlib, which is not installed", "pip install 'labelscrub[plots]'"
        ) from error
    with style.context(["default", RC]):
        yield


def new_figure(
    height: float,  # inches
    title: str,
    width: float = WIDTH,  # inches
) -> Figure:
    """An empty figure under its title, which is wrapped."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(wrapped(one_line(printable(title)), width), fontsize=11)
    return figure


def wrapped(
    text: str,
    inches: float,  # 12 characters each, at the sizes used here
) -> str:
    """As few lines as fit into `inches`, all of about one length: no last line of one word."""

    def split(width: int) -> list[str]:
        return textwrap.wrap(text, width, break_on_hyphens=False)  # "anl-ce" is one name

    most = max(int(12 * inches), 1)
    fewest = len(split(most))
    least = min(max(map(len, text.split()), default=1), most)  # breaks no word that fits
    return "\n".join(next(found for w in range(least, most + 1) if len(found := split(w)) <= fewest))


def say_empty(
    axes: Axes,
    inches: float,  # width of the panel
) -> None:
    """In the middle of a panel that has nothing to draw, why."""
    axes.text(
        0.5,
        0.5,
        wrapped(NO_VERDICT, inches),
        transform=axes.transAxes,
        ha="center",
        va="center",
        color="0.35",
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 3},  # not through it: the grid
    )


def save(figure: Figure, target: Path) -> Figure:
    """Write the file by its suffix. UsageError where it is somebody else's."""
    kind = target.suffix.lower()
    if kind not in SUFFIXES:
        raise UsageError(f"{target} is no plot's file name", "end it in .png, .svg or .pdf")
    if target.exists() and not _is_ours(target):
        raise UsageError(f"{target} exists and is no plot of labelscrub", "choose another place with --out")
    metadata: dict[str, str | None] = {"Software" if kind == ".png" else "Creator": "labelscrub"}
    if kind != ".png":
        metadata["Date" if kind == ".svg" else "CreationDate"] = None  # the same bytes another day
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # shown as a box, as everywhere
        figure.savefig(file, format=kind[1:], metadata=metadata)
    write_atomic(target, file.getvalue())
    return figure


def _is_ours(target: Path) -> bool:
    try:
        return b"labelscrub" in target.read_bytes()  # the Software or Creator that every plot names
    except OSError:
        return False


def legend_below(figure: Figure, handles: Mapping[str, Any]) -> None:
    """One legend under all panels, where no data are, in rows of equal length."""
    if handles:
        fitting = int(12.5 * figure.get_figwidth() / (max(map(len, handles)) + 7))
        rows = math.ceil(len(handles) / max(fitting, 1))
        columns = math.ceil(len(handles) / rows)
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=columns)


def panel_rows(panels: int, most: int) -> list[int]:
    """Panels of each row: as few rows as `most` columns allow, of about one length."""
    columns = math.ceil(panels / math.ceil(panels / most))
    return [min(columns, panels - start) for start in range(0, panels, columns)]


def panel_grid(
    figure: Figure,
    rows: Sequence[int],  # panels of each row
    x_label: str,
    *,
    views: int = 1,
    share_x: bool = True,
    share_y: bool = True,
) -> NDArray[Any]:
    """Axes (R, C), `views` rows a panel; each column's lowest has the x label, those too many are gone."""
    columns = max(rows)
    grid: NDArray[Any] = figure.subplots(
        len(rows) * views, columns, squeeze=False, sharex=share_x, sharey=share_y
    )
    for place, axes in enumerate(grid.flat):
        row, column = place // columns // views, place % columns
        if column >= rows[row]:
            axes.remove()
            continue
        axes.tick_params(labelbottom=True)
        if place // columns % views == views - 1 and max(rows[row + 1 :], default=0) <= column:
            # Not figure.supxlabel: it is drawn over a legend below.
            axes.set_xlabel(wrapped(x_label, figure.get_figwidth() / columns))
    return grid
