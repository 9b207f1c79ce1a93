import copy
import json
import re
import subprocess
import sys

import pytest
from reports import HOSTILE, calibration, make_report

from labelscrub.errors import EXIT_MODEL, ModelError, UsageError
from labelscrub.reporting import judge, parse_run_json, run_json, verdict_json, verdict_markdown, verdict_text


def stored_run(**summary):
    run = copy.deepcopy(parse_run_json(run_json(make_report(), {})))
    run["summary"] |= summary
    return run


def calibrated_run(**figures):
    run = parse_run_json(run_json(make_report(calibrated=calibration(images=12)), {}))
    run["summary"]["calibration"] |= figures
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
        (None, None, "--max-noise-rate"),
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


@pytest.mark.parametrize("limit", [-0.01, 1.01, float("nan")])
def test_a_noise_rate_limit_is_a_share(limit):
    with pytest.raises(UsageError, match="--max-noise-rate must be between 0 and 1"):
        judge(calibrated_run(), max_rate=0.5, max_noise_rate=limit)


@pytest.mark.parametrize(
    ("low", "rate", "high", "limit", "passed"),
    [
        (0.032, 0.041, 0.05, 0.02, False),
        (0.032, 0.041, 0.05, 0.032, True),  # a gate passes on its limit
        (0.032, 0.041, 0.05, 0.0319, False),
        (0.0, 0.5, 1.0, 0.0, True),  # a weak network knows nothing, and so is not sure of anything
        (0.0, 0.0, 0.0, 0.0, True),
        (1.0, 1.0, 1.0, 1.0, True),
        (0.001, 0.001, 0.001, 0.0, False),
    ],
)
def test_the_noise_rate_fails_only_where_its_whole_interval_is_over_the_limit(low, rate, high, limit, passed):
    verdict = judge(calibrated_run(low=low, noise_rate=rate, high=high), max_noise_rate=limit)
    (gate,) = verdict.gates
    assert (verdict.passed, gate.passed, gate.name) == (passed, passed, "max-noise-rate")
    assert (gate.value, gate.limit) == (low, limit)


@pytest.mark.parametrize(
    ("figures", "limit", "sentence"),
    [
        (
            {"low": 0.032, "noise_rate": 0.041, "high": 0.05},
            0.02,
            "estimated noise rate 4.1 % (3.2 % to 5 %): even its lower end 3.2 % is over the limit of 2 %",
        ),
        (
            {"low": 0.012, "noise_rate": 0.041, "high": 0.05},
            0.02,
            "estimated noise rate 4.1 % (1.2 % to 5 %): its lower end 1.2 % is within the limit of 2 %, its "
            "upper end is not",
        ),
        (
            {"low": 0.001, "noise_rate": 0.004, "high": 0.01},
            0.02,
            "estimated noise rate 0.4 % (0.1 % to 1 %): its lower end 0.1 % is within the limit of 2 %",
        ),
        (
            {"low": 0.020001, "noise_rate": 0.041, "high": 0.05},
            0.02,
            "estimated noise rate 4.1 % (2 % to 5 %): even its lower end 2.0001 % is over the limit of 2 %",
        ),
    ],
)
def test_the_noise_rate_gate_gives_all_its_figures(figures, limit, sentence):
    verdict = judge(calibrated_run(**figures), max_noise_rate=limit)
    assert verdict.gates[0].sentence == sentence
    assert sentence in verdict_text(verdict)


def test_three_gates_at_once_and_the_worst_decides():
    verdict = judge(calibrated_run(), max_rate=1.0, max_suspects=12, max_noise_rate=0.1)
    assert [g.passed for g in verdict.gates] == [True, True, False]
    assert not verdict.passed


@pytest.mark.parametrize("older", [{}, {"calibration": None}])
def test_a_run_without_an_interval_has_no_noise_rate_gate_but_the_others(older):
    run = stored_run(**older)
    if not older:
        run["summary"].pop("calibration")  # as written before there was one
    with pytest.raises(UsageError, match="not made with --method calibrated") as caught:
        judge(run, max_noise_rate=0.02)
    assert "--method calibrated" in caught.value.fix
    assert judge(run, max_rate=0.5).passed


@pytest.mark.parametrize(
    "figures",
    [
        {"noise_rate": None},
        {"noise_rate": float("nan")},
        {"low": None},
        {"high": None},
        {"low": -0.1},
        {"high": 1.1},
        {"high": float("inf")},
        {"low": 0.3, "high": 0.1},
        {"low": 0.3},  # above the rate itself
        {"high": 0.1},
        {"low": "0"},
        {"images": None},
        {"expected_recall": 1.1},
        {"expected_f1": "high"},
    ],
)
@pytest.mark.parametrize("limits", [{"max_noise_rate": 1.0}, {"max_rate": 1.0}])
def test_an_interval_that_cannot_be_trusted_fails_closed(figures, limits):
    with pytest.raises(ModelError) as caught:
        judge(calibrated_run(**figures), **limits)
    assert caught.value.exit_code == EXIT_MODEL


@pytest.mark.parametrize("damaged", [3, [], "none"])
def test_a_calibration_of_another_shape_fails_closed(damaged):
    with pytest.raises(ModelError):
        judge(stored_run(calibration=damaged), max_noise_rate=1.0)


def test_a_quotient_of_sums_may_round_to_above_one():
    run = calibrated_run(expected_recall=1.0000000000000002)
    assert judge(run, max_noise_rate=1.0).calibration.expected_recall == 1


def test_what_calibrated_says_is_in_every_form():
    verdict = judge(calibrated_run(aim="precision=0.9"), max_noise_rate=0.1)
    sentence = "About 2 (2 to 2) of 12 labels are wrong; the 5 listed are expected to hold 92 % of them, and "
    sentence += "92 % of those listed to be wrong (cut for precision 0.9)."
    figures = "Estimated noise rate 12.5 % (18.7 % to 19.9 %), accuracy 87.5 %, expected precision 92 %, "
    assert verdict_text(verdict).startswith(f"FAILED: {sentence}\n")
    assert figures in verdict_text(verdict)
    assert f"\n\n{sentence} {figures}" in verdict_markdown(verdict)
    assert "| --max-noise-rate | 10 % | 18.7 % (lower end) | **failed** |" in verdict_markdown(verdict)
    document = json.loads(verdict_json(verdict), parse_constant=pytest.fail)
    assert document["calibration"] == {
        "images": 12,
        "noise_rate": 0.1931,
        "low": 0.1874,
        "high": 0.1993,
        "aim": "precision=0.9",
        "cut": 0.5,
        "expected_precision": 0.92,
        "expected_recall": 0.924,
        "expected_f1": 0.922,
    }
    empty = judge(calibrated_run(cut=None, expected_precision=None), max_noise_rate=0.1)
    assert json.loads(verdict_json(empty), parse_constant=pytest.fail)["calibration"]["cut"] is None


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
        "calibration",
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
    assert document["calibration"] is None


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
