"""The CI gate: does a stored run stay within the limits? Quick to import: no numpy, no pyarrow, no torch."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from labelscrub.errors import ModelError, UsageError
from labelscrub.records import ClassSummary, ConfusedPair
from labelscrub.reporting.text import counted, one_line, percent, suspects_sentence

SHOWN = 5  # worst classes and confused pairs in a verdict; run.json has them all


@dataclass(frozen=True)
class Gate:
    """One limit and how the run stands to it."""

    name: str
    """The option that set it: "max-rate" or "max-suspects"."""
    limit: float
    value: float
    passed: bool
    """value <= limit."""
    shown: tuple[str, str]
    """Value and limit for people, with the digits it takes to tell them apart."""
    sentence: str


@dataclass(frozen=True)
class Verdict:
    """What `labelscrub check` says."""

    passed: bool
    """All gates passed."""
    gates: tuple[Gate, ...]
    source: str
    """What was judged, as the run names it; "" if it doesn't."""
    out: str
    """The run directory, if the run names it."""
    listed: int
    used: int
    suspects: int
    suspect_rate: float
    """Suspects over used images, 0..1."""
    estimated_noise_rate: float
    accuracy: float
    """Against the given labels, 0..1, of a model not trained on the images (method aum: trained on them)."""
    worst_classes: tuple[ClassSummary, ...]
    """Highest estimated noise rate first; assessed ones that have suspects."""
    confused_pairs: tuple[ConfusedPair, ...]
    not_assessed: tuple[str, ...]


def require_gate(max_rate: float | None, max_suspects: int | None) -> None:
    """Raise UsageError where there is no limit, or one that makes no sense. Call it before a long run."""
    if max_rate is None and max_suspects is None:
        raise UsageError(
            "check has no limit to hold the run against",
            "give --max-rate (share of labels, such as 0.03), --max-suspects (a count), or both",
        )
    if max_rate is not None and not 0 <= max_rate <= 1:
        raise UsageError(f"--max-rate must be between 0 and 1, not {max_rate}", "3 % is 0.03")
    if max_suspects is not None and max_suspects < 0:
        raise UsageError(f"--max-suspects must be at least 0, not {max_suspects}")


def judge(run: Mapping[str, Any], *, max_rate: float | None, max_suspects: int | None) -> Verdict:
    """Hold a parsed `run.json` against the limits. Figures it can't trust are an error, never a pass."""
    require_gate(max_rate, max_suspects)
    summary = _mapping(run.get("summary"))
    used, suspects = _count(summary, "used"), _count(summary, "suspects")
    if used < 1:
        raise ModelError(
            "the run used no image, so there is nothing to judge", "look at its list of skipped files"
        )
    if suspects > used:
        raise _untrusted(f"{suspects} suspects among {used} used images")
    noise_rate, accuracy = _share(summary, "estimated_noise_rate"), _share(summary, "accuracy")
    gates = _gates(suspects, used, max_rate, max_suspects)
    return Verdict(
        passed=all(gate.passed for gate in gates),
        gates=gates,
        source=str(run.get("source", "")),
        out=str(run.get("out", "")),
        listed=_count(summary, "listed"),
        used=used,
        suspects=suspects,
        suspect_rate=suspects / used,
        estimated_noise_rate=noise_rate,
        accuracy=accuracy,
        worst_classes=_worst_classes(summary),
        confused_pairs=_confused_pairs(summary),
        not_assessed=tuple(map(str, summary.get("not_assessed") or ())),
    )


def _gates(suspects: int, used: int, max_rate: float | None, max_suspects: int | None) -> tuple[Gate, ...]:
    gates = []
    if max_rate is not None:
        rate = suspects / used
        shown, limit = _told_apart(rate, max_rate)
        passed = rate <= max_rate
        sentence = (
            f"{suspects:,} of {used:,} labels are suspect: {shown}, {_within(passed)} the limit of {limit}"
        )
        gates.append(Gate("max-rate", max_rate, rate, passed, (shown, limit), sentence))
    if max_suspects is not None:
        passed = suspects <= max_suspects
        sentence = f"{counted(suspects, 'suspect')}, {_within(passed)} the limit of {max_suspects:,}"
        both = f"{suspects:,}", f"{max_suspects:,}"
        gates.append(Gate("max-suspects", max_suspects, suspects, passed, both, sentence))
    return tuple(gates)


def _within(passed: bool) -> str:
    return "within" if passed else "over"


def _told_apart(rate: float, limit: float) -> tuple[str, str]:
    """Both as percentages, with the digits it takes to see which is larger."""
    for digits in range(3, 17):
        shown = f"{100 * rate:.{digits}g} %", f"{100 * limit:.{digits}g} %"
        if shown[0] != shown[1]:
            break
    return shown if rate != limit else (f"{100 * rate:.3g} %", f"{100 * limit:.3g} %")


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _untrusted("no summary")
    return value


def _count(summary: Mapping[str, Any], name: str) -> int:
    value = summary.get(name)
    if type(value) is not int or value < 0:
        raise _untrusted(f"'{name}' is {value!r}")
    return value


def _share(summary: Mapping[str, Any], name: str) -> float:
    value = summary.get(name)
    if not isinstance(value, int | float) or value is True or not 0 <= value <= 1:  # NaN fails the comparison
        raise _untrusted(f"'{name}' is {value!r}")
    return float(value)


def _untrusted(what: str) -> ModelError:
    return ModelError(
        f"the run's summary can't be trusted: {what}",
        "run `labelscrub detect` again; a gate never passes on it",
    )


