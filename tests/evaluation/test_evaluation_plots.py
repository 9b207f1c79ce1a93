"""Plots draw the numbers they are given, the same bytes every time, and never over anybody's file."""

from __future__ import annotations

import math
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("matplotlib")

from matplotlib.backends.backend_agg import FigureCanvasAgg

from labelscrub.config import LOSSES
from labelscrub.errors import EnvironmentProblem, UsageError
from labelscrub.evaluation import figures, plots

SWEEP = {"": {"pz": ([0.1, 0.2], [0.8, 0.9], [0.01, 0.02])}}


def draw_lines(target, title="cifar10, 20 %", panels=SWEEP):
    return plots.lines(panels, "noise rate", "F1", title, target)


def test_png_is_sharp_and_as_wide_as_a_readme(tmp_path):
    draw_lines(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.format == "PNG"
        assert image.width == 2 * 830  # twice, for sharp screens
        assert image.info["Software"] == "labelscrub"


def test_svg_and_pdf_are_whole(tmp_path):
    draw_lines(tmp_path / "a.svg")
    assert ElementTree.parse(tmp_path / "a.svg").getroot().tag == "{http://www.w3.org/2000/svg}svg"
    draw_lines(tmp_path / "a.PDF")
    data = (tmp_path / "a.PDF").read_bytes()
    assert data.startswith(b"%PDF-")
    assert data.rstrip().endswith(b"%%EOF")


@pytest.mark.parametrize("suffix", figures.SUFFIXES)
def test_equal_numbers_give_equal_bytes_over_the_earlier_plot(tmp_path, suffix):
    target = tmp_path / f"a{suffix}"
    draw_lines(target)
    first = target.read_bytes()
    draw_lines(target)
    assert target.read_bytes() == first
    assert b"Date" not in first
    draw_lines(target, title="another one")
    assert target.read_bytes() != first


def test_somebody_elses_file_is_kept(tmp_path):
    target = tmp_path / "holiday.png"
    target.write_bytes(b"\x89PNG mine")
    with pytest.raises(UsageError, match=r"holiday\.png exists and is no plot"):
        draw_lines(target)
    assert target.read_bytes() == b"\x89PNG mine"
    (tmp_path / "folder.svg").mkdir()
    with pytest.raises(UsageError, match=r"folder\.svg exists"):
        draw_lines(tmp_path / "folder.svg")


def test_other_suffixes_are_refused(tmp_path):
    with pytest.raises(UsageError) as caught:
        draw_lines(tmp_path / "a.gif")
    assert ".png, .svg or .pdf" in caught.value.fix
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_an_error_with_a_name(tmp_path):
    with pytest.raises(EnvironmentProblem, match="nowhere"):
        draw_lines(tmp_path / "nowhere" / "a.png")


def test_without_matplotlib_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "matplotlib.style", raising=False)
    with pytest.raises(EnvironmentProblem) as caught:
        draw_lines(tmp_path / "a.png")
    assert caught.value.fix == "pip install 'labelscrub[plots]'"


