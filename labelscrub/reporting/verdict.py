"""The CI gate: does a stored run stay within the limits? Quick to import: no numpy, no pyarrow, no torch."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from labelscrub.config_limits import Limits
from labelscrub.errors import ModelError, UsageError
from labelscrub.records import Calibration, ClassSummary, ConfusedPair
from labelscrub.reporting.baseline import Compared
from labelscrub.reporting.gates import (
    Gate,
    baseline_gate,
    class_gate,
    count_gate,
    duplicates_gate,
    noise_rate_gate,
    rate_gate,
    require_limit,
    unreadable_gate,
)
from labelscrub.reporting.places import Places, places_of
from labelscrub.reporting.trusted import calibration_of, count, mapping, share, share_or_nan, untrusted
from labelscrub.review_records import Suspect

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
    conflicts: int
    """Images in groups of same bytes with different labels."""
    unreadable: int
    missing: int
    estimated_noise_rate: float
    accuracy: float
    """Against the given labels, 0..1, of a model not trained on the images (method aum: trained on them)."""
    calibration: Calibration | None
    """Of a run with `--method calibrated`, without its transition matrix."""
    classes: tuple[ClassSummary, ...]
    """All of them, as the run has them; with a baseline `suspects` counts the new ones only."""
    worst_classes: tuple[ClassSummary, ...]
    """Highest estimated noise rate first; assessed ones that have suspects, known or new."""
    confused_pairs: tuple[ConfusedPair, ...]
    not_assessed: tuple[str, ...]
    places: Places
    baseline: str = ""
    """The baseline's file as it was named; "" without one."""
    compared: Compared | None = None
    """The suspects held against the baseline, where there is one."""
    updated: tuple[int, int] | None = None
    """How many entries came into the baseline and left it, where it was updated."""
    listing: tuple[Suspect, ...] | None = None
    """Suspects and conflicting duplicates by rank, where they were read."""
    notes: tuple[str, ...] = ()
    """What a reader should know beside the gates, a sentence each, names in it made printable."""


def judge(
    run: Mapping[str, Any],
    limits: Limits,
    *,
    listing: Sequence[Suspect] | None = None,
    compared: Compared | None = None,
    relisted: int = 0,
) -> Verdict:
    """Hold a parsed `run.json` against the limits. Figures it can't trust are an error, never a pass.

    Args:
        run: `run.json`, with "out" added where the run's folder is to be named.
        limits: those that count; with a baseline `compared` says what it knows.
        listing: the suspects and conflicting duplicates of the run, where they were read.
        compared: `listing` held against the baseline of `limits`.
        relisted: rows that list a used file again under another label, as `trusted.count_relisted` has them.
    """
    require_limit(limits)
    assert (limits.baseline is None) == (compared is None)
    summary = mapping(run.get("summary"))
    used, suspects = count(summary, "used"), count(summary, "suspects")
    if used < 1:
        raise ModelError(
            "the run used no image, so there is nothing to judge", "look at its list of skipped files"
        )
    if suspects > used:
        raise untrusted(f"{suspects} suspects among {used} used images")
    if listing is not None and sum(suspect.is_suspect for suspect in listing) != suspects:
        raise untrusted(f"{suspects} suspects, but report.parquet has another number")
    calibration, classes = calibration_of(summary), _classes(summary)
    verdict = Verdict(
        passed=False,
        gates=(),
        source=str(run.get("source", "")),
        out=str(run.get("out", "")),
        listed=count(summary, "listed"),
        used=used,
        suspects=suspects,
        suspect_rate=suspects / used,
        conflicts=count(summary, "conflicts"),
        unreadable=count(summary, "unreadable"),
        missing=count(summary, "missing"),
        estimated_noise_rate=share(summary, "estimated_noise_rate"),
        accuracy=share(summary, "accuracy"),
        calibration=calibration,
        classes=classes if compared is None else _with_new_suspects(classes, compared),
        worst_classes=_worst(classes),
        confused_pairs=_confused_pairs(summary),
        not_assessed=tuple(map(str, summary.get("not_assessed") or ())),
        places=places_of(run),
        baseline=limits.baseline or "",
        compared=compared,
        listing=None if listing is None else tuple(listing),
    )
    if limits.max_per_class is not None and sum(c.suspects for c in classes) != suspects:
        raise untrusted(f"{suspects} suspects, but another number over all classes")
    gates = _gates(verdict, limits, relisted)
    return replace(verdict, passed=all(gate.passed for gate in gates), gates=gates)


