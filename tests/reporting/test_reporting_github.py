"""GitHub's workflow commands, taken apart as its runner does it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from listings import FOLDER, TABLE, judged, listing_of
from reports import HOSTILE, make_report

from labelscrub.reporting.baseline import update
from labelscrub.reporting.github import ANNOTATIONS, command, verdict_commands

REPO = Path("/srv/repo")


def parsed(line):
    """(level, properties, message) of a command, or None for a line that is none."""
    if not line.lstrip().startswith("::"):
        return None
    head, _, message = line.lstrip()[2:].partition("::")
    level, _, rest = head.partition(" ")
    properties = dict(item.split("=", 1) for item in rest.split(","))
    for code, char in (("%3A", ":"), ("%2C", ","), ("%0D", "\r"), ("%0A", "\n"), ("%25", "%")):
        properties = {name: value.replace(code, char) for name, value in properties.items()}
    for code, char in (("%0D", "\r"), ("%0A", "\n"), ("%25", "%")):
        message = message.replace(code, char)
    return level, properties, message


def commands(verdict, folder=REPO):
    text = verdict_commands(verdict, folder)
    assert text.startswith(
        ("::error title=labelscrub", "::warning title=labelscrub", "::notice title=labelscrub")
    )
    found = [parsed(line) for line in text.splitlines()]
    assert None not in found and text.endswith("\n")
    annotations = [c for c in found if c[0] in ("error", "warning")]
    assert len(annotations) <= ANNOTATIONS == 10
    assert [c[0] for c in found[len(annotations) :]] == ["notice"]
    return annotations, found[-1]


def made(provenance=FOLDER, **arguments):
    return make_report(provenance=provenance, **arguments)


def test_suspects_are_warnings_where_the_gate_passed():
    annotations, notice = commands(judged(made(), max_rate=1))
    assert {c[0] for c in annotations} == {"warning"} and len(annotations) == 7
    assert annotations[2] == (
        "warning",
        {"title": "labelscrub: suspect label", "file": "animals/img/0003.png"},
        "Label 'cat' looks wrong: 'dog' is more likely (93 %). Image: img/0003.png",
    )
    assert notice == (
        "notice",
        {"title": "labelscrub check"},
        "passed: labelscrub suspects 5 of 12 labels (41.7 %).",
    )


def test_a_failed_gate_is_an_error_and_so_is_what_it_counts():
    report = made(TABLE)
    annotations, notice = commands(judged(report, listing=listing_of(report, place=(100, 7)), max_suspects=4))
    assert annotations[0] == (
        "error",
        {"title": "labelscrub --max-suspects"},
        "5 suspects, over the limit of 4",
    )
    assert [c[0] for c in annotations[1:]] == ["error"] * 5 + ["warning"] * 2
    assert annotations[1][1] == {
        "title": "labelscrub: suspect label",
        "file": "labels.csv",
        "line": "103",
        "col": "7",
    }
    assert notice[2].startswith("FAILED: ")


def test_at_most_ten_by_rank_and_then_the_total():
    report = made(used=40, suspects=30, conflicts=0)
    annotations, notice = commands(judged(report, max_rate=0.5, max_suspects=29))
    assert len(annotations) == 10 and {c[0] for c in annotations} == {"error"}
    shown = [c[1]["file"].removeprefix("animals/") for c in annotations[2:]]
    assert shown == [s.path for s in listing_of(report)[:8]]
    assert "8 of 30 findings are annotated" in notice[2]


def test_what_failed_comes_before_what_is_only_worth_a_look():
    report = made(used=40, suspects=3, conflicts=20)
    annotations, notice = commands(judged(report, entries=update({}, listing_of(report)[:-1])))
    assert [c[1]["title"].split(": ")[-1] for c in annotations[1:]] == [
        "suspect label",
        *["conflicting duplicate"] * 8,
    ]
    assert "9 of 21 findings are annotated" in notice[2]


def test_with_a_baseline_only_what_is_new_is_annotated():
    report = made(conflicts=0)
    annotations, notice = commands(judged(report, entries=update({}, listing_of(report)[1:])))
    assert len(annotations) == 2 and annotations[1][1]["file"] == "animals/img/0003.png"
    assert "4 suspects known, 1 new" in notice[2]


def test_a_note_is_a_warning_and_counts_as_an_annotation():
    report = made(used=40, suspects=30)
    verdict = replace(judged(report, max_rate=0.1), notes=("a\nb %",))
    annotations, _ = commands(verdict)
    assert len(annotations) == ANNOTATIONS and annotations[-1] == (
        "warning",
        {"title": "labelscrub check"},
        r"a\nb %",
    )


@pytest.mark.parametrize("name", ["50%2C,:=::x", "::stop-commands::y", *HOSTILE, "x" * 400])
def test_no_name_gets_out_of_its_place(name):
    report = made(classes=(name, "b" + name), paths=[f"{name}/{row}" for row in range(15)])
    listing = listing_of(report)
    annotations, _ = commands(judged(report, listing=listing, max_per_class=1))
    for (level, properties, message), suspect in zip(annotations[2:], listing[2:], strict=True):
        assert level == "warning" and set(properties) == {"title", "file"}
        if all(char in "\r\n" or char.isprintable() for char in suspect.path):
            assert properties["file"] == f"animals/{suspect.path}"
        assert message.startswith("Label '") and message.isprintable()


@pytest.mark.parametrize("text", ["a%b", "a\r\nb", "::x::", "a,b=c:d", "%0A"])
def test_a_command_comes_back_as_it_was(text):
    assert parsed(command("error", {"file": text, "title": text}, "m"))[1] == {"file": text, "title": text}
