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


def part(fold, done, total=10, folds=4, rate=100.0, epoch=1):
    return Event(
        "train", done=done, total=total, unit="images", fold=fold, folds=folds, epoch=epoch, epochs=6,
        images_per_second=rate,
    )  # fmt: skip


class Bars:
    """Stands for rich's: keeps what was drawn."""

    def __init__(self):
        self.drawn = []

    def add_task(self, *_, **fields):
        return 0

    def update(self, task, *, completed, total, detail=""):
        self.drawn.append((completed, detail))

    def stop(self):
        pass


@pytest.fixture
def bars(monkeypatch):
    """A display ten seconds after its stage began, and what it draws."""
    now = [100.0]
    monkeypatch.setattr("labelscrub.cli.console.time.monotonic", lambda: now[0])
    display = ProgressDisplay()
    display._bars = drawn = Bars()
    display(Event("train"))
    now[0] += 10
    drawn.drawn.clear()
    return display, drawn.drawn


def test_folds_under_way_at_once_make_one_bar(bars):
    progress, drawn = bars
    for event in (part(1, 4), part(2, 2, rate=50.0, epoch=2), part(1, 10, epoch=6), part(2, 4), part(3, 1)):
        progress(event)
    shares, details = zip(*drawn, strict=True)
    assert shares == pytest.approx((0.1, 0.15, 0.3, 0.35, 0.375))
    assert details[0] == "fold 1/4  epoch 1/6  100 images/s  1 min 30 s left"
    assert details[1] == "folds 1, 2 of 4  epochs 1, 2 of 6  150 images/s  57 s left"  # 10 s * 0.85 / 0.15
    assert details[2].startswith("folds 1, 2 of 4  epochs 6, 2 of 6")
    assert details[3].startswith("fold 2/4")  # the first has ended
    assert details[4].startswith("folds 2, 3 of 4")


def test_folds_trained_before_take_no_time(bars):
    """Of eight: 1, 2 and 4 are stored, 3, 5 and 6 are trained now."""
    progress, drawn = bars
    for event in (part(3, 5, folds=8), part(5, 5, folds=8), part(6, 2, folds=8)):
        progress(event)
    assert [share for share, _ in drawn] == pytest.approx([2.5 / 8, 4 / 8, 4.2 / 8])
    assert drawn[-1][1].endswith("32 s left")  # 10 s for 1.2 folds, 3.8 more


def test_another_training_begins_at_nothing(bars):
    progress, drawn = bars
    for event in (part(1, 10), part(2, 10), part(1, 1)):
        progress(event)
    assert [share for share, _ in drawn] == pytest.approx([0.25, 0.5, 0.025])


def test_plain_lines_name_the_fold_they_are_of(capsys):
    with ProgressDisplay(verbose=True) as progress:
        for fold, number in ((1, 1), (2, 1), (2, 2), (1, 2)):
            progress(epoch(fold, number))
    shown = capsys.readouterr().err.splitlines()[1:]
    assert [line.split("  ")[1:3] for line in shown] == [
        ["fold 1/2", "epoch 1/2"],
        ["fold 2/2", "epoch 1/2"],
        ["fold 2/2", "epoch 2/2"],
        ["fold 1/2", "epoch 2/2"],
    ]
