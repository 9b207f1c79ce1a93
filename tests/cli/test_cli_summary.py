"""The summary in the terminal: what it says of a report, whatever the names in it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from labelscrub.cli.summary import NAME, print_summary

sys.path.insert(0, str(Path(__file__).parent.parent / "reporting"))
from reports import calibration, make_report


def printed(capsys, monkeypatch, report, **options):
    monkeypatch.setenv("COLUMNS", "160")
    print_summary(report, **options)
    return capsys.readouterr().out


def test_the_counts_add_up_on_one_line(capsys, monkeypatch):
    report = make_report()
    s = report.summary
    out = printed(capsys, monkeypatch, report)
    assert f"{s.suspects:,} of {s.used:,} labels look wrong" in out
    assert f"{s.listed:,} listed = {s.used:,} used + {s.unreadable:,} unreadable" in out
    for name in s.not_assessed:
        assert name in out


@pytest.mark.parametrize("label", ["[/red]", "a\x1b[31mb", "x" * 10_000, "caf\udce9"])
def test_hostile_labels_are_printed_harmless_and_short(capsys, monkeypatch, label):
    report = make_report(classes=(label, "dog", "eel"))
    out = printed(capsys, monkeypatch, report)
    assert "\x1b" not in out
    out.encode()
    assert "x" * (NAME + 1) not in out
    if label == "[/red]":
        assert label in out


def test_brief_is_one_line(capsys, monkeypatch):
    assert len(printed(capsys, monkeypatch, make_report(), brief=True).splitlines()) == 1


def test_nothing_suspect_prints_no_empty_tables(capsys, monkeypatch):
    out = printed(capsys, monkeypatch, make_report(suspects=0, conflicts=0))
    assert "Look at these first" not in out and "Most confused" not in out


ABOUT = "about 1,930 (1,870 to 1,990) of 10,000 assessed labels are wrong; the 5 listed are expected to hold "
ABOUT += "92 % of them, and 92 % of those listed to be wrong (cut for precision 0.9)"


@pytest.mark.parametrize("columns", ["40", "160", None])
def test_calibrated_brief_is_one_line_whatever_the_width(capsys, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns) if columns else monkeypatch.delenv("COLUMNS", raising=False)
    print_summary(make_report(calibrated=calibration(aim="precision=0.9"), conflicts=0), brief=True)
    assert capsys.readouterr().out == f"{ABOUT}\n"


def test_calibrated_summary_gives_the_figures_and_error_probabilities(capsys, monkeypatch):
    report = make_report(calibrated=calibration(aim="precision=0.9"))
    lines = printed(capsys, monkeypatch, report).splitlines()
    assert lines[0] == f"{ABOUT}; 2 images are copies with conflicting labels"
    assert lines[1] == (
        "estimated noise rate 19.3 % (95 % interval 18.7 % to 19.9 %); "
        "expected precision 92 %, recall 92 %, F1 92 %"
    )
    head = next(i for i, line in enumerate(lines) if line.split()[:1] == ["#"])
    assert "wrong" in lines[head] and "score" not in lines[head]
    shown = [line.split()[-2:] for line in lines[head + 1 : head + 8]]
    assert [cells[0] for cells in shown] == ["%", "-", "%", "%", "%", "%", "%"]
    assert "99 %" in lines[head + 3] and "90 %" in lines[head + 4]
