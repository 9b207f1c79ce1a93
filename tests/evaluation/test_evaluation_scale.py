"""`bench scale`: its data is what it says, every part gives every figure, and nothing is left behind."""

from __future__ import annotations

import csv
import dataclasses
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from labelscrub.errors import EnvironmentProblem, UsageError
from labelscrub.evaluation import measuring, scale_data, scale_parts, scale_stages
from labelscrub.evaluation import scale as scale_module
from labelscrub.evaluation.measuring import Usage
from labelscrub.evaluation.scale import Found, parse_parts, scale
from labelscrub.evaluation.scale_stages import STAGES, Work
from labelscrub.records import Event, silent


def in_this_process(command: list[str], *, folder: Path, **options: Any) -> Usage:
    """What `measuring.measure` gives, without the seconds of a process's start."""
    if "labelscrub.evaluation.scale_parts" in command:
        name, chosen = command[-2], json.loads(command[-1])
        found = {**scale_parts.PARTS[name](Path(chosen["folder"]), chosen), "resident": 5.0e6}
        at = found.get("began", 0.0)
        sample = (at, int(found.get("anonymous", 0)) + 4_000_000)
        return Usage(0, 1.0, 2.0, 0.0, (sample,), json.dumps(found) + "\n", "")
    import labelscrub

    if "detect" in command:
        labelscrub.detect(folder / "small", pred_probs=folder / "probs.npy", out=folder / "run", workers=0)
    return Usage(0, 0.125, 0.1, 0.0, (), "", "")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "measure", in_this_process)
    monkeypatch.setattr(scale_stages, "MANY_CLASSES", 4)
    monkeypatch.setattr(scale_stages, "START_IMAGES", 60)


@pytest.mark.usefixtures("quick")
def test_every_part_has_every_figure_and_cleans_up(tmp_path: Path) -> None:
    measured = scale(out=tmp_path / "out", limit=60, trials=2, workers=0)
    rows = json.loads((tmp_path / "out/scale.json").read_text())["rows"]
    assert {(row["part"], row["figure"]) for row in rows} == {
        (stage.name, figure.name) for stage in STAGES.values() for figure in stage.figures
    }
    assert all(row["size"] == 60 and row["met"] is None for row in rows)
    once = ("cleanlab_s", "cleanlab_memory", "listed", "differ")
    assert all(row["n"] == (1 if row["figure"] in once else 2) for row in rows)
    by_name = {row["figure"]: row for row in rows}
    assert by_name["differ"]["median"] == 0  # the two lists are one
    assert by_name["ours_memory"]["median"] == pytest.approx(4_000_000 / (60 * 4 * 4))
    assert by_name["whole_s"]["median"] == pytest.approx(20 * by_name["rest_s"]["median"])
    assert by_name["help_s"]["median"] == 0.125
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "trials",
        "scale.json",
        "scale.csv",
        "scale.md",
    }
    assert [table.title.split(":")[0] for table in measured.tables] == list(STAGES)
    assert len(list(csv.DictReader((tmp_path / "out/scale.csv").read_text().splitlines()))) == len(rows)
    news: list[Event] = []
    again = scale(out=tmp_path / "out", limit=60, trials=2, workers=0, progress=news.append)
    assert again.tables == measured.tables
    assert [event.message.split(": ")[1] for event in news] == ["done before"] * len(STAGES)


def test_a_part_in_a_process_of_its_own(tmp_path: Path) -> None:
    """From the command to the figures; it is the smallest part."""
    measured = scale(out=tmp_path / "out", parts=("scan",), limit=300, trials=1)
    rows = {row["figure"]: row for row in json.loads(measured.files[0].read_text())["rows"]}
    assert rows["scan_memory_mb"]["median"] > 10  # of a Python with numpy
    assert rows["scan_cpu_s"]["median"] > 0


