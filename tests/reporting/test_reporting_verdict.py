import copy
import json
import re
import subprocess
import sys
from dataclasses import replace

import pytest
from listings import listing_of
from reports import HOSTILE, calibration, make_report

from labelscrub.config_limits import Limits
from labelscrub.errors import EXIT_MODEL, ModelError, UsageError
from labelscrub.reporting import judge, parse_run_json, run_json, verdict_json, verdict_markdown, verdict_text
from labelscrub.reporting.baseline import compare, update


def stored_run(**summary):
    run = copy.deepcopy(parse_run_json(run_json(make_report(), {})))
    run["summary"] |= summary
    return run


def judged(run, **limits):
    return judge(run, Limits(**limits))


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
    verdict = judged(stored_run(suspects=suspects, used=used), max_rate=max_rate, max_suspects=max_suspects)
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
        judged(stored_run(), max_rate=max_rate, max_suspects=max_suspects)


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
        judged(stored_run(**summary), max_rate=1.0, max_suspects=10**9)
    assert caught.value.exit_code == EXIT_MODEL


@pytest.mark.parametrize("run", [{}, {"summary": None}, {"summary": {}}])
def test_a_run_without_summary_fails_closed(run):
    with pytest.raises(ModelError):
        judged(run, max_rate=1.0, max_suspects=None)


@pytest.mark.parametrize("limit", [-0.01, 1.01, float("nan")])
def test_a_noise_rate_limit_is_a_share(limit):
    with pytest.raises(UsageError, match=r"--max-noise-rate must be (at least 0|a finite number)"):
        judged(calibrated_run(), max_rate=0.5, max_noise_rate=limit)


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
    verdict = judged(calibrated_run(low=low, noise_rate=rate, high=high), max_noise_rate=limit)
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
    verdict = judged(calibrated_run(**figures), max_noise_rate=limit)
    assert verdict.gates[0].sentence == sentence
    assert sentence in verdict_text(verdict)


def test_three_gates_at_once_and_the_worst_decides():
    verdict = judged(calibrated_run(), max_rate=1.0, max_suspects=12, max_noise_rate=0.1)
    assert [g.passed for g in verdict.gates] == [True, True, False]
    assert not verdict.passed


@pytest.mark.parametrize("older", [{}, {"calibration": None}])
def test_a_run_without_an_interval_has_no_noise_rate_gate_but_the_others(older):
    run = stored_run(**older)
    if not older:
        run["summary"].pop("calibration")  # as written before there was one
    with pytest.raises(UsageError, match="not made with --method calibrated") as caught:
        judged(run, max_noise_rate=0.02)
    assert "--method calibrated" in caught.value.fix
    assert judged(run, max_rate=0.5).passed


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
        judged(calibrated_run(**figures), **limits)
    assert caught.value.exit_code == EXIT_MODEL


@pytest.mark.parametrize("damaged", [3, [], "none"])
def test_a_calibration_of_another_shape_fails_closed(damaged):
    with pytest.raises(ModelError):
        judged(stored_run(calibration=damaged), max_noise_rate=1.0)


def test_a_quotient_of_sums_may_round_to_above_one():
    run = calibrated_run(expected_recall=1.0000000000000002)
    assert judged(run, max_noise_rate=1.0).calibration.expected_recall == 1


def test_what_calibrated_says_is_in_every_form():
    verdict = judged(calibrated_run(aim="precision=0.9"), max_noise_rate=0.1)
    sentence = "About 2 (2 to 2) of 12 labels are wrong; the 5 listed are expected to hold 92 % of them, and "
    sentence += "92 % of those listed to be wrong (cut for precision 0.9)."
    figures = "Estimated noise rate 12.5 % (18.7 % to 19.9 %), accuracy 87.5 %, expected precision 92 %, "
    assert verdict_text(verdict).startswith(f"labelscrub check FAILED: {sentence}\n")
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
    empty = judged(calibrated_run(cut=None, expected_precision=None), max_noise_rate=0.1)
    assert json.loads(verdict_json(empty), parse_constant=pytest.fail)["calibration"]["cut"] is None