def _worst_classes(summary: Mapping[str, Any]) -> tuple[ClassSummary, ...]:
    classes = [_class_summary(entry) for entry in summary.get("classes") or ()]
    affected = [c for c in classes if c.assessed and c.suspects and not math.isnan(c.estimated_noise_rate)]
    affected.sort(key=lambda c: (-c.estimated_noise_rate, -c.suspects, c.label))
    return tuple(affected[:SHOWN])


def _class_summary(entry: Any) -> ClassSummary:
    """One entry of run.json's list; a figure that is null there is NaN."""
    entry = _mapping(entry)
    accuracy, noise_rate = entry.get("accuracy"), entry.get("estimated_noise_rate")
    return ClassSummary(
        label=str(entry.get("label", "")),
        images=_count(entry, "images"),
        suspects=_count(entry, "suspects"),
        accuracy=math.nan if accuracy is None else float(accuracy),
        estimated_noise_rate=math.nan if noise_rate is None else float(noise_rate),
        assessed=bool(entry.get("assessed")),
    )


def _confused_pairs(summary: Mapping[str, Any]) -> tuple[ConfusedPair, ...]:
    entries = [_mapping(entry) for entry in (summary.get("confused_pairs") or ())[:SHOWN]]
    return tuple(
        ConfusedPair(str(e.get("given")), str(e.get("suggested")), _count(e, "count")) for e in entries
    )


def verdict_text(verdict: Verdict) -> str:
    """A few plain lines for a terminal or a log; no markup, no control characters."""
    lines = [f"{_word(verdict.passed)}: {suspects_sentence(verdict.suspects, verdict.used)}"]
    lines += [f"  --{g.name} {_word(g.passed)}: {g.sentence}" for g in verdict.gates]
    lines.append(_figures(verdict))
    if verdict.worst_classes:
        lines.append("Worst classes (estimated noise rate):")
        lines += _aligned((one_line(c.label), percent(c.estimated_noise_rate)) for c in verdict.worst_classes)
    if verdict.confused_pairs:
        lines.append("Most confused:")
        pairs = (
            (f"{one_line(p.given)} -> {one_line(p.suggested)}", f"{p.count:,}")
            for p in verdict.confused_pairs
        )
        lines += _aligned(pairs)
    if verdict.not_assessed:
        lines.append(_not_assessed([one_line(name) for name in verdict.not_assessed]))
    lines += [f"{name}: {one_line(value)}" for name, value in _places(verdict)]
    return "\n".join(lines) + "\n"


def _word(passed: bool) -> str:
    return "passed" if passed else "FAILED"


def _figures(verdict: Verdict) -> str:
    noise, accuracy = percent(verdict.estimated_noise_rate), percent(verdict.accuracy)
    images = f"{verdict.used:,} of {verdict.listed:,} images used"
    return f"Estimated noise rate {noise}, accuracy {accuracy}, {images}."


def _not_assessed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return f"Not assessed, too few images or all in one fold: {', '.join(names[:SHOWN])}{more}."


def _places(verdict: Verdict) -> list[tuple[str, str]]:
    return [(name, value) for name, value in (("Source", verdict.source), ("Run", verdict.out)) if value]


def _aligned(pairs: Iterable[tuple[str, str]]) -> list[str]:
    rows = [(left if len(left) <= 48 else left[:47] + "…", right) for left, right in pairs]
    width = max(len(left) for left, _ in rows)
    return [f"  {left:<{width}}  {right}" for left, right in rows]


def verdict_json(verdict: Verdict) -> str:
    """For programs: ASCII only, so that no terminal encoding can break it."""
    document = {
        "passed": verdict.passed,
        "gates": [{k: v for k, v in vars(gate).items() if k != "shown"} for gate in verdict.gates],
        "source": verdict.source,
        "out": verdict.out,
        "listed": verdict.listed,
        "used": verdict.used,
        "suspects": verdict.suspects,
        "suspect_rate": verdict.suspect_rate,
        "estimated_noise_rate": verdict.estimated_noise_rate,
        "accuracy": verdict.accuracy,
        "worst_classes": [
            vars(c) | {"accuracy": None if math.isnan(c.accuracy) else c.accuracy}
            for c in verdict.worst_classes
        ],
        "confused_pairs": [vars(pair) for pair in verdict.confused_pairs],
        "not_assessed": list(verdict.not_assessed),
    }
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def verdict_markdown(verdict: Verdict) -> str:
    """For a pull request or a step summary."""
    word = "passed" if verdict.passed else "failed"
    parts = [
        f"## Label check {word}",
        suspects_sentence(verdict.suspects, verdict.used) + " " + _figures(verdict),
        _table(
            ("Gate", "Limit", "Value", "Result"),
            [
                (f"--{g.name}", g.shown[1], g.shown[0], "passed" if g.passed else "**failed**")
                for g in verdict.gates
            ],
        ),
    ]
    if verdict.worst_classes:
        rows = [
            (_markdown(c.label), f"{c.images:,}", f"{c.suspects:,}", percent(c.estimated_noise_rate))
            for c in verdict.worst_classes
        ]
        parts += ["### Worst classes", _table(("Class", "Images", "Suspects", "Estimated noise rate"), rows)]
    if verdict.confused_pairs:
        pairs = [(_markdown(p.given), _markdown(p.suggested), f"{p.count:,}") for p in verdict.confused_pairs]
        parts += ["### Most confused", _table(("Given", "Suggested", "Suspects"), pairs)]
    if verdict.not_assessed:
        parts.append(_not_assessed([_markdown(name) for name in verdict.not_assessed]))
    parts += [f"{name}: {_markdown(value)}" for name, value in _places(verdict)]
    return "\n\n".join(parts) + "\n"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _markdown(text: str) -> str:
    """A name as literal text, also inside a table cell."""
    text = re.sub(r"([\\`*_{}\[\]()#+!|~-])", r"\\\1", one_line(text))
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
