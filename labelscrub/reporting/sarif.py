"""SARIF 2.1.0 for code scanning: each suspect label where it stands, a manifest's row or an image file."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from labelscrub import __version__
from labelscrub.reporting.alerts import DUPLICATE, SUSPECT, Alert, alerts
from labelscrub.reporting.places import uri_from
from labelscrub.reporting.text import counted, inert, printable
from labelscrub.reporting.verdict import Verdict
from labelscrub.reporting.verdict_forms import baseline_counts

RESULTS = 5000  # GitHub shows no more of one upload
_ROOT = "%SRCROOT%"

_RULES: tuple[dict[str, Any], ...] = (
    {
        "id": SUSPECT,
        "name": "SuspectLabel",
        "shortDescription": {"text": "The label of this image is probably wrong."},
        "fullDescription": {
            "text": "A model that was not trained on this image finds another label far more likely than the "
            "given one, by more than labels of these two classes are confused as a rule."
        },
        "help": {
            "text": "Look at the image. If the label is wrong, correct it or take the image out. If it "
            "is right, decide to keep it with `labelscrub review` and put that into the baseline: "
            "`labelscrub check --baseline FILE --update-baseline --decisions decisions.jsonl`.",
            "markdown": "Look at the image.\n\n- The label is wrong: correct it, or take the image out.\n- "
            "The label is right: decide to keep it with `labelscrub review`, and put that into the baseline "
            "with `labelscrub check --baseline FILE --update-baseline --decisions decisions.jsonl`.",
        },
        "defaultConfiguration": {"level": "warning"},
    },
    {
        "id": DUPLICATE,
        "name": "ConflictingDuplicate",
        "shortDescription": {"text": "The same image is listed under different labels."},
        "fullDescription": {
            "text": "Files with the very same bytes carry different labels, so at least one label is wrong. "
            "Where the copies are in different splits, training data leaks into test data as well."
        },
        "help": {
            "text": "Compare the copies, which share a group number; keep the one with the right label, and "
            "take the others out.",
            "markdown": "Compare the copies, which share a group number; keep the one with the right label, "
            "and take the others out.",
        },
        "defaultConfiguration": {"level": "warning"},
    },
)
_INDEX = {rule["id"]: index for index, rule in enumerate(_RULES)}


def verdict_sarif(verdict: Verdict, folder: Path) -> str:
    """The alerts of a verdict; places inside `folder`, the repository's root, are relative to it."""
    found = alerts(verdict)
    fingerprints = _fingerprints(found)
    shown = list(zip(found, fingerprints, strict=True))[:RESULTS]
    source, _ = uri_from(verdict.places.source, folder)
    told = [_total(len(found)), *({"level": "warning", "message": {"text": _text(n)}} for n in verdict.notes)]
    run = {
        "tool": {"driver": {"name": "labelscrub", "version": __version__, "rules": _RULES}},
        "automationDetails": {"id": f"labelscrub/{source.removeprefix('file://').strip('/')}/"},
        "invocations": [{"executionSuccessful": True, "toolExecutionNotifications": told}],
        "originalUriBaseIds": {
            _ROOT: {"description": {"text": "The repository's root, or else the working directory."}}
        },
        "columnKind": "unicodeCodePoints",
        "results": [_result(alert, fingerprint, folder) for alert, fingerprint in shown],
        "properties": {
            "passed": verdict.passed,
            "gates": {gate.name: "passed" if gate.passed else "failed" for gate in verdict.gates},
            "findings": len(found),
            "suspects": verdict.suspects,
            "used": verdict.used,
            **baseline_counts(verdict),
        },
    }
    document = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [run],
    }
    return inert(json.dumps(document, indent=1, allow_nan=False)) + "\n"


def _total(found: int) -> dict[str, Any]:
    """What the tool itself has to say: how many findings there are, and whether some were left out."""
    text, cut = f"labelscrub has {counted(found, 'finding')}", found > RESULTS
    text += f", of which only the first {RESULTS:,} by rank are here" if cut else ""
    return {"level": "warning" if cut else "note", "message": {"text": f"{text}."}}


def _result(alert: Alert, fingerprint: str, folder: Path) -> dict[str, Any]:
    suspect = alert.suspect
    uri, inside = uri_from(alert.file, folder)
    place: dict[str, Any] = {"artifactLocation": {"uri": uri, **({"uriBaseId": _ROOT} if inside else {})}}
    place["region"] = {"startLine": suspect.line or 1}  # code scanning wants a line of images, too
    if suspect.line and suspect.column:
        place["region"]["startColumn"] = suspect.column
    known = {} if alert.is_new is None else {"baselineState": "new" if alert.is_new else "unchanged"}
    return {
        "ruleId": alert.rule,
        "ruleIndex": _INDEX[alert.rule],
        "level": alert.level,
        "message": {"text": _text(alert.text)},
        "locations": [{"physicalLocation": place}],
        "partialFingerprints": {"primaryLocationLineHash": fingerprint},
        **known,
        "properties": {
            "path": printable(suspect.path),
            "givenLabel": printable(suspect.given_label),
            "suggestedLabel": printable(suspect.suggested_label),
            "score": suspect.score,
            "rank": suspect.rank,
        },
    }


def _fingerprints(found: list[Alert]) -> list[str]:
    """The same whenever the same image has the same label, wherever it is listed; copies count up.

    In the form "hash:count", which is what code scanning keeps for a line of text.
    """
    seen: Counter[tuple[str, str]] = Counter()
    prints = {}
    for alert in sorted(found, key=lambda alert: alert.suspect.row):
        image = alert.suspect.sha256 or alert.suspect.path
        digest = hashlib.sha256(f"{image}\0{alert.suspect.given_label}".encode(errors="replace")).hexdigest()
        seen[alert.rule, digest] += 1
        prints[alert.rule, alert.suspect.row] = f"{digest[:16]}:{seen[alert.rule, digest]}"
    return [prints[alert.rule, alert.suspect.row] for alert in found]


def _text(text: str) -> str:
    """Plain text that is neither a link, [..](..), nor a place to fill in, {0}, to whoever reads SARIF."""
    return re.sub(r"([\[\]])", r"\\\1", text).replace("{", "{{").replace("}", "}}")