@pytest.mark.usefixtures("quick")
def test_cleanlab_is_left_out_where_memory_is_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "free_memory", lambda: 60 * 4 * 4 * 4 - 1)
    measured = scale(out=tmp_path, parts=("confident",), limit=60, trials=1)
    assert [line[0] for line in measured.tables[0].lines if "cleanlab" in line[0]] == []
    assert "cleanlab is left out" in measured.notes[0]


def test_a_part_that_fails_says_why(tmp_path: Path) -> None:
    work = Work(tmp_path, 1, 0, silent, [])
    with pytest.raises(EnvironmentProblem, match="bench scale: scan ended with code 1"):
        scale_stages._scan(work, 0)  # there is no data


def test_what_is_missing_is_said_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def huge(size: int) -> int:
        return 10**18

    big = dataclasses.replace(STAGES["scan"], disk=huge, prepare=lambda work: pytest.fail("it began"))
    monkeypatch.setitem(STAGES, "scan", big)
    with pytest.raises(EnvironmentProblem, match="part scan, needs"):
        scale(out=tmp_path, parts=("start", "scan"))
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "cleanlab" else find(name))
    with pytest.raises(EnvironmentProblem, match="cleanlab, which is not installed"):
        scale(out=tmp_path / "new", parts=("confident",))
    assert not (tmp_path / "new").exists()


def test_parts_as_typed() -> None:
    assert parse_parts(" scan,confident ") == ("scan", "confident")
    with pytest.raises(UsageError, match="no part 'scam'"):
        parse_parts("scam")
    with pytest.raises(UsageError, match="names no part"):
        parse_parts(",")


@pytest.mark.parametrize(
    ("name", "values", "met"),
    [
        ("scan_s", (59.0, 61.0, 10.0), True),
        ("scan_s", (60.5, 60.5, 10.0), False),
        ("scan_cpu_s", (1.0,), None),
    ],
)
def test_a_target_is_for_the_median_of_the_whole_size(
    name: str, values: tuple[float, ...], met: bool | None
) -> None:
    stage = STAGES["scan"]
    figure = next(figure for figure in stage.figures if figure.name == name)
    assert Found(stage, stage.size, figure, values).met is met
    assert Found(stage, stage.size - 1, figure, values).met is None


def test_more_is_better_for_a_rate() -> None:
    stage = STAGES["decode"]
    figure = next(figure for figure in stage.figures if figure.better == "more")
    assert Found(stage, stage.size, figure, (6300.0,)).met is True
    assert Found(stage, stage.size, figure, (6200.0,)).met is False
    assert scale_module._line(Found(stage, stage.size, figure, (6200.0,)))[-2:] == ("≥ 6,250", "no")


def test_probabilities_are_of_mostly_right_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale_data, "CHUNK", 300)  # the last one is not whole
    true = np.random.default_rng(1).integers(0, 7, 1000)
    scale_data.write_probabilities(tmp_path / "p.npy", true, 7)
    p = np.load(tmp_path / "p.npy", mmap_mode="r")
    assert p.shape == (1000, 7) and p.dtype == np.float32
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-5)
    assert p.min() >= 0 and 0.8 < (p.argmax(axis=1) == true).mean() < 1
    labels = scale_data.flipped(true, 7)
    assert (labels != true).sum() == 100


def test_images_and_names_are_as_many_and_as_large_as_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scale_data.write_jpegs(tmp_path / "jpeg", 7, (40, 50), 3, silent)
    files = sorted((tmp_path / "jpeg").rglob("*.jpg"))
    assert [file.parent.name[-1] for file in files] == [*"000", *"11", *"22"]
    assert len({file.read_bytes() for file in files}) == 7  # copies would share a fold
    with Image.open(files[0]) as image:
        assert (image.size, image.mode, image.format) == ((40, 50), "RGB", "JPEG")
    monkeypatch.setattr(scale_data, "LINKS", 4)
    scale_data.write_links(tmp_path / "names", 10, 3, silent)
    names = list((tmp_path / "names").rglob("*.png"))
    assert len(names) == 10
    assert sorted(name.stat().st_nlink for name in names) == [2, 2, *[4] * 8]
    assert len({name.stat().st_ino for name in names}) == 3
