"""The pictures of a run's page: embedded as far as they fit, files beside it for the rest."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from pictures import write_folder

import labelscrub
from labelscrub.reporting import html_data


@pytest.fixture
def detect(tmp_path, monkeypatch):
    """A run on 72 pictures with 6 wrong labels, by probabilities that know it; returns the run directory."""
    planted = write_folder(tmp_path / "images")
    paths = sorted(
        p.relative_to(tmp_path / "images").as_posix() for p in (tmp_path / "images").rglob("*.png")
    )
    classes = sorted({path.split("/")[0] for path in paths})
    true = [path.split("/")[1].split("-")[0] if path in planted else path.split("/")[0] for path in paths]
    np.save(tmp_path / "probs.npy", np.float32([[0.9 if c == t else 0.05 for c in classes] for t in true]))
    monkeypatch.setattr(html_data, "EMBEDDED_LIMIT", 3)

    def run(out="run", **options):
        labelscrub.detect(
            tmp_path / "images", out=tmp_path / out, pred_probs=tmp_path / "probs.npy", workers=0, **options
        )
        return tmp_path / out

    return run


def island(run):
    page = (run / "report.html").read_text(encoding="utf-8")
    return json.loads(re.search(r'id="data">(.*?)</script>', page)[1])


def test_pictures_beyond_the_limit_are_files_beside_the_page(detect):
    run = detect()
    data = island(run)
    cards = data["suspects"]
    wanted = []
    for suspect, given, suggested in zip(
        cards["row"], cards["exampleGiven"], cards["exampleSuggested"], strict=True
    ):
        wanted += [row for row in (suspect, given, suggested) if row not in wanted]
    assert len(cards["row"]) == 6 and -1 not in wanted
    assert [int(row) for row in data["pictures"]] == wanted[:3]
    assert data["beside"] == sorted(wanted[3:])
    files = sorted((run / "report-images").iterdir())
    assert {path.name for path in files} == {f"{row}.webp" for row in wanted[3:]}
    assert all(path.read_bytes()[8:12] == b"WEBP" for path in files)
    assert not any("report-images" in name for name in json.loads((run / "run.json").read_text())["files"])


def test_the_same_run_elsewhere_has_the_same_page_and_pictures(detect):
    first, second = detect(), detect("other")
    assert (first / "report.html").read_bytes() == (second / "report.html").read_bytes()
    for path in (first / "report-images").iterdir():
        assert (second / "report-images" / path.name).read_bytes() == path.read_bytes()


def test_restart_leaves_no_picture_of_the_run_before(detect, monkeypatch):
    run = detect()
    monkeypatch.setattr(html_data, "EMBEDDED_LIMIT", 2000)
    detect(restart=True, cutoff=0.5)
    assert not (run / "report-images").exists()
    assert island(run)["beside"] == []