def _gates(verdict: Verdict, limits: Limits, relisted: int) -> tuple[Gate, ...]:
    new = verdict.compared is not None
    suspects = verdict.suspects if verdict.compared is None else len(verdict.compared.new)
    gates = []
    if limits.max_rate is not None:
        gates.append(rate_gate(suspects, verdict.used, limits.max_rate, new=new))
    if limits.max_suspects is not None:
        gates.append(count_gate(suspects, limits.max_suspects, new=new))
    if limits.max_per_class is not None:
        gates.append(class_gate(verdict.classes, limits.max_per_class, new=new))
    if limits.baseline_decides:
        gates.append(baseline_gate(suspects))
    if limits.max_noise_rate is not None:
        if verdict.calibration is None:
            raise UsageError(
                "this run was not made with --method calibrated, whose interval --max-noise-rate needs",
                "run `labelscrub detect` on the source with --method calibrated, and check that run",
            )
        gates.append(noise_rate_gate(verdict.calibration, limits.max_noise_rate))
    if limits.fail_on_conflicting_duplicates:
        gates.append(duplicates_gate(verdict.conflicts + relisted))
    if limits.fail_on_unreadable:
        gates.append(unreadable_gate(verdict.unreadable, verdict.missing))
    return tuple(gates)


def _classes(summary: Mapping[str, Any]) -> tuple[ClassSummary, ...]:
    """run.json's list; a figure that is null there is NaN."""
    entries = summary.get("classes") or []
    if not isinstance(entries, list):
        raise untrusted("'classes' is no list")
    classes = tuple(
        ClassSummary(
            label=str(entry.get("label", "")),
            images=count(entry, "images"),
            suspects=count(entry, "suspects"),
            accuracy=share_or_nan(entry, "accuracy"),
            estimated_noise_rate=share_or_nan(entry, "estimated_noise_rate"),
            assessed=bool(entry.get("assessed")),
        )
        for entry in map(mapping, entries)
    )
    for c in classes:
        if c.suspects > c.images:
            raise untrusted(f"{c.suspects} suspects among {c.images} images of '{c.label}'")
    return classes


def _with_new_suspects(classes: tuple[ClassSummary, ...], compared: Compared) -> tuple[ClassSummary, ...]:
    new = Counter(suspect.given_label for suspect in compared.new)
    if strange := new.keys() - {c.label for c in classes}:
        raise untrusted(f"report.parquet has suspects of '{min(strange)}', which is not among the classes")
    return tuple(replace(c, suspects=min(new[c.label], c.suspects)) for c in classes)


def _worst(classes: Sequence[ClassSummary]) -> tuple[ClassSummary, ...]:
    affected = [c for c in classes if c.assessed and c.suspects and not math.isnan(c.estimated_noise_rate)]
    affected.sort(key=lambda c: (-c.estimated_noise_rate, -c.suspects, c.label))
    return tuple(affected[:SHOWN])


def _confused_pairs(summary: Mapping[str, Any]) -> tuple[ConfusedPair, ...]:
    entries = [mapping(entry) for entry in (summary.get("confused_pairs") or ())[:SHOWN]]
    return tuple(
        ConfusedPair(str(e.get("given")), str(e.get("suggested")), count(e, "count")) for e in entries
    )
