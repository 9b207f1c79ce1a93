"""The CI gate: does a stored run stay within the limits? Quick to import: no numpy, no pyarrow, no torch."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from labelscrub.errors import ModelError, UsageError
from labelscrub.records import Calibration, ClassSummary, ConfusedPair
from labelscrub.reporting.gates import (
    Gate,
    count_gate,
    noise_rate_gate,
    rate_gate,
    require_gate,
)
from labelscrub.reporting.text import expected_quality, noise_interval, one_line, percent, suspects_sentence
from labelscrub.reporting.trusted import calibration_of, count, mapping, share, untrusted

SHOWN = 5  # worst classes and confused pairs in a verdict; run.json has them all


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
    calibration: Calibration | None
    """Of a run with `--method calibrated`, without its transition matrix."""
    worst_classes: tuple[ClassSummary, ...]
    """Highest estimated noise rate first; assessed ones that have suspects."""
    confused_pairs: tuple[ConfusedPair, ...]
    not_assessed: tuple[str, ...]


def judge(
    run: Mapping[str, Any],
    *,
    max_rate: float | None = None,
    max_suspects: int | None = None,
    max_noise_rate: float | None = None,
) -> Verdict:
    """Hold a parsed `run.json` against the limits. Figures it can't trust are an error, never a pass."""
    require_gate(max_rate, max_suspects, max_noise_rate)
    summary = mapping(run.get("summary"))
    used, suspects = count(summary, "used"), count(summary, "suspects")
    if used < 1:
        raise ModelError(
            "the run used no image, so there is nothing to judge", "look at its list of skipped files"
        )
    if suspects > used:
        raise untrusted(f"{suspects} suspects among {used} used images")
    noise_rate, accuracy = share(summary, "estimated_noise_rate"), share(summary, "accuracy")
    calibration = calibration_of(summary)
    gates = []
    if max_rate is not None:
        gates.append(rate_gate(suspects, used, max_rate))
    if max_suspects is not None:
        gates.append(count_gate(suspects, max_suspects))
    if max_noise_rate is not None:
        if calibration is None:
            raise UsageError(
                "this run was not made with --method calibrated, whose interval --max-noise-rate needs",
                "run `labelscrub detect` on the source with --method calibrated, and check that run",
            )
        gates.append(noise_rate_gate(calibration, max_noise_rate))
    return Verdict(
        passed=all(gate.passed for gate in gates),
        gates=tuple(gates),
        source=str(run.get("source", "")),
        out=str(run.get("out", "")),
        listed=count(summary, "listed"),
        used=used,
        suspects=suspects,
        suspect_rate=suspects / used,
        estimated_noise_rate=noise_rate,
        accuracy=accuracy,
        calibration=calibration,
        worst_classes=_worst_classes(summary),
        confused_pairs=_confused_pairs(summary),
        not_assessed=tuple(map(str, summary.get("not_assessed") or ())),
    )


def _worst_classes(summary: Mapping[str, Any]) -> tuple[ClassSummary, ...]:
    classes = [_class_summary(entry) for entry in summary.get("classes") or ()]
    affected = [c for c in classes if c.assessed and c.suspects and not math.isnan(c.estimated_noise_rate)]
    affected.sort(key=lambda c: (-c.estimated_noise_rate, -c.suspects, c.label))
    return tuple(affected[:SHOWN])


def _class_summary(entry: Any) -> ClassSummary:
    """One entry of run.json's list; a figure that is null there is NaN."""
    entry = mapping(entry)
    accuracy, noise_rate = entry.get("accuracy"), entry.get("estimated_noise_rate")
    return ClassSummary(
        label=str(entry.get("label", "")),
        images=count(entry, "images"),
        suspects=count(entry, "suspects"),
        accuracy=math.nan if accuracy is None else float(accuracy),
        estimated_noise_rate=math.nan if noise_rate is None else float(noise_rate),
        assessed=bool(entry.get("assessed")),
    )


def _confused_pairs(summary: Mapping[str, Any]) -> tuple[ConfusedPair, ...]:
    entries = [mapping(entry) for entry in (summary.get("confused_pairs") or ())[:SHOWN]]
    return tuple(
        ConfusedPair(str(e.get("given")), str(e.get("suggested")), count(e, "count")) for e in entries
    )


def verdict_text(verdict: Verdict) -> str:
    """A few plain lines for a terminal or a log; no markup, no control characters."""
    lines = [f"{_word(verdict.passed)}: {_sentence(verdict)}"]
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


def _sentence(verdict: Verdict) -> str:
    return suspects_sentence(verdict.suspects, verdict.used, verdict.calibration)


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
        "calibration": None if verdict.calibration is None else _calibration_json(verdict.calibration),
        "worst_classes": [
            vars(c) | {"accuracy": None if math.isnan(c.accuracy) else c.accuracy}
            for c in verdict.worst_classes
        ],
        "confused_pairs": [vars(pair) for pair in verdict.confused_pairs],
        "not_assessed": list(verdict.not_assessed),
    }
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def _calibration_json(calibration: Calibration) -> dict[str, Any]:
    figures = {name: value for name, value in vars(calibration).items() if name != "transition"}
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in figures.items()}


def verdict_markdown(verdict: Verdict) -> str:
    """For a pull request or a step summary."""
    word = "passed" if verdict.passed else "failed"
    parts = [
        f"## Label check {word}",
        _sentence(verdict) + " " + _figures(verdict),
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
