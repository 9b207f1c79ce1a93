"""JUnit XML, which every CI server reads: a test case for each gate and for each class."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from labelscrub.reporting.gates import told_apart
from labelscrub.reporting.text import counted, one_line
from labelscrub.reporting.verdict import Verdict
from labelscrub.reporting.verdict_forms import baseline_sentence, sentence

# XML 1.0, section 2.2
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def verdict_junit(verdict: Verdict) -> str:
    """All gates and classes; a class fails where `--max-per-class` says so, and skips if not assessed."""
    root = ElementTree.Element("testsuites", name="labelscrub")
    gates = ElementTree.SubElement(root, "testsuite", name="labelscrub.gates")
    for gate in verdict.gates:
        case = _case(gates, "labelscrub.gates", f"--{gate.name}")
        if gate.passed:
            _add(case, "system-out", gate.sentence)
        else:
            _add(case, "failure", gate.sentence, message=gate.sentence, type=gate.name)
    said = [sentence(verdict), *([] if verdict.compared is None else [baseline_sentence(verdict)])]
    _add(gates, "system-out", " ".join([*said, *verdict.notes]))  # readers take one a suite, and no more
    classes = ElementTree.SubElement(root, "testsuite", name="labelscrub.classes")
    limit = next((gate.limit for gate in verdict.gates if gate.name == "max-per-class"), 1.0)
    suspects = "suspect" if verdict.compared is None else "new suspect"
    for c in verdict.classes:
        case = _case(classes, "labelscrub.classes", one_line(c.label))
        if not c.assessed or not c.images:
            _add(case, "skipped", "", message="not assessed: too few images, or all in one fold")
            continue
        share = c.suspects / c.images
        shown, of = told_apart(share, limit)
        text = f"{counted(c.suspects, suspects)} of {counted(c.images, 'label')}: {shown}"
        if share > limit:
            over = f"{text}, over the limit of {of}"
            _add(case, "failure", over, message=over, type="max-per-class")
        else:
            _add(case, "system-out", text)
    for suite in (gates, classes):
        _count(suite)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=False) + "\n"


def _case(suite: ElementTree.Element, classname: str, name: str) -> ElementTree.Element:
    return ElementTree.SubElement(suite, "testcase", classname=classname, name=_legal(name), time="0")


def _add(parent: ElementTree.Element, tag: str, text: str, **attributes: str) -> None:
    legal = {name: _legal(value) for name, value in attributes.items()}
    ElementTree.SubElement(parent, tag, legal).text = _legal(text) or None


def _count(suite: ElementTree.Element) -> None:
    cases = suite.findall("testcase")
    suite.set("tests", str(len(cases)))
    suite.set("failures", str(sum(case.find("failure") is not None for case in cases)))
    suite.set("errors", "0")
    suite.set("skipped", str(sum(case.find("skipped") is not None for case in cases)))


def _legal(text: str) -> str:
    return _ILLEGAL.sub("\ufffd", text)
