"""Ours beside the published figures, and only called comparable where it is."""

from __future__ import annotations

import csv
import io
import json
import math
import statistics
from importlib import resources

import pytest

from labelscrub.evaluation.results import TrialResult, cells
from labelscrub.evaluation.tables import as_csv, as_json, as_markdown, table_rows

CNN = {"network": "mnist-cnn", "recipe": {"epochs": 10}, "weights": "none"}


def trial(f1=0.88, *, number=0, **changes):
    """Fashion-MNIST, 20 %, as the paper did it, unless told otherwise."""
    loss = changes.get("loss", "pz")
    values = {
        "dataset": "fashion-mnist",
        "noise": "uniform",
        "noise_rate": 0.2,
        "method": "cl",
        "loss": loss,
        "parameters": {"ce": {}, "focal": {"gamma": 2.0}, "bl": {"gamma": 0.2}, "pz": {"cutoff": 0.005}}[
            loss
        ],
        "delay": 1 if loss == "pz" else 0,
        "trial": number,
        "images": 60_000,
        "classes": 10,
        "metrics": {} if changes.get("failure") else {"f1": f1, "suspects": 12_345.0},
        "seconds": 1.0,
        "provenance": CNN,
    }
    return TrialResult(**{**values, **changes})


def row_of(*trials, table="table1", metric="f1"):
    (row,) = table_rows(cells(trials), table, (metric,))
    return row


def test_a_row_is_ours_and_the_papers():
    values = [0.881, 0.884, 0.892]
    row = row_of(*(trial(f1, number=n) for n, f1 in enumerate(values)))
    assert row.mean == pytest.approx(statistics.mean(values))
    assert row.std == pytest.approx(statistics.stdev(values))
    assert (row.trials, row.failed, row.images, row.parameter) == (3, 0, 60_000, "cutoff=0.005")
    # Table 1, Fashion-MNIST 0.20, PZ: 0.885 +- 0.003 with c = 0.005, 20 trials
    assert (row.published_mean, row.published_std, row.published_trials) == (0.885, 0.003, 20)
    assert row.published_parameter == "cutoff=0.005"
    assert row.difference == pytest.approx(row.mean - 0.885)
    assert (row.comparable, row.why, row.framework) == (True, "", "confident-learning")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"images": 10_000}, "10,000 of 60,000 images"),
        ({"parameters": {"cutoff": 0.02}}, "cutoff=0.02, published cutoff=0.005"),
        ({"delay": 0}, "delay 0, published 1"),
        ({"provenance": {**CNN, "network": "fast"}}, "network fast, published mnist-cnn"),
        ({"provenance": {**CNN, "recipe": {"epochs": 3}}}, "3 epochs, published 10"),
        ({"provenance": {**CNN, "weights": "ab12"}}, "starting weights, published from scratch"),
        ({"provenance": {}}, "network unknown, published mnist-cnn; unknown epochs, published 10"),
        ({"loss": "bl"}, "bl trained as gce with q = gamma, published with equation 4's gradient"),
        ({"images": 9, "delay": 2}, "9 of 60,000 images; delay 2, published 1"),
    ],
)
def test_what_was_done_otherwise_is_said(changes, why):
    row = row_of(trial(**changes))
    assert (row.comparable, row.why) == (False, why)
    assert row.published_mean == {"pz": 0.885, "bl": 0.887}[row.loss]


@pytest.mark.parametrize(
    "changes", [{"noise": "pair"}, {"noise_rate": 0.25}, {"method": "aum"}, {"dataset": "mine"}]
)
def test_another_experiment_has_no_published_figure(changes):
    row = row_of(trial(**changes))
    assert (row.comparable, row.why) == (False, "nothing published")
    assert row.published_mean is row.published_std is row.published_parameter is row.difference is None


def test_cifar_as_published_starts_from_imagenet():
    resnet = {"network": "resnet34", "recipe": {"epochs": 10}, "weights": "none"}
    cifar = {"dataset": "cifar10", "images": 50_000, "parameters": {"cutoff": 0.06}}
    assert row_of(trial(**cifar, provenance=resnet)).why == "from scratch, published ImageNet weights"
    assert row_of(trial(**cifar, provenance={**resnet, "weights": "ab12"})).comparable


def test_table_3_is_shown_beside_but_never_comparable():
    row = row_of(trial(dataset="cifar100", images=10_000), table="table3")
    assert (row.published_mean, row.framework) == (0.717, "train/clean-test")
    assert row.why.startswith("published on test images without their known label errors")


def test_aum_is_compared_with_table_6():
    aum = {"dataset": "cifar100", "images": 50_000, "method": "aum", "loss": "ce", "delay": 0}
    long = {"network": "aum-resnet34", "recipe": {"epochs": 150}, "weights": "none"}
    row = row_of(trial(**aum, parameters={}, provenance=long), table="table6")
    assert (row.published_mean, row.comparable, row.framework) == (0.8638, True, "aum")


def test_json_says_how_to_read_it_and_has_every_trial():
    trials = [trial(0.9), trial(math.nan, loss="bl"), trial(loss="ce", failure="chance level")]
    content = json.loads(as_json(table_rows(cells(trials), "table1", ("f1",)), trials))
    assert [TrialResult.from_json(t).failure for t in content["trials"]] == ["", "", "chance level"]
    assert [row["mean"] for row in content["rows"]] == [0.9, None, None]
    assert [row["failed"] for row in content["rows"]] == [0, 0, 1]
    for words in content["how_to_read"]:
        for name in words.split(", "):
            assert any(key.startswith(name.rstrip("*")) for key in content["rows"][0]), name


