"""Small Reports with everything odd in them, made by plain rules: no training, no files."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from labelscrub.records import (
    Calibration,
    ClassSummary,
    ConfusedPair,
    Findings,
    Manifest,
    Report,
    Skipped,
    Summary,
)

HOSTILE = (
    "</script><img src=x onerror=alert(1)>",
    "=cmd|' /C calc'!A0",
    "+1",
    "-dash",
    "@sum",
    "\ttab",
    "\rcr",
    "new\nline, \"quoted\" and 'single'",
    "caf\udce9.jpg",
    "lone \ud800 surrogate",
    "\u202egnp.exe",
    "line\u2028sep\u2029end",
    "[/red]{{$x}}${title}",
    "|a`b<c|",
    "<!--",
    "nul\x00 esc\x1b[31m",
    "tail'",
)


def calibration(**figures: object) -> Calibration:
    """What the sentence of issue and README says."""
    return Calibration(
        **{
            "images": 10_000,
            "noise_rate": 0.1931,
            "low": 0.1874,
            "high": 0.1993,
            "aim": "f1",
            "cut": 0.5,
            "expected_precision": 0.92,
            "expected_recall": 0.924,
            "expected_f1": 0.922,
            "transition": ((0.9, 0.1, 0.0), (0.25, 0.75, 0.0), (np.nan,) * 3),
            **figures,
        }
    )


def make_report(
    *,
    classes: Sequence[str] = ("cat", "dog", "ship"),
    paths: Sequence[str] | None = None,
    used: int = 12,
    suspects: int = 5,
    conflicts: int = 2,
    skipped: int = 3,
    settings: dict[str, object] | None = None,
    provenance: dict[str, object] | None = None,
    calibrated: Calibration | None = None,
) -> Report:
    """`used` images after `skipped` unusable rows; the first `suspects` of a falling score are suspects.

    `conflicts` images, of the other end of the list, are one group of same bytes. Where `calibrated`, error
    probabilities are the scores, and the last image, a conflict, was not assessed.
    """
    n, k, listed = used, len(classes), used + skipped
    names = list(paths) if paths is not None else [f"img/{row:04d}.png" for row in range(listed)]
    assert len(names) == listed
    index = np.arange(n)
    given = (index % k).astype(np.int32)
    is_suspect = index < suspects
    conflict = np.where(index >= n - conflicts, 1, 0).astype(np.int64)
    suggested = np.where(is_suspect, (given + 1) % k, given).astype(np.int32)
    score = np.linspace(0.99, 0.01, n) if n else np.empty(0)
    by_importance = sorted(index.tolist(), key=lambda i: (conflict[i] == 0, not is_suspect[i], -score[i]))
    rank = np.empty(n, np.int64)
    rank[by_importance] = np.arange(1, n + 1)
    digests = [hashlib.sha256(b"same" if conflict[i] else str(i).encode()).digest() for i in index]
    error_probability = np.where(index == n - 1, np.nan, score) if calibrated else np.full(n, np.nan)
    findings = Findings(
        rank=rank,
        given=given,
        suggested=suggested,
        is_suspect=is_suspect,
        by_class=is_suspect,
        by_noise_rate=is_suspect,
        score=score,
        self_confidence=(1 - score).astype(np.float32),
        normalized_margin=(1 - 2 * score).astype(np.float32),
        aum=np.where(index % 2 == 0, -1.5 * score, np.nan).astype(np.float32),
        error_probability=error_probability.astype(np.float32),
        fold=(index % 5).astype(np.int16),
        assessed=np.ones(n, bool),
        conflict=conflict,
        why=tuple(
            f"0.97 {classes[suggested[i]]}, 0.01 {classes[given[i]]}" if is_suspect[i] else "" for i in index
        ),
    )
    kinds = ("unreadable", "missing", "skipped")
    unusable = tuple(Skipped(r, names[r], kinds[r % 3], f"reason {r % 3}") for r in range(skipped))
    labels = np.concatenate([np.full(skipped, -1), given]).astype(np.int32)
    manifest = Manifest(
        source=Path("some/animals"),
        kind="folder",
        root=Path("some/animals"),
        classes=tuple(classes),
        paths=names,
        files=names,
        labels=labels,
        skipped=unusable,
    )
    return Report(
        manifest=manifest,
        rows=np.arange(skipped, listed),
        sha256=np.frombuffer(b"".join(digests), np.uint8).reshape(n, 32),
        findings=findings,
        skipped=unusable,
        summary=replace(_summary(findings, unusable, tuple(classes)), calibration=calibrated),
        settings={"loss": "pz", "gamma": None, "folds": 5} if settings is None else settings,
        provenance={"versions": {"torch": "2.13"}, "times": {"train": 1.5}}
        if provenance is None
        else provenance,
    )


def _summary(findings: Findings, unusable: tuple[Skipped, ...], classes: tuple[str, ...]) -> Summary:
    kinds = [s.kind for s in unusable]
    reasons = [s.reason for s in unusable]
    pairs: dict[tuple[int, int], int] = {}
    for i in np.flatnonzero(findings.is_suspect):
        pair = int(findings.given[i]), int(findings.suggested[i])
        pairs[pair] = pairs.get(pair, 0) + 1
    per_class = []
    for c, label in enumerate(classes):
        mine = findings.given == c
        flagged = int((mine & findings.is_suspect).sum())
        rate = flagged / max(int(mine.sum()), 1)
        per_class.append(ClassSummary(label, int(mine.sum()), flagged, 1 - rate, rate, assessed=True))
    return Summary(
        listed=len(findings) + len(unusable),
        used=len(findings),
        unreadable=kinds.count("unreadable"),
        missing=kinds.count("missing"),
        skipped=kinds.count("skipped"),
        reasons={reason: reasons.count(reason) for reason in reasons},
        suspects=int(findings.is_suspect.sum()),
        conflicts=int((findings.conflict > 0).sum()),
        estimated_noise_rate=0.125,
        accuracy=0.875,
        classes=tuple(per_class),
        confused_pairs=tuple(
            ConfusedPair(classes[g], classes[s], count)
            for (g, s), count in sorted(pairs.items(), key=lambda item: (-item[1], item[0]))
        ),
        not_assessed=(),
        notes=("2 hidden files ignored",),
    )