def test_text_is_short_and_says_which_gate_failed():
    text = verdict_text(judged(stored_run(), max_rate=0.3, max_suspects=5))
    assert text.splitlines()[0] == "labelscrub check FAILED: labelscrub suspects 5 of 12 labels (41.7 %)."
    assert "--max-rate FAILED: 5 of 12 labels are suspect: 41.7 %, over the limit of 30 %" in text
    assert "--max-suspects passed: 5 suspects, within the limit of 5" in text
    assert "cat -> dog" in text
    assert len(text.splitlines()) < 20


def test_a_rate_just_over_its_limit_does_not_read_like_the_limit():
    (gate,) = judged(stored_run(suspects=30_001, used=1_000_000), max_rate=0.03, max_suspects=None).gates
    assert not gate.passed
    shown = re.findall(r"[\d.]+(?= %)", gate.sentence)
    assert shown == ["3.0001", "3"]


def test_json_has_stable_keys_and_parses():
    document = json.loads(verdict_json(judged(stored_run(), max_rate=0.5, max_suspects=None)))
    assert list(document) == [
        "tool",
        "passed",
        "gates",
        "source",
        "out",
        "listed",
        "used",
        "unreadable",
        "missing",
        "suspects",
        "suspect_rate",
        "conflicts",
        "baseline",
        "estimated_noise_rate",
        "accuracy",
        "calibration",
        "worst_classes",
        "confused_pairs",
        "not_assessed",
        "notes",
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
    worst = json.loads(verdict_json(judged(run, max_rate=0.5, max_suspects=None)))["worst_classes"]
    assert [c["label"] for c in worst] == ["dog", "ship"]
    assert worst[0]["accuracy"] is None


def test_markdown_is_a_table():
    lines = verdict_markdown(judged(stored_run(), max_rate=0.3, max_suspects=None)).splitlines()
    assert lines[0] == "## labelscrub check failed"
    assert "| --max-rate | 30 % | 41.7 % | **failed** |" in lines
    assert "| cat | dog | 2 |" in lines


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_leaves_its_cell_or_sends_markup(name):
    run = parse_run_json(run_json(make_report(classes=(name, "b" + name)), {}))
    verdict = judged(run, max_rate=0.3, max_suspects=None)
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
        "import sys, labelscrub.reporting.verdict_forms, labelscrub.reporting.run_json;"
        "heavy = {'numpy', 'pyarrow', 'torch', 'rich', 'PIL', 'cleanlab'} & set(sys.modules);"
        "print(*heavy)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")


CLASSES = [  # label, images, suspects, assessed
    ("cat", 100, 3, True),
    ("dog", 50, 3, True),
    ("ship", 10, 0, True),
    ("one", 1, 0, False),
]


def run_of(classes):
    run = stored_run(used=sum(c[1] for c in classes), suspects=sum(c[2] for c in classes))
    names = ("label", "images", "suspects", "assessed")
    run["summary"]["classes"] = [dict(zip(names, c, strict=True)) for c in classes]
    return run


@pytest.mark.parametrize(
    ("limit", "passed", "sentence"),
    [
        (
            0.01,
            False,
            "3 of 50 labels 'dog' are suspect: 6 %, over the limit of 1 %; 2 of 3 classes are over it",
        ),
        (
            0.05,
            False,
            "3 of 50 labels 'dog' are suspect: 6 %, over the limit of 5 %; 1 of 3 classes is over it",
        ),
        (
            0.06,
            True,
            "3 of 50 labels 'dog' are suspect: 6 %, within the limit of 6 %, as are all other assessed "
            "classes",
        ),
        (
            1,
            True,
            "3 of 50 labels 'dog' are suspect: 6 %, within the limit of 100 %, as are all other assessed "
            "classes",
        ),
    ],
)
def test_the_worst_class_decides(limit, passed, sentence):
    (gate,) = judged(run_of(CLASSES), max_per_class=limit).gates
    assert (gate.name, gate.value, gate.limit) == ("max-per-class", 0.06, limit)
    assert (gate.passed, gate.sentence) == (passed, sentence)