def test_csv_has_the_published_columns_and_more():
    trials = [trial(0.9, number=n) for n in range(2)] + [trial(math.nan, loss="ce", dataset='=cmd(),"x"\r\n')]
    ours = csv.DictReader(io.StringIO(as_csv(table_rows(cells(trials), "table1", ("f1",))).decode()))
    first, second = ours
    text = resources.files("labelscrub.evaluation").joinpath("published.csv").read_text()
    assert set(text.splitlines()[0].split(",")) <= set(ours.fieldnames)
    assert (first["mean"], first["std"], first["trials"], first["comparable"]) == ("0.9", "0", "2", "true")
    assert float(first["difference"]) == pytest.approx(0.015)
    assert (second["mean"], second["published_mean"], second["comparable"]) == ("", "", "false")
    assert second["dataset"] == '\'=cmd(),"x"\\r\\n'


def markdown(*trials, metrics=("f1",)):
    return as_markdown(table_rows(cells(trials), "table1", metrics))


def cells_of(text):
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if "|" in line
    ]


def test_markdown_is_laid_out_as_in_the_paper():
    text = markdown(
        trial(0.8871, loss="bl", number=0),
        trial(0.8869, loss="bl", number=1),
        trial(0.8860),
        trial(0.88, loss="ce"),
        trial(0.95, loss="focal", noise_rate=0.1),
    )
    header, _, at_20, at_10 = cells_of(text)
    assert header == ["data", "noise", "CE", "Focal", "BL", "gamma", "PZ", "cutoff"]
    assert at_20 == [
        "fashion-mnist",
        "20 %",
        "0.880 [0.884]",
        "–",  # noqa: RUF001
        "**0.887 ± 0.000** [0.887]<sup>1</sup>",
        "0.2 [0.2]",
        "0.886 [0.885]",
        "0.005 [0.005]",
    ]
    assert at_10 == ["fashion-mnist", "10 %", "–", "0.950 [0.831]", "–", "–", "–", "–"]  # noqa: RUF001
    assert "over 1 to 2 trials" in text.splitlines()[0]


def test_the_best_is_bold_by_its_unrounded_mean_and_ties_are_all_bold():
    close = markdown(trial(0.90001), trial(0.90002, loss="bl"), trial(0.9, loss="ce"))
    assert close.count("**0.900**") == 1
    assert cells_of(close)[2][3] == "**0.900** [0.887]<sup>1</sup>"  # BL
    tied = markdown(trial(0.9), trial(0.9, loss="bl"), trial(0.8, loss="ce"))
    assert tied.count("**0.900**") == 2
    assert "**0" not in markdown(trial(0.9))  # nothing to be better than
    assert "**12,345.0**" not in markdown(trial(), trial(loss="ce"), metrics=("suspects",))


def test_of_several_parameters_the_best_is_shown():
    sweep = [trial(f1, parameters={"cutoff": c}) for c, f1 in ((0.005, 0.88), (0.02, 0.89), (0.04, 0.87))]
    text = markdown(*sweep)
    assert cells_of(text)[2][2:] == ["0.890 [0.885]<sup>1</sup>", "0.02 [0.005]"]
    assert "Of several parameters" in text
    assert "Of several parameters" not in markdown(sweep[0])


def test_several_delays_have_a_line_each():
    late = trial(0.5, delay=3)
    assert cells_of(markdown(late))[2][3] == "0.005, delay 3 [0.005]"
    header, _, first, last = cells_of(markdown(trial(0.9), late))
    assert header[:3] == ["data", "noise", "delay"]
    assert [first[2], first[3][:5], last[2], last[3][:5], last[4]] == [
        "1",
        "0.900",
        "3",
        "0.500",
        "0.005 [0.005]",
    ]
    assert "Of several parameters" not in markdown(trial(0.9), late)


def test_why_a_published_figure_is_no_comparison_is_noted_once():
    small = {"images": 10_000}
    text = markdown(trial(**small), trial(loss="ce", **small), trial(loss="focal", delay=1, **small))
    assert text.count("10,000 of 60,000 images") == 1
    _, _, line = cells_of(text)
    assert [cell[-12:] for cell in line[2:5]] == [
        "<sup>1</sup>",
        "up>1,2</sup>",
        "<sup>1</sup>",
    ]


def test_what_has_no_mean_says_why():
    _, _, line = cells_of(
        markdown(
            trial(failure="NaN"), trial(0.9, number=1), trial(math.nan, loss="ce"), trial(0.1, loss="bl")
        )
    )
    assert [line[2], line[5]] == ["undefined [0.884]", "**0.900** (1 of 2 failed) [0.885]"]


def test_a_strange_name_stays_one_cell():
    text = markdown(trial(dataset="a|b\n<i>*x*</i>"), trial(0.1, dataset="a|b\n<i>*x*</i>", loss="ce"))
    (line,) = (line for line in text.splitlines() if "a" in line and line.startswith("| a"))
    assert line.startswith("| a\\|b\\\\n\\<i\\>\\*x\\*\\</i\\> | 20 % |")


def test_one_table_a_metric():
    text = markdown(trial(), metrics=("f1", "balanced_accuracy", "suspects"))
    titles = [line for line in text.splitlines() if line.startswith("**")]
    assert titles == [f"**{t}** · one trial each" for t in ("F1", "balanced accuracy", "suspects")]
    assert "12,345.0" in text


@pytest.mark.parametrize(
    ("told", "why"),
    [({"folds": 2}, "folds 2, published 5"), ({"filter": "by-class"}, "filter by-class, published both")],
)
def test_other_folds_or_another_filter_are_no_comparison(told, why):
    row = row_of(trial(provenance=CNN | told))
    assert (row.comparable, row.why) == (False, why)
    assert row_of(trial(provenance=CNN | {"folds": 5, "filter": "both"})).comparable
