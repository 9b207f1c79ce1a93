"""The summary in the terminal: what it says of a report, whatever the names in it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from labelscrub.cli.summary import NAME, print_summary

sys.path.insert(0, str(Path(__file__).parent.parent / "reporting"))
from reports import make_report


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
