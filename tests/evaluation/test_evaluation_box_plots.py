"""Box statistics agree with matplotlib's and scipy's, and the boxes drawn are those given."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
from scipy.stats import trim_mean

pytest.importorskip("matplotlib")

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cbook import boxplot_stats

from labelscrub.evaluation.box_plots import BoxStats, box_statistics, boxes
from labelscrub.evaluation.figures import NO_VERDICT

EMPTY = box_statistics(np.array([]))


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(0).normal(size=1000),
        np.random.default_rng(1).standard_cauchy(size=999).astype(np.float32),  # far outliers
        -1 / np.random.default_rng(2).uniform(1e-6, 1, 500),  # gradients of cross-entropy
        np.array([0.0, 0.0, 0.0, 0.0, 5.0]),  # PZ: nearly all are exactly zero
        np.array([1.0, 2.0]),
        np.array([1.0, 1.0, 1.0, 100.0, 100.0]),  # no value in reach above the box
        np.array([3.0]),
    ],
    ids=["normal", "cauchy", "gradients", "zeros", "two", "gap", "one"],
)
def test_statistics_agree_with_matplotlibs(values):
    ours, (theirs,) = box_statistics(values), boxplot_stats(values.astype(np.float64), whis=1.5)
    expected = [theirs[name] for name in ("q1", "med", "q3", "whislo", "whishi")]
    np.testing.assert_allclose(dataclasses.astuple(ours)[:5], expected, rtol=1e-12)
    low, high = np.percentile(values.astype(np.float64), [15, 85])
    assert (ours.trimmed_low, ours.trimmed_high) == (low, high)


def test_trimmed_mean_agrees_with_scipys():
    values = np.random.default_rng(0).standard_cauchy(10_001)
    assert box_statistics(values).trimmed_mean == pytest.approx(trim_mean(values, 0.15), rel=1e-3)
    few = np.array([-900.0, 1.0, 2.0, 3.0, 800.0])  # 15 % of five: the two ends are off
    assert box_statistics(few).trimmed_mean == trim_mean(few, 0.2) == 2


def test_values_that_are_not_finite_are_left_out():
    values = np.array([np.nan, 1.0, 2.0, 3.0, np.inf, -np.inf])
    assert box_statistics(values) == box_statistics(np.array([1.0, 2.0, 3.0]))
    assert all(math.isnan(v) for v in dataclasses.astuple(EMPTY))


def stats(middle: float) -> BoxStats:
    return box_statistics(np.linspace(middle - 1, middle + 1, 101))


def test_every_box_is_where_it_belongs(tmp_path):
    epochs = {
        "ce": [(stats(0), stats(-5)), (stats(1), stats(-4))],
        "pz": [(stats(2), stats(-3)), (stats(3), EMPTY)],
    }
    figure = boxes(epochs, "gradient", "cifar100, 40 %", tmp_path / "a.png", detail=False)
    assert [axes.get_title() for axes in figure.axes] == ["ce", "pz"]
    for axes, pairs in zip(figure.axes, epochs.values(), strict=True):
        given = {}
        for epoch, pair in enumerate(pairs, 1):
            for x, box in zip((epoch - 0.2, epoch + 0.2), pair, strict=True):
                if not math.isnan(box.median):
                    given[round(x, 1)] = (box.q1, box.q3)
        drawn = {}
        for patch in axes.patches:
            extent = patch.get_path().get_extents()
            drawn[round((extent.x0 + extent.x1) / 2, 1)] = (extent.y0, extent.y1)
        assert drawn.keys() == given.keys()
        for x, limits in given.items():
            assert drawn[x] == pytest.approx(limits)
        medians = [line.get_ydata()[0] for line in axes.lines if len(set(line.get_ydata())) == 1]
        assert {box.median for pair in pairs for box in pair if box is not EMPTY} <= set(medians)
        assert list(axes.get_xticks()) == [1, 2]
        assert axes.get_xlabel() == "epoch"
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["correct label", "wrong label", "trimmed mean"]


def test_detail_is_cut_to_a_middling_epochs_percentiles(tmp_path):
    wild = box_statistics(np.linspace(-1e6, 1e6, 101))
    epochs = {"bl": [(stats(0), wild), (stats(0), stats(5)), (stats(0), stats(5)), (EMPTY, EMPTY)]}
    figure = boxes(epochs, "gradient", "t", tmp_path / "a.png", detail=True)
    detail, full = figure.axes
    assert [axes.get_title() for axes in figure.axes] == ["bl", ""]
    assert [axes.get_ylabel() for axes in figure.axes] == ["detail", "full"]
    low, high = detail.get_ylim()
    # 15th percentile of the correct ones: -0.7; 85th of the wrong ones of epochs 2 and 3: 5.7
    assert (low, high) == pytest.approx((-0.7 - 0.05 * 6.4, 5.7 + 0.05 * 6.4))
    assert full.get_ylim()[1] >= 1e6
    assert [axes.get_xlabel() for axes in figure.axes] == ["", "epoch"]


def test_seven_losses_and_many_epochs_have_room(tmp_path):
    epochs = {f"loss {n}": [(stats(0), stats(1))] * 13 for n in range(7)}
    figure = boxes(epochs, "p(given label)", "t", tmp_path / "a.svg", detail=True)
    assert len(figure.axes) == 14
    for axes in figure.axes:
        assert list(axes.get_xticks()) == [1, 4, 7, 10, 13]
        assert len(axes.patches) == 26
    corners = {(round(axes.get_position().x0, 2), round(axes.get_position().y0, 2)) for axes in figure.axes}
    assert len(corners) == 14


def test_a_noise_rate_has_rows_of_its_own_and_full_is_below_its_detail(tmp_path):
    losses = ["ce", "focal", "anl-ce alpha=1, beta=1, l1=1e-06", "bl, as trained", "bl, eq. 4"]
    epochs = {f"{loss}, {rate}% noise": [(stats(0), stats(1))] for loss in losses for rate in (10, 40)}
    figure = boxes(epochs, "gradient", "t", tmp_path / "a.png", detail=True)
    places = {axes: axes.get_position() for axes in figure.axes}
    rows = [
        [axes for axes in places if places[axes].y0 == y]
        for y in sorted({p.y0 for p in places.values()}, reverse=True)
    ]
    assert [len(row) for row in rows] == [3, 3, 2, 2] * 2
    assert [row[0].get_ylabel() for row in rows] == [
        f"{rate}% noise\n{view}" for rate in (10, 40) for _ in range(2) for view in ("detail", "full")
    ]
    titles = [" ".join(axes.get_title().split()) for row in rows[::2] for axes in row]
    assert titles == losses * 2
    for upper, lower in zip(rows[::2], rows[1::2], strict=True):
        for detail, full in zip(upper, lower, strict=True):
            assert places[detail].x0 == places[full].x0
            assert full.get_title() == ""


def test_titles_of_four_columns_do_not_touch(tmp_path):
    names = [
        "anl-ce alpha=1, beta=1, l1=1e-06",
        "bl gamma=0.5, as trained",
        "bl gamma=0.5, eq. 4",
        "pz cutoff=0.04",
    ]
    figure = boxes({n: [(stats(0), stats(1))] for n in names}, "p", "t", tmp_path / "a.png", detail=True)
    renderer = FigureCanvasAgg(figure).get_renderer()
    extents = [axes.title.get_window_extent(renderer) for axes in figure.axes[:4]]
    assert [" ".join(axes.get_title().split()) for axes in figure.axes[:4]] == names
    for left, right in itertools.pairwise(extents):
        assert left.x1 + 5 < right.x0
    assert extents[0].x0 > 0
    assert extents[-1].x1 < figure.bbox.width


def test_limits_are_those_of_every_panel(tmp_path):
    epochs = {"ce": [(stats(0), stats(0.1))], "pz": [(stats(9), stats(5))], "bl": [(EMPTY, EMPTY)]}
    figure = boxes(epochs, "p(given label)", "t", tmp_path / "a.png", detail=False, limits=(0, 1))
    assert {axes.get_ylim() for axes in figure.axes} == {(-0.02, 1.02)}
    assert [len(axes.texts) for axes in figure.axes] == [0, 0, 1]
    figure = boxes(epochs, "p(given label)", "t", tmp_path / "a.png", detail=False)
    assert len({axes.get_ylim() for axes in figure.axes}) == 3


def test_nothing_but_empty_epochs(tmp_path):
    figure = boxes({"pz": [(EMPTY, EMPTY)]}, "p", "t", tmp_path / "a.svg", detail=True)
    for axes in figure.axes:
        assert not axes.patches
        assert " ".join(axes.texts[0].get_text().split()) == NO_VERDICT
        assert not len(axes.get_yticks())
    assert not figure.legends
