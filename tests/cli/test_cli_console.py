"""Progress as plain lines, and the small words it is made of."""

from __future__ import annotations

import pytest

from labelscrub.cli.console import ProgressDisplay, duration, printable, wants_bars
from labelscrub.records import Event


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (12, "12 s"),
        (185, "3 min 05 s"),
        (3599.7, "1 h 00 min"),
        (7800, "2 h 10 min"),
    ],
)
def test_durations_read_well(seconds, text):
    assert duration(seconds) == text


def test_printable_keeps_lines_and_text_but_no_control_characters():
    assert printable("naïve\n猫") == "naïve\n猫"
    assert printable("a\x1b[2Jb\tc\udce9") == r"a\x1b[2Jb\tc\xe9"


def test_no_bars_where_there_is_no_terminal():
    assert not wants_bars(quiet=False)


def epoch(fold, number, accuracy=0.5):
    return Event(
        "train", done=number, total=2, unit="images", fold=fold, folds=2, epoch=number, epochs=2, loss=1.0,
        accuracy=accuracy, images_per_second=1234.0,
    )  # fmt: skip


@pytest.mark.parametrize(("verbose", "lines"), [(False, 2), (True, 4)])
def test_plain_lines_for_folds_or_with_verbose_for_epochs(capsys, verbose, lines):
    with ProgressDisplay(verbose=verbose) as progress:
        for fold in (1, 2):
            for number in (1, 2):
                progress(epoch(fold, number))
    shown = capsys.readouterr().err.splitlines()
    assert shown[0] == "Training ..."
    assert len(shown) == 1 + lines
    assert "fold 2/2  epoch 2/2  1,234 images/s  loss 1.000  accuracy 50.0%" in shown[-1]


def test_messages_get_a_line_and_quiet_gets_none(capsys):
    for quiet in (False, True):
        with ProgressDisplay(quiet=quiet) as progress:
            progress(Event("train", message="weights can't be had"))
    assert capsys.readouterr().err.splitlines() == ["Training ...", "  weights can't be had"]
