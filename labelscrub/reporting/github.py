"""GitHub's workflow commands: annotations on the changed lines of a pull request."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from labelscrub.reporting.alerts import DUPLICATE, SUSPECT, alerts
from labelscrub.reporting.places import path_from
from labelscrub.reporting.text import counted, one_line
from labelscrub.reporting.verdict import Verdict
from labelscrub.reporting.verdict_forms import baseline_sentence, sentence

ANNOTATIONS = 10  # GitHub drops what a step says beyond that, without a word
_TITLES = {SUSPECT: "labelscrub: suspect label", DUPLICATE: "labelscrub: conflicting duplicate"}


def verdict_commands(verdict: Verdict, folder: Path) -> str:
    """The gates that failed, the first alerts and the total, a line each; paths as seen from `folder`."""
    failed = [gate for gate in verdict.gates if not gate.passed]
    lines = [command("error", {"title": f"labelscrub --{g.name}"}, g.sentence) for g in failed]
    found = sorted(alerts(verdict), key=lambda alert: alert.level)  # errors, then warnings, each by rank
    shown = found[: ANNOTATIONS - len(lines) - len(verdict.notes)]
    for alert in shown:
        suspect = alert.suspect
        title = _TITLES[alert.rule]
        place = {"title": title, "file": path_from(alert.file, folder)[0]}
        if suspect.line:
            place["line"] = str(suspect.line)
            if suspect.column:
                place["col"] = str(suspect.column)
        lines.append(command(alert.level, place, alert.text))
    total = f"{'passed' if verdict.passed else 'FAILED'}: {sentence(verdict)}"
    if verdict.compared is not None:
        total += f" {baseline_sentence(verdict)}"
    if len(shown) < len(found):
        total += f" {len(shown):,} of {counted(len(found), 'finding')} are annotated."
    lines += [command("warning", {"title": "labelscrub check"}, note) for note in verdict.notes]
    lines.append(command("notice", {"title": "labelscrub check"}, total))
    return "\n".join(lines) + "\n"


def command(level: str, properties: Mapping[str, str], message: str) -> str:
    """One line that GitHub's runner takes for a command, whatever is in it; level: error, warning, notice."""
    shown = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    return f"::{level} {shown}::{_data(one_line(message))}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    """The runner restores these; what else is not seen stands as an escape."""
    return one_line(_data(text).replace(":", "%3A").replace(",", "%2C"))
