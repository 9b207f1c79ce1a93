"""JUnit XML: a case a gate and a class, and well-formed whatever the classes are called."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import pytest
from listings import judged, listing_of
from reports import HOSTILE, make_report

from labelscrub.records import ClassSummary
from labelscrub.reporting.baseline import update
from labelscrub.reporting.junit import verdict_junit


def parsed(verdict):
    """Suite name -> case name -> (its element, outcome); the counts are checked on the way."""
    root = ElementTree.fromstring(verdict_junit(verdict).encode())
    assert root.tag == "testsuites"
    suites = {}
    for suite in root:
        cases = {case.get("name"): case for case in suite.iter("testcase")}
        outcomes = {name: case[0].tag for name, case in cases.items()}
        tags = list(outcomes.values())
        counted = [int(suite.get(n)) for n in ("tests", "failures", "skipped", "errors")]
        assert counted == [len(tags), tags.count("failure"), tags.count("skipped"), 0]
        suites[suite.get("name").split(".")[1]] = {name: (cases[name], outcomes[name]) for name in cases}
    return suites


def outcomes(suite):
    return {name: outcome for name, (_, outcome) in suite.items()}


def test_a_case_for_each_gate_and_each_class():
    suites = parsed(judged(make_report(), max_rate=0.3, max_suspects=5))
    assert outcomes(suites["gates"]) == {"--max-rate": "failure", "--max-suspects": "system-out"}
    failure = suites["gates"]["--max-rate"][0][0]
    assert (
        failure.get("message")
        == failure.text
        == ("5 of 12 labels are suspect: 41.7 %, over the limit of 30 %")
    )
    assert failure.get("type") == "max-rate"
    assert outcomes(suites["classes"]) == dict.fromkeys(("cat", "dog", "ship"), "system-out")
    assert suites["classes"]["cat"][0][0].text == "2 suspects of 4 labels: 50 %"


def test_a_class_fails_only_where_max_per_class_says_so():
    suites = parsed(judged(make_report(), max_per_class=0.25))
    assert outcomes(suites["gates"]) == {"--max-per-class": "failure"}
    assert outcomes(suites["classes"]) == {"cat": "failure", "dog": "failure", "ship": "system-out"}
    message = suites["classes"]["cat"][0][0].get("message")
    assert message == "2 suspects of 4 labels: 50 %, over the limit of 25 %"


def test_with_a_baseline_only_new_suspects_fail_a_class():
    report = make_report()
    cats = [s for s in listing_of(report) if s.given_label == "cat"]
    suites = parsed(judged(report, entries=update({}, cats), max_per_class=0.25))
    assert outcomes(suites["classes"]) == {"cat": "system-out", "dog": "failure", "ship": "system-out"}
    assert suites["classes"]["cat"][0][0].text == "0 new suspects of 4 labels: 0 %"


def test_a_class_that_was_not_assessed_is_skipped():
    report = make_report()
    few = ClassSummary("few", 1, 0, 0.0, 0.0, assessed=False)
    summary = replace(report.summary, classes=(*report.summary.classes, few))
    suites = parsed(judged(replace(report, summary=summary), max_suspects=9))
    assert outcomes(suites["classes"])["few"] == "skipped"


def test_a_suite_says_all_in_one_place():
    """The schemas of CI servers allow one system-out, and Jenkins reads the first."""
    report = make_report()
    verdict = replace(judged(report, entries=update({}, listing_of(report))), notes=("labels.csv changed.",))
    root = ElementTree.fromstring(verdict_junit(verdict).encode())
    (said,) = root.findall("testsuite[@name='labelscrub.gates']/system-out")
    assert said.text == (
        "labelscrub suspects 5 of 12 labels (41.7 %). Baseline known.json: 5 suspects known, 0 new. "
        "labels.csv changed."
    )


def test_a_run_with_nothing_to_say_has_a_case_all_the_same():
    report = make_report(suspects=0, conflicts=0)
    report = replace(report, summary=replace(report.summary, classes=()))
    suites = parsed(judged(report, fail_on_unreadable=True))
    assert len(suites["gates"]) == 1 and not suites["classes"]


@pytest.mark.parametrize("name", [*HOSTILE, "]]>", "\x00\x0b\ufffe", "x" * 400, ""])
def test_no_name_breaks_the_file(name):
    report = make_report(classes=("cat", name), paths=[f"{name}{i}" for i in range(15)])
    text = verdict_junit(judged(report, entries={}, max_per_class=0.1))
    assert b"labelscrub" in text.encode()[:100]
    root = ElementTree.fromstring(text.encode())
    assert len(root.findall(".//testcase")) == 3
    shown = "".join(root.itertext()) + "".join(v for e in root.iter() for v in e.attrib.values())
    assert all(char >= " " or char == "\n" for char in shown)
