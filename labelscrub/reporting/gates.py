"""The limits of `labelscrub check`, and how a run stands to each."""

from __future__ import annotations

from dataclasses import dataclass

from labelscrub.errors import UsageError
from labelscrub.records import Calibration
from labelscrub.reporting.text import counted


@dataclass(frozen=True)
class Gate:
    """One limit and how the run stands to it."""

    name: str
    """The option that set it: "max-rate", "max-suspects" or "max-noise-rate"."""
    limit: float
    value: float
    """What the limit is held against; of the noise rate the lower end of its interval."""
    passed: bool
    """value <= limit."""
    shown: tuple[str, str]
    """Value and limit for people, with the digits it takes to tell them apart."""
    sentence: str


def require_gate(max_rate: float | None, max_suspects: int | None, max_noise_rate: float | None) -> None:
    """Raise UsageError where there is no limit, or one that makes no sense. Call it before a long run."""
    if max_rate is None and max_suspects is None and max_noise_rate is None:
        raise UsageError(
            "check has no limit to hold the run against",
            "give --max-rate (share of labels, such as 0.03), --max-suspects (a count), --max-noise-rate "
            "(share, of a run with --method calibrated), or several",
        )
    for name, rate in (("--max-rate", max_rate), ("--max-noise-rate", max_noise_rate)):
        if rate is not None and not 0 <= rate <= 1:
            raise UsageError(f"{name} must be between 0 and 1, not {rate}", "3 % is 0.03")
    if max_suspects is not None and max_suspects < 0:
        raise UsageError(f"--max-suspects must be at least 0, not {max_suspects}")


def rate_gate(suspects: int, used: int, limit: float) -> Gate:
    """The share of suspect labels."""
    rate = suspects / used
    shown = _told_apart(rate, limit)
    passed = rate <= limit
    within = f"{_within(passed)} the limit of {shown[1]}"
    sentence = f"{suspects:,} of {counted(used, 'label')} are suspect: {shown[0]}, {within}"
    return Gate("max-rate", limit, rate, passed, shown, sentence)


def count_gate(suspects: int, limit: int) -> Gate:
    """The number of suspects."""
    passed = suspects <= limit
    sentence = f"{counted(suspects, 'suspect')}, {_within(passed)} the limit of {limit:,}"
    return Gate("max-suspects", limit, suspects, passed, (f"{suspects:,}", f"{limit:,}"), sentence)


def noise_rate_gate(calibration: Calibration, limit: float) -> Gate:
    """The noise rate, by the lower end of its interval: a gate that stops others must be right when it fails.

    The upper end is what to look at by eye: it also grows with little data or a weak network.
    """
    c = calibration
    shown, of = _told_apart(c.low, limit)
    rate, low, high = (_three_digits(share) for share in (c.noise_rate, c.low, c.high))
    passed = c.low <= limit
    sentence = (
        f"estimated noise rate {rate} ({low} to {high}): {'its' if passed else 'even its'} lower end {shown} "
        f"is {_within(passed)} the limit of {of}"
    )
    if passed and c.high > limit:
        sentence += ", its upper end is not"
    return Gate("max-noise-rate", limit, c.low, passed, (f"{shown} (lower end)", of), sentence)


def _within(passed: bool) -> str:
    return "within" if passed else "over"


def _told_apart(rate: float, limit: float) -> tuple[str, str]:
    """Both as percentages, with the digits it takes to see which is larger."""
    for digits in range(3, 17):
        shown = f"{100 * rate:.{digits}g} %", f"{100 * limit:.{digits}g} %"
        if shown[0] != shown[1]:
            break
    return shown if rate != limit else (_three_digits(rate), _three_digits(limit))


def _three_digits(share: float) -> str:
    return f"{100 * share:.3g} %"
