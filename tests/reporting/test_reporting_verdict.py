import copy
import json
import re
import subprocess
import sys

import pytest
from reports import HOSTILE, make_report

from labelscrub.errors import EXIT_MODEL, ModelError, UsageError
from labelscrub.reporting import judge, parse_run_json, run_json, verdict_json, verdict_markdown, verdict_text


def stored_run(**summary):
    run = copy.deepcopy(parse_run_json(run_json(make_report(), {})))
    run["summary"] |= summary
    return run


@pytest.mark.parametrize(
    ("suspects", "used", "max_rate", "max_suspects", "passed"),
    [
        (3, 100, 0.03, None, True),  # a gate passes on its limit
        (3, 99, 0.03, None, False),
        (0, 100, 0.0, None, True),
        (1, 100, 0.0, None, False),
        (100, 100, 1.0, None, True),
        (7, 100, None, 7, True),
        (8, 100, None, 7, False),
        (0, 100, None, 0, True),
        (1, 100, None, 0, False),
        (3, 100, 0.03, 2, False),
        (3, 100, 0.02, 3, False),
        (3, 100, 0.03, 3, True),
        (1, 1, 0.5, 1, False),
    ],
)
def test_gates(suspects, used, max_rate, max_suspects, passed):
    verdict = judge(stored_run(suspects=suspects, used=used), max_rate=max_rate, max_suspects=max_suspects)
    assert verdict.passed is passed
    assert verdict.passed == all(gate.passed for gate in verdict.gates)
    assert len(verdict.gates) == (max_rate is not None) + (max_suspects is not None)
    assert verdict.suspect_rate == suspects / used


@pytest.mark.parametrize(
    ("max_rate", "max_suspects", "named"),
    [
        (None, None, "--max-rate"),
        (None, None, "--max-suspects"),
        (1.5, None, "--max-rate"),
        (float("nan"), None, "--max-rate"),
        (-0.1, None, "--max-rate"),
        (None, -1, "--max-suspects"),
    ],
)
def test_a_gate_that_makes_no_sense_is_a_usage_error(max_rate, max_suspects, named):
    with pytest.raises(UsageError, match=named):
        judge(stored_run(), max_rate=max_rate, max_suspects=max_suspects)


@pytest.mark.parametrize(
    "summary",
    [
        {"used": 0, "suspects": 0},
        {"used": None},
        {"used": "12"},
        {"used": 12.0},
        {"suspects": None},
        {"suspects": -1},
        {"suspects": True},
        {"suspects": 13},
        {"estimated_noise_rate": None},
        {"estimated_noise_rate": float("nan")},
        {"estimated_noise_rate": float("inf")},
        {"estimated_noise_rate": "0"},
        {"accuracy": None},
        {"accuracy": float("nan")},
    ],
)
def test_a_run_that_cannot_be_trusted_fails_closed(summary):
    with pytest.raises(ModelError) as caught:
        judge(stored_run(**summary), max_rate=1.0, max_suspects=10**9)
    assert caught.value.exit_code == EXIT_MODEL


@pytest.mark.parametrize("run", [{}, {"summary": None}, {"summary": {}}])
def test_a_run_without_summary_fails_closed(run):
    with pytest.raises(ModelError):
        judge(run, max_rate=1.0, max_suspects=None)


def test_text_is_short_and_says_which_gate_failed():
    text = verdict_text(judge(stored_run(), max_rate=0.3, max_suspects=5))
    assert text.splitlines()[0] == "FAILED: labelscrub suspects 5 of 12 labels (41.7 %)."
    assert "--max-rate FAILED: 5 of 12 labels are suspect: 41.7 %, over the limit of 30 %" in text
    assert "--max-suspects passed: 5 suspects, within the limit of 5" in text
    assert "cat -> dog" in text
    assert len(text.splitlines()) < 20


def test_a_rate_just_over_its_limit_does_not_read_like_the_limit():
    (gate,) = judge(stored_run(suspects=30_001, used=1_000_000), max_rate=0.03, max_suspects=None).gates
    assert not gate.passed
    shown = re.findall(r"[\d.]+(?= %)", gate.sentence)
    assert shown == ["3.0001", "3"]


def test_json_has_stable_keys_and_parses():
    document = json.loads(verdict_json(judge(stored_run(), max_rate=0.5, max_suspects=None)))
    assert list(document) == [
        "passed",
        "gates",
        "source",
        "out",
        "listed",
        "used",
        "suspects",
        "suspect_rate",
        "estimated_noise_rate",
        "accuracy",
        "worst_classes",
        "confused_pairs",
        "not_assessed",
    ]
    assert document["gates"] == [
        {
            "name": "max-rate",
            "limit": 0.5,
            "value": 5 / 12,
            "passed": True,
            "sentence": "5 of 12 labels are suspect: 41.7 %, within the limit of 50 %",
        }
    ]
    assert document["worst_classes"][0]["label"] == "cat"


def test_class_figures_that_are_not_known_do_not_stop_a_verdict():
    run = stored_run()
    run["summary"]["classes"][0]["estimated_noise_rate"] = None
    run["summary"]["classes"][1]["accuracy"] = None
    worst = json.loads(verdict_json(judge(run, max_rate=0.5, max_suspects=None)))["worst_classes"]
    assert [c["label"] for c in worst] == ["dog", "ship"]
    assert worst[0]["accuracy"] is None


def test_markdown_is_a_table():
    lines = verdict_markdown(judge(stored_run(), max_rate=0.3, max_suspects=None)).splitlines()
    assert lines[0] == "## Label check failed"
    assert "| --max-rate | 30 % | 41.7 % | **failed** |" in lines
    assert "| cat | dog | 2 |" in lines


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_leaves_its_cell_or_sends_markup(name):
    run = parse_run_json(run_json(make_report(classes=(name, "b" + name)), {}))
    verdict = judge(run, max_rate=0.3, max_suspects=None)
    markdown = verdict_markdown(verdict)
    assert "<" not in markdown
    assert not re.search(r"(?<!\\)`", markdown)
    for line in markdown.splitlines():
        if line.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) in (4, 5)
    for text in (markdown, verdict_text(verdict)):
        assert not any(ord(c) < 0x20 and c != "\n" for c in text)
        text.encode()
    json.loads(verdict_json(verdict))


def test_the_verdict_loads_nothing_heavy():
    code = (
        "import sys, labelscrub.reporting.verdict, labelscrub.reporting.run_json;"
        "heavy = {'numpy', 'pyarrow', 'torch', 'rich', 'PIL', 'cleanlab'} & set(sys.modules);"
        "print(*heavy)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")
