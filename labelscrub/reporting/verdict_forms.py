"""A verdict as text for a terminal, JSON for programs and Markdown for a pull request."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from typing import Any

from labelscrub.records import Calibration
from labelscrub.reporting.text import (
    counted,
    expected_quality,
    inert,
    noise_interval,
    one_line,
    percent,
    shortened,
    suspects_sentence,
    whole_percent,
)
from labelscrub.reporting.verdict import SHOWN, Verdict
from labelscrub.review_records import Suspect

IN_MARKDOWN = 20  # suspects in a table of a pull request or step summary


def verdict_text(verdict: Verdict) -> str:
    """A few plain lines for a terminal or a log; no markup, no control characters.

    None begins with a name: one that begins with "::" would be a command to a CI server.
    """
    lines = [f"labelscrub check {_word(verdict.passed)}: {sentence(verdict)}"]
    lines += [f"  --{g.name} {_word(g.passed)}: {g.sentence}" for g in verdict.gates]
    if verdict.compared is not None:
        lines.append(baseline_sentence(verdict))
        lines += _aligned((one_line(s.path), _doubt(s)) for s in verdict.compared.new[:SHOWN])
        if len(verdict.compared.new) > SHOWN:
            lines.append(f"  and {len(verdict.compared.new) - SHOWN:,} more")
    lines += [f"Note: {note}" for note in verdict.notes]
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


def sentence(verdict: Verdict) -> str:
    """What was found, known or new, in one sentence."""
    return suspects_sentence(verdict.suspects, verdict.used, verdict.calibration)


def baseline_sentence(verdict: Verdict) -> str:
    """How the suspects stand to the baseline."""
    c = verdict.compared
    assert c is not None
    text = (
        f"Baseline {one_line(verdict.baseline)}: {counted(len(c.known), 'suspect')} known, {len(c.new):,} new"
    )
    if c.undone:
        one = c.undone == 1
        text += (
            f"; {c.undone:,} known one{' was' if one else 's were'} decided to be relabelled or removed, but "
        )
        text += f"{'is' if one else 'are'} still in the data"
    if verdict.updated is not None:
        text += "; updated: {:,} came in, {:,} went out".format(*verdict.updated)
    return text + "."


def _doubt(suspect: Suspect) -> str:
    """cat -> dog (97 %)"""
    given, suggested = (
        shortened(one_line(label), 40) for label in (suspect.given_label, suspect.suggested_label)
    )
    labels = f"{given} -> {suggested}"
    probability = suspect.suggested_probability
    return labels if math.isnan(probability) else f"{labels} ({whole_percent(probability)})"


def _word(passed: bool) -> str:
    return "passed" if passed else "FAILED"


def _figures(verdict: Verdict) -> str:
    noise, accuracy = percent(verdict.estimated_noise_rate), percent(verdict.accuracy)
    images = f"{verdict.used:,} of {verdict.listed:,} images used"
    if verdict.calibration is not None:
        noise += f" ({noise_interval(verdict.calibration)})"
        quality = expected_quality(verdict.calibration)
        accuracy += f", expected {quality}" if quality else ""
    return f"Estimated noise rate {noise}, accuracy {accuracy}, {images}."


def _not_assessed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return f"Not assessed, too few images or all in one fold: {', '.join(names[:SHOWN])}{more}."


def _places(verdict: Verdict) -> list[tuple[str, str]]:
    return [(name, value) for name, value in (("Source", verdict.source), ("Run", verdict.out)) if value]


def _aligned(pairs: Iterable[tuple[str, str]]) -> list[str]:
    rows = [(shortened(left, 48), right) for left, right in pairs]
    width = max((len(left) for left, _ in rows), default=0)
    return [f"  - {left:<{width}}  {right}" for left, right in rows]


def verdict_json(verdict: Verdict) -> str:
    """For programs: ASCII only, so that no terminal encoding can break it."""
    document = {
        "tool": "labelscrub check",
        "passed": verdict.passed,
        "gates": [{k: v for k, v in vars(gate).items() if k != "shown"} for gate in verdict.gates],
        "source": verdict.source,
        "out": verdict.out,
        "listed": verdict.listed,
        "used": verdict.used,
        "unreadable": verdict.unreadable,
        "missing": verdict.missing,
        "suspects": verdict.suspects,
        "suspect_rate": verdict.suspect_rate,
        "conflicts": verdict.conflicts,
        **baseline_counts(verdict),
        "estimated_noise_rate": verdict.estimated_noise_rate,
        "accuracy": verdict.accuracy,
        "calibration": None if verdict.calibration is None else _calibration_json(verdict.calibration),
        "worst_classes": [
            vars(c) | {"accuracy": None if math.isnan(c.accuracy) else c.accuracy}
            for c in verdict.worst_classes
        ],
        "confused_pairs": [vars(pair) for pair in verdict.confused_pairs],
        "not_assessed": list(verdict.not_assessed),
        "notes": list(verdict.notes),
    }
    return inert(json.dumps(document, indent=2, allow_nan=False)) + "\n"


def baseline_counts(verdict: Verdict) -> dict[str, Any]:
    """{"baseline": how the suspects stand to it, or None without one}"""
    c = verdict.compared
    if c is None:
        return {"baseline": None}
    counts = {"known": len(c.known), "new": len(c.new), "undone": c.undone}
    return {"baseline": {"file": verdict.baseline, **counts}}


def _calibration_json(calibration: Calibration) -> dict[str, Any]:
    figures = {name: value for name, value in vars(calibration).items() if name != "transition"}
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in figures.items()}


def verdict_markdown(verdict: Verdict) -> str:
    """For a pull request or a step summary."""
    word = "passed" if verdict.passed else "failed"
    parts = [
        f"## labelscrub check {word}",
        f"{sentence(verdict)} {_figures(verdict)}",
        _table(
            ("Gate", "Limit", "Value", "Result"),
            [
                (f"--{g.name}", g.shown[1], g.shown[0], "passed" if g.passed else "**failed**")
                for g in verdict.gates
            ],
        ),
    ]
    failed = [f"- --{g.name}: {_markdown(g.sentence)}" for g in verdict.gates if not g.passed]
    if failed:
        parts.append("\n".join(failed))
    if verdict.compared is not None:
        parts.append(_markdown(baseline_sentence(verdict)))
    parts += [f"Note: {_markdown(note)}" for note in verdict.notes]
    parts += _suspects_markdown(verdict)
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


def _suspects_markdown(verdict: Verdict) -> list[str]:
    """The first of the suspects that count, where they were read."""
    if verdict.compared is not None:
        title, suspects = "New suspects", verdict.compared.new
    else:
        title, suspects = "Suspects", tuple(s for s in verdict.listing or () if s.is_suspect)
    if not suspects:
        return []
    rows = [tuple(map(_markdown, (s.path, _doubt(s)))) for s in suspects[:IN_MARKDOWN]]
    parts = [f"### {title}", _table(("Image", "Given -> suggested"), rows)]
    if len(suspects) > IN_MARKDOWN:
        parts.append(f"and {len(suspects) - IN_MARKDOWN:,} more")
    return parts


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _markdown(text: str) -> str:
    """A name as literal text, also inside a table cell."""
    text = re.sub(r"([\\`*_{}\[\]()#+!|~-])", r"\\\1", one_line(text))
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