def test_one_class():
    (gate,) = judged(run_of([("cat", 4, 1, True)]), max_per_class=0.25).gates
    assert gate.sentence == "1 of 4 labels 'cat' are suspect: 25 %, within the limit of 25 %"


def test_classes_of_which_none_was_assessed_fail_closed():
    with pytest.raises(ModelError, match="no class was assessed"):
        judged(run_of([("cat", 4, 0, False)]), max_per_class=0)


def test_other_classes_are_all_of_them_where_all_were_assessed():
    (gate,) = judged(run_of([c for c in CLASSES if c[3]]), max_per_class=1).gates
    assert gate.sentence.endswith("within the limit of 100 %, as are all other classes")


def test_a_new_suspect_of_no_known_class_fails_closed():
    listing = [replace(suspect, given_label="another") for suspect in listing_of(make_report())]
    limits = Limits(baseline="known.json", max_per_class=1)
    with pytest.raises(ModelError, match="suspects of 'another', which is not among the classes"):
        judge(stored_run(), limits, listing=listing, compared=compare({}, listing))


@pytest.mark.parametrize("name", ["estimated_noise_rate", "accuracy"])
@pytest.mark.parametrize("value", [True, False])
def test_true_and_false_are_no_shares(name, value):
    with pytest.raises(ModelError, match=name):
        judged(stored_run(**{name: value}), max_rate=1.0)


@pytest.mark.parametrize(
    "classes",
    [
        [("cat", 4, 5, True)],
        [("cat", 4, None, True)],
        [("cat", 4, 1, True), ("dog", -4, 1, True)],
    ],
)
def test_class_figures_that_cannot_be_trusted_fail_closed(classes):
    run = run_of([(label, 4, 1, assessed) for label, _, _, assessed in classes])
    for entry, (_, images, suspects, _) in zip(run["summary"]["classes"], classes, strict=True):
        entry |= {"images": images, "suspects": suspects}
    with pytest.raises(ModelError):
        judged(run, max_per_class=1.0)


@pytest.mark.parametrize(
    "classes", [None, [], 3, "none", [3], [{"label": "cat", "images": 12, "suspects": 4}]]
)
def test_classes_that_do_not_hold_all_suspects_fail_closed(classes):
    with pytest.raises(ModelError):
        judged(stored_run(classes=classes), max_per_class=1.0)


@pytest.mark.parametrize(
    ("figures", "limits", "passed", "sentence"),
    [
        (
            {"conflicts": 2},
            "duplicates",
            False,
            "2 listed images with the bytes of one that ",
        ),
        ({"conflicts": 0}, "duplicates", True, "no image is listed under different labels"),
        (
            {"unreadable": 1, "missing": 0},
            "unreadable",
            False,
            "1 listed image can't be used: 1 unreadable, 0 ",
        ),
        (
            {"unreadable": 0, "missing": 3},
            "unreadable",
            False,
            "3 listed images can't be used: 0 unreadable, 3 ",
        ),
        ({"unreadable": 0, "missing": 0}, "unreadable", True, "all listed images are there and can be read"),
    ],
)
def test_what_must_not_be_there_at_all(figures, limits, passed, sentence):
    name = {"duplicates": "fail_on_conflicting_duplicates", "unreadable": "fail_on_unreadable"}[limits]
    (gate,) = judged(stored_run(**figures), **{name: True}).gates
    assert (gate.passed, gate.value, gate.limit) == (passed, sum(figures.values()), 0)
    assert gate.sentence.startswith(sentence)


@pytest.mark.parametrize("figures", [{"conflicts": None}, {"unreadable": "0"}, {"missing": -1}])
def test_counts_that_cannot_be_trusted_fail_closed(figures):
    with pytest.raises(ModelError):
        judged(stored_run(**figures), fail_on_unreadable=True)


def against(known, **limits):
    """A run of 12 images with 5 suspects, of which the first `known` are in the baseline."""
    report = make_report()
    listing = listing_of(report)
    suspects = [s for s in listing if s.is_suspect]
    entries = update({}, suspects[:known])
    run = parse_run_json(run_json(report, {}))
    limits = Limits(baseline="known.json", **limits)
    return judge(run, limits, listing=listing, compared=compare(entries, listing))


