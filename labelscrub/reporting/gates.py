"""The limits of `labelscrub check`, and how a run stands to each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from labelscrub.config_limits import Limits
from labelscrub.errors import UsageError
from labelscrub.records import Calibration, ClassSummary
from labelscrub.reporting.text import counted, one_line, shortened
from labelscrub.reporting.trusted import untrusted


@dataclass(frozen=True)
class Gate:
    """One limit and how the run stands to it."""

    name: str
    """The option that set it, without its dashes: "max-rate", "fail-on-unreadable", "baseline"."""
    limit: float
    value: float
    """What the limit is held against; of the noise rate the lower end of its interval."""
    passed: bool
    """value <= limit."""
    shown: tuple[str, str]
    """Value and limit for people, with the digits it takes to tell them apart."""
    sentence: str
    """One line for people, names in it made printable."""


def require_limit(limits: Limits) -> None:
    """UsageError where nothing is limited. Call it before a long run."""
    if not limits.given():
        raise UsageError(
            "check has no limit to hold the run against",
            "give --max-rate (share of labels, such as 0.03), --max-suspects (a count), --max-per-class "
            "(share in any class), --max-noise-rate (share, of a run with --method calibrated), "
            "--fail-on-conflicting-duplicates, --fail-on-unreadable, --baseline FILE, or several",
        )


def rate_gate(suspects: int, used: int, limit: float, *, new: bool = False) -> Gate:
    """The share of suspect labels; `new`: those that a baseline does not know."""
    shown, passed, within = _against(suspects / used, limit)
    sentence = f"{suspects:,} of {counted(used, 'label')} are {_suspect(new)}: {shown[0]}, {within}"
    return Gate("max-rate", limit, suspects / used, passed, shown, sentence)


def count_gate(suspects: int, limit: int, *, new: bool = False) -> Gate:
    """The number of suspects."""
    passed = suspects <= limit
    noun = "new suspect" if new else "suspect"
    sentence = f"{counted(suspects, noun)}, {_within(passed)} the limit of {limit:,}"
    return Gate("max-suspects", limit, suspects, passed, (f"{suspects:,}", f"{limit:,}"), sentence)


def class_gate(classes: Sequence[ClassSummary], limit: float, *, new: bool = False) -> Gate:
    """The largest share of suspects in any one class; `classes` have the suspects that count, in order."""
    assessed = [c for c in classes if c.assessed and c.images]
    if not assessed:
        raise untrusted("no class was assessed")
    worst = max(assessed, key=lambda c: (c.suspects / c.images, c.suspects))
    shown, passed, within = _against(worst.suspects / worst.images, limit)
    of = f"{counted(worst.images, 'label')} '{shortened(one_line(worst.label), 60)}'"
    sentence = f"{worst.suspects:,} of {of} are {_suspect(new)}: {shown[0]}, {within}"
    over = sum(c.suspects / c.images > limit for c in assessed)
    if over:
        sentence += f"; {over:,} of {counted(len(assessed), 'class')} {'is' if over == 1 else 'are'} over it"
    elif len(assessed) > 1:
        skipped = any(c.images and not c.assessed for c in classes)
        sentence += f", as are all other {'assessed ' if skipped else ''}classes"
    return Gate("max-per-class", limit, worst.suspects / worst.images, passed, shown, sentence)


def noise_rate_gate(calibration: Calibration, limit: float) -> Gate:
    """The noise rate, by the lower end of its interval: a gate that stops others must be right when it fails.

    The upper end is what to look at by eye: it also grows with little data or a weak network.
    """
    c = calibration
    shown, of = told_apart(c.low, limit)
    rate, low, high = (_three_digits(share) for share in (c.noise_rate, c.low, c.high))
    passed = c.low <= limit
    sentence = (
        f"estimated noise rate {rate} ({low} to {high}): {'its' if passed else 'even its'} lower end {shown} "
        f"is {_within(passed)} the limit of {of}"
    )
    if passed and c.high > limit:
        sentence += ", its upper end is not"
    return Gate("max-noise-rate", limit, c.low, passed, (f"{shown} (lower end)", of), sentence)


def duplicates_gate(images: int) -> Gate:
    """Rows whose image is listed again under another label: one of the labels is wrong for certain."""
    sentence = "no image is listed under different labels"
    if images:
        sentence = f"{counted(images, 'listed image')} with the bytes of one that has another label"
    return _none_allowed("fail-on-conflicting-duplicates", images, sentence)


def unreadable_gate(unreadable: int, missing: int) -> Gate:
    """Listed images that could not be looked at."""
    lost = unreadable + missing
    sentence = (
        f"{counted(lost, 'listed image')} can't be used: {unreadable:,} unreadable, {missing:,} missing"
    )
    if not lost:
        sentence = "all listed images are there and can be read"
    return _none_allowed("fail-on-unreadable", lost, sentence)


def baseline_gate(new: int) -> Gate:
    """No suspect that the baseline does not know."""
    sentence = f"{counted(new, 'suspect')} {'is' if new == 1 else 'are'} not in the baseline"
    return _none_allowed("baseline", new, sentence if new else "no suspect is new")


def _none_allowed(name: str, value: int, sentence: str) -> Gate:
    return Gate(name, 0, value, not value, (f"{value:,}", "0"), sentence)


def _suspect(new: bool) -> str:
    return "new suspects" if new else "suspect"


def _against(rate: float, limit: float) -> tuple[tuple[str, str], bool, str]:
    """A share and its limit for people, whether it passes, and that in words."""
    shown, passed = told_apart(rate, limit), rate <= limit
    return shown, passed, f"{_within(passed)} the limit of {shown[1]}"


def _within(passed: bool) -> str:
    return "within" if passed else "over"


def told_apart(rate: float, limit: float) -> tuple[str, str]:
    """Both as percentages, with the digits it takes to see which is larger."""
    for digits in range(3, 17):
        shown = f"{100 * rate:.{digits}g} %", f"{100 * limit:.{digits}g} %"
        if shown[0] != shown[1]:
            break
    return shown if rate != limit else (_three_digits(rate), _three_digits(limit))


def _three_digits(share: float) -> str:
    return f"{100 * share:.3g} %"