def test_nothing_of_matplotlibs_is_changed_or_loaded_too_early(tmp_path):
    code = (
        "import sys; from labelscrub.evaluation import box_plots, plots\n"
        "assert not {'matplotlib', 'numpy'} & set(sys.modules)\n"
        "import matplotlib; from pathlib import Path\n"
        "matplotlib.rcParams['font.size'] = 3\n"
        "def now(): return {k: matplotlib.rcParams[k] for k in matplotlib.rcParams if k != 'backend'}\n"
        "before = now()\n"
        f"plots.lines({SWEEP!r}, 'noise rate', 'F1', 'cifar10, 20 %', Path({str(tmp_path / 'a.svg')!r}))\n"
        "assert now() == before\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
    draw_lines(tmp_path / "b.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()  # 3 points had no say


@pytest.mark.parametrize(
    "name", ["$a_b^c$", "a\nb\x1b[31m", "caf\udce9", "\u732b\u72ac", "long/" * 60, "<&>"], ids=ascii
)
def test_any_data_set_name_can_be_in_a_title(tmp_path, name):
    figure = draw_lines(tmp_path / "a.svg", title=f"{name}, 20 %")
    text = figure.get_suptitle()
    assert max(map(len, text.splitlines())) <= 100
    ElementTree.parse(tmp_path / "a.svg")


def test_lines_draws_what_it_is_given(tmp_path):
    panels = {
        "10 %": {
            "pz": ([0, 1, 2], [0.1, np.nan, 0.3], [0.01, 0.02, 0.03]),
            "ce": ([0, 1, 2], [0.5] * 3, None),
        },
        "20 %": {"pz": ([1], [0.4], None)},
    }
    figure = draw_lines(tmp_path / "a.png", panels=panels)
    first, second = figure.axes
    assert [axes.get_title() for axes in figure.axes] == list(panels)
    (pz, ce), ((_, one),) = first.containers, ((None, second.containers[0]),)
    np.testing.assert_array_equal(pz.lines[0].get_xydata(), np.column_stack(panels["10 %"]["pz"][:2]))
    (bars,) = pz.lines[2]
    np.testing.assert_allclose(bars.get_segments()[0][:, 1], [0.09, 0.11])
    assert not ce.has_yerr
    np.testing.assert_array_equal(one.lines[0].get_xydata(), [[1, 0.4]])
    assert one.lines[0].get_color() == pz.lines[0].get_color() != ce.lines[0].get_color()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["pz", "ce"]
    assert first.get_ylim() == second.get_ylim()
    assert [axes.get_xlabel() for axes in figure.axes] == ["noise rate"] * 2
    assert list(first.get_xticks()) == [0, 1, 2]


def test_many_panels_and_series_stay_apart(tmp_path):
    panels = {f"panel {p}": {f"series {s}": ([0, 1], [s, p], None) for s in range(14)} for p in range(6)}
    figure = draw_lines(tmp_path / "a.png", panels=panels)
    assert len(figure.axes) == 6
    labelled = [axes.get_title() for axes in figure.axes if axes.get_xlabel()]
    assert labelled == ["panel 3", "panel 4", "panel 5"]  # the lowest of each column
    assert len({axes.get_position().y0 for axes in figure.axes}) == 2
    looks = {
        (line.lines[0].get_color(), line.lines[0].get_marker(), str(line.lines[0].get_linestyle()))
        for line in figure.axes[0].containers
    }
    assert len(looks) == 14
    renderer = FigureCanvasAgg(figure).get_renderer()
    legend = figure.legends[0].get_window_extent(renderer)
    for axes in figure.axes:
        assert not legend.overlaps(axes.get_tightbbox(renderer))


def test_a_loss_looks_the_same_in_every_plot(tmp_path):
    def colour(*losses):
        figure = draw_lines(tmp_path / "a.svg", panels={"": {x: ([0], [1], None) for x in losses}})
        return figure.axes[0].containers[-1].lines[0].get_color()

    assert colour("pz") == colour("ce", "pz") == colour(*LOSSES) == colour("pz cutoff=0.01", "pz")


@pytest.mark.parametrize("bare", [(), ("ce",), ("focal", "ce"), LOSSES], ids=len)
def test_only_ce_is_black(tmp_path, bare):
    labels = [*(f"pz cutoff={i}" for i in range(9)), *bare]
    panels = {"": {label: ([0], [1], None) for label in labels}}
    figure = draw_lines(tmp_path / "a.svg", panels=panels)
    colours = dict(zip(labels, (c.lines[0].get_color() for c in figure.axes[0].containers), strict=True))
    assert [label for label, colour in colours.items() if colour == "#000000"] == ["ce"] * ("ce" in bare)
    if bare != LOSSES:  # which leave none
        assert not {colours[label] for label in bare} & {colours[label] for label in labels[:9]}


@pytest.mark.parametrize("words", [["F1"] * 60, ["1", "trial,"] * 30, ["a" * 70, "1 trial"]], ids=len)
def test_titles_are_broken_into_lines_of_about_one_length(tmp_path, words):
    text = " ".join(words)
    found = draw_lines(tmp_path / "a.svg", title=text).get_suptitle().splitlines()
    assert " ".join(found) == text
    longest = max(map(len, words))
    assert len(found) == math.ceil(len(text) / (12 * figures.WIDTH))
    assert max(map(len, found)) <= max(len(text) / len(found) + longest, longest)
    assert min(map(len, found)) > max(map(len, found)) - 2 * (longest + 1)


def test_wrapping_breaks_no_word_that_fits():
    assert figures.wrapped("anl-ce alpha=1, beta=1, l1=1e-06", 1.7) == "anl-ce alpha=1,\nbeta=1, l1=1e-06"
    assert figures.wrapped("no verdict: every trial failed", 0.7).split() == figures.NO_VERDICT.split()
    assert figures.wrapped("x" * 30, 1).splitlines() == ["x" * 12, "x" * 12, "x" * 6]
    assert figures.wrapped("", 1) == ""


def test_one_panel_does_not_say_its_axis_twice(tmp_path):
    figure = draw_lines(tmp_path / "a.svg", panels={"F1": {"pz": ([0], [1], None)}})
    assert figure.axes[0].get_title() == ""
    assert figure.get_supylabel() == "F1"


def said(axes):
    return " ".join(" ".join(text.get_text() for text in axes.texts).split())


def test_a_line_that_failed_leaves_a_gap_and_a_panel_of_them_says_so(tmp_path):
    rates, nan = [0.1, 0.2, 0.3, 0.4], np.nan
    panels = {
        "some": {"ce": (rates, [0.1, nan, 0.3, nan], None), "pz": (rates, [nan] * 4, [nan] * 4)},
        "none": {"ce": (rates, [nan] * 4, None)},
    }
    some, none = draw_lines(tmp_path / "a.png", panels=panels).axes
    assert (said(some), said(none)) == ("", figures.NO_VERDICT)
    np.testing.assert_array_equal(some.containers[0].lines[0].get_xydata()[:, 1], [0.1, nan, 0.3, nan])
    assert list(none.get_xticks()) == rates  # the last one too, which has no value
    assert some.get_xlim()[1] >= 0.4
    (alone,) = draw_lines(tmp_path / "a.png", panels={"F1": panels["none"]}).axes
    assert said(alone) == figures.NO_VERDICT
    assert not len(alone.get_xticks())
    assert not len(alone.get_yticks())


@pytest.mark.parametrize("step", [1, -1], ids=["rising", "falling"])
def test_precision_recall_draws_curve_and_points(tmp_path, step):
    recall, precision = np.array([0.2, 0.6, 1.0])[::step], np.array([1.0, 0.7, 0.2])[::step]
    figure = plots.precision_recall_plot(
        {"pz": (precision, recall), "empty": ([], [])},
        {"pz": (0.7, 0.6), "both": (0.5, 0.9), "undefined": (np.nan, 0.0)},
        "fashion-mnist",
        tmp_path / "a.svg",
    )
    lines = {line.get_color(): line for line in figure.axes[0].lines if line.get_drawstyle() == "steps-pre"}
    drawn = next(line for line in lines.values() if len(line.get_xdata()))
    np.testing.assert_array_equal(drawn.get_xydata(), [[0.2, 1.0], [0.6, 0.7], [1.0, 0.2]])
    points = [line.get_xydata().tolist() for line in figure.axes[0].lines if line.get_linestyle() == "None"]
    assert points[:2] == [[[0.6, 0.7]], [[0.9, 0.5]]]
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["pz", "empty", "both", "undefined"]


def test_points_have_the_colour_of_their_curve_and_the_rest_is_black(tmp_path):
    curve = [0.2, 0.6], [1.0, 0.7]
    names = ["self-confidence", "aum"]
    points = {"the run's suspects": (0.5, 0.5), **{f"best cut, {n}": (0.6, 0.7) for n in names}}
    figure = plots.precision_recall_plot(dict.fromkeys(names, curve), points, "t", tmp_path / "a.svg")
    drawn = [line for line in figure.axes[0].lines if line.get_color().startswith("#")]
    colours = [line.get_color() for line in drawn]
    assert colours == [*colours[:2], "#000000", *colours[:2]]
    assert len(set(colours)) == 3
    assert len({line.get_marker() for line in drawn[2:]}) == 3


def test_lines_of_equal_f1_are_that(tmp_path):
    figure = plots.precision_recall_plot({}, {}, "nothing", tmp_path / "a.svg")
    assert len(figure.axes[0].lines) == len(figure.axes[0].texts) == 5
    for line, text in zip(figure.axes[0].lines, figure.axes[0].texts, strict=True):
        recall, precision = line.get_xydata().T
        f1 = 2 * precision * recall / (precision + recall)
        np.testing.assert_allclose(f1, float(text.get_text().removeprefix("F1 ")))
    assert not figure.legends


def test_heat_map_marks_the_best_of_row_and_block(tmp_path):
    blocks = {
        "baselines": (["ce", "gce"], np.array([[0.9, 0.8], [0.7, 0.7]])),
        "pz, cutoff": (["0.01", "0.02", "0.04"], np.array([[0.5, np.nan, 0.6], [0.7, 0.6, 0.5]])),
    }
    figure = plots.heat_map(["10 %", "20 %"], blocks, "noise rate", "F1", tmp_path / "a.png")
    for axes, (columns, values) in zip(figure.axes, blocks.values(), strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array().filled(np.nan), values)
        assert [label.get_text() for label in axes.get_xticklabels()] == columns
        texts = [text.get_text() for text in axes.texts]
        expected = ["–" if np.isnan(v) else f"{v:.3f}"[1:] for v in values.flat]  # noqa: RUF001
        assert texts == expected
    bold = [[t.get_text() for t in axes.texts if t.get_fontweight() == "bold"] for axes in figure.axes]
    assert bold == [[".900", ".700", ".700"], [".700"]]  # ties are all bold
    frames = [[(round(f.get_x()), round(f.get_y())) for f in axes.patches] for axes in figure.axes]
    assert frames == [[(0, 0), (0, 1), (1, 1)], [(2, 0), (0, 1)]]
    limits = {axes.images[0].get_clim() for axes in figure.axes}
    assert limits == {(0.5, 0.9)}


def test_heat_map_of_nothing_that_was_run(tmp_path):
    nothing = (["0.01", "0.02"], np.full((1, 2), np.nan))
    figure = plots.heat_map(["10 %"], {"pz": nothing}, "noise rate", "F1", tmp_path / "a.png")
    assert said(figure.axes[0]) == figures.NO_VERDICT
    assert figure.get_supxlabel() == ""  # nothing is bold
    blocks = {"pz": nothing, "baselines": (["ce", "bl"], np.array([[0.5, np.nan]]))}
    figure = plots.heat_map(["10 %"], blocks, "noise rate", "F1", tmp_path / "a.png")
    assert [said(axes) for axes in figure.axes] == [figures.NO_VERDICT, ".500 –"]  # noqa: RUF001


def test_histograms_of_four_losses_each_have_an_axis_to_read(tmp_path):
    pairs = {f"loss {n}": (np.arange(9.0), np.arange(-5.0, 2.0)) for n in range(3)}
    pairs["failed"] = (np.full(9, np.nan), np.array([]))
    figure = plots.histograms(pairs, {}, "AUM (logits)", "cifar100", tmp_path / "a.svg")
    assert len({axes.get_position().y0 for axes in figure.axes}) == 2
    for axes in figure.axes:
        assert any(
            tick.label1.get_visible() and tick.label1.get_text() for tick in axes.xaxis.get_major_ticks()
        )
    assert [said(axes) for axes in figure.axes] == ["", "", "", figures.NO_VERDICT]
    figure = plots.histograms({"ce": pairs["failed"]}, {}, "AUM (logits)", "cifar100", tmp_path / "a.svg")
    assert said(figure.axes[0]) == figures.NO_VERDICT
    assert not len(figure.axes[0].get_xticks())


def test_histograms_share_bins_and_show_means(tmp_path):
    generator = np.random.default_rng(0)
    pairs = {
        "ce": (generator.normal(4, 1, 900), generator.normal(-1, 1, 100)),
        "pz": (generator.normal(8, 2, 900), np.append(generator.normal(-4, 2, 100), np.nan)),
        "bl": (generator.normal(8, 2, 900), np.array([])),
    }
    captions = {"ce": "Cohen's d 5.0", "pz": "Cohen's d 6.0"}
    figure = plots.histograms(pairs, captions, "AUM (logits)", "cifar100", tmp_path / "a.svg")
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["ce\nCohen's d 5.0", "pz\nCohen's d 6.0", "bl"]
    for axes, pair in zip(figure.axes, pairs.values(), strict=True):
        kept = [values[np.isfinite(values)] for values in pair if len(values)]
        assert [line.get_xdata()[0] for line in axes.lines] == [values.mean() for values in kept]
        for outline, values in zip(axes.patches, kept, strict=True):
            x, y = outline.get_xy().T
            area = np.abs(np.sum((x[1:] - x[:-1]) * (y[1:] + y[:-1]) / 2))
            assert area == pytest.approx(1)
            edges = np.unique(x)
            assert len(edges) == plots.BINS + 1
            counts, _ = np.histogram(values, edges, density=True)
            np.testing.assert_allclose(y.max(), counts.max())
    assert len({axes.get_xlim() for axes in figure.axes}) == 1
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "correct label",
        "mean, correct label",
        "wrong label",
        "mean, wrong label",
    ]