@pytest.mark.parametrize(
    ("known", "limits", "passed", "sentence"),
    [
        (5, {}, True, "no suspect is new"),
        (4, {}, False, "1 suspect is not in the baseline"),
        (0, {}, False, "5 suspects are not in the baseline"),
        (4, {"max_suspects": 1}, True, "1 new suspect, within the limit of 1"),
        (3, {"max_suspects": 1}, False, "2 new suspects, over the limit of 1"),
        (3, {"max_rate": 0.1}, False, "2 of 12 labels are new suspects: 16.7 %, over the limit of 10 %"),
        (5, {"max_rate": 0}, True, "0 of 12 labels are new suspects: 0 %, within the limit of 0 %"),
        # the 4 images a class: the last suspect is row 4's, a "dog"
        (
            4,
            {"max_per_class": 0.2},
            False,
            "1 of 4 labels 'dog' are new suspects: 25 %, over the limit of 20 %",
        ),
        (5, {"max_per_class": 0}, True, "0 of 4 labels 'cat' are new suspects: 0 %, within the limit of 0 %"),
        (0, {"fail_on_unreadable": True}, False, "5 suspects are not in the baseline"),
    ],
)
def test_only_what_the_baseline_does_not_know_counts(known, limits, passed, sentence):
    verdict = against(known, **limits)
    assert (verdict.gates[0].passed, verdict.gates[0].sentence.split(";")[0].split(", as")[0]) == (
        passed,
        sentence,
    )
    assert verdict.suspects == 5, "what was found stays what was found"


def test_the_baseline_is_in_every_form():
    verdict = against(3)
    text = verdict_text(verdict)
    assert "Baseline known.json: 3 suspects known, 2 new.\n" in text
    assert [line for line in text.splitlines() if "img/" in line] == [
        "  - img/0006.png  cat -> dog (93 %)",
        "  - img/0007.png  dog -> ship (93 %)",
    ]
    assert json.loads(verdict_json(verdict))["baseline"] == {
        "file": "known.json",
        "known": 3,
        "new": 2,
        "undone": 0,
    }
    markdown = verdict_markdown(verdict)
    assert "| img/0006.png | cat \\-&gt; dog \\(93 %\\) |" in markdown and "### New suspects" in markdown


@pytest.mark.parametrize("name", ["::stop-commands::x", "::error::x", "##[error]x", *HOSTILE])
def test_no_line_of_text_or_markdown_is_a_runners_command(name):
    report = make_report(classes=(name, "b" + name), paths=[f"{name}{i}" for i in range(15)])
    listing = listing_of(report)
    run = parse_run_json(run_json(report, {}))
    limits = Limits(baseline=name, max_per_class=0.1)
    verdict = judge(run, limits, listing=listing, compared=compare({}, listing))
    for text in (verdict_text(verdict), verdict_markdown(verdict), verdict_json(verdict)):
        assert not any(line.strip().startswith("::") for line in text.splitlines())
        assert "##[" not in text  # which the runner obeys anywhere in a line
    pairs = json.loads(verdict_json(verdict))["confused_pairs"]
    assert [pair["given"] for pair in pairs] == [pair.given for pair in verdict.confused_pairs]


def test_notes_are_in_each_form_for_people_and_programs():
    verdict = replace(judged(stored_run(), max_rate=1), notes=("labels.csv changed.",))
    assert "\nNote: labels.csv changed.\n" in verdict_text(verdict)
    assert "\n\nNote: labels.csv changed.\n\n" in verdict_markdown(verdict)
    assert json.loads(verdict_json(verdict))["notes"] == ["labels.csv changed."]


def test_a_report_of_another_run_is_noticed():
    run = parse_run_json(run_json(make_report(), {}))
    with pytest.raises(ModelError, match=r"report\.parquet has another number"):
        judge(run, Limits(max_rate=1), listing=listing_of(make_report(suspects=4)))
