"""Text that survives every output: names may hold bytes that are not UTF-8, control characters, or markup."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from labelscrub.records import Calibration

_SURROGATE = re.compile("[\ud800-\udfff]")
# C0, C1, line and paragraph separators, and the marks that reverse the reading direction of what follows;
# and what makes a command of a line of a CI log: "##[" anywhere in it, "::" where it begins.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
    r"|(?<=#)#(?=\[)|(?<!\S):(?=:)"
)
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def printable(text: str) -> str:
    r"""Text that encodes as UTF-8: a byte of a name that is not UTF-8 becomes \xe9, as Python shows it."""
    return text if text.isascii() else _SURROGATE.sub(_escape, text)


def one_line(text: str) -> str:
    """Text that stays on its line, sends a terminal nothing but characters, and a CI server no command."""
    return _UNSEEN.sub(_escape, text)


def inert(document: str) -> str:
    """JSON that means the same without the "##[" that GitHub's runner obeys wherever it stands in a line."""
    return document.replace("##[", r"#\u0023[")


def _escape(match: re.Match[str]) -> str:
    char = match.group()
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # os.fsdecode's mark for a single undecodable byte
        return f"\\x{code - 0xDC00:02x}"
    return _SHORT.get(char) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def percent(share: float) -> str:
    """A share of 0..1 for people: 0.0312 -> "3.1 %"; one that is tiny but not zero never reads "0 %"."""
    if 0 < share < 0.0005:
        return "under 0.1 %"
    return f"{100 * share:.1f} %".replace(".0 %", " %")


def shortened(text: str, most: int) -> str:
    """Text of at most so many characters; what is cut off is marked."""
    return text if len(text) <= most else text[: most - 1] + "…"


def counted(count: int, noun: str) -> str:
    """A number and its noun: 1 -> "1 suspect", 1200 -> "1,200 suspects", 2 -> "2 classes"."""
    return f"{count:,} {noun}" + ("" if count == 1 else "es" if noun.endswith("s") else "s")


def whole_percent(share: float) -> str:
    """An estimated share in whole percent: 0.923 -> "92 %"; never "0 %" or "100 %" of what is neither."""
    if 0 < share <= 0.005:
        return "under 1 %"
    return "over 99 %" if 0.995 <= share < 1 else f"{100 * share:.0f} %"


def suspects_sentence(suspects: int, used: int, calibration: Calibration | None = None) -> str:
    """The one sentence that page and verdict begin with."""
    if not used:
        return "labelscrub could use none of the listed images."
    if calibration is not None:
        sentence = calibrated_sentence(calibration, suspects, used)
        return f"{sentence[0].upper()}{sentence[1:]}."
    if not suspects:
        return f"labelscrub suspects none of {counted(used, 'label')}."
    return f"labelscrub suspects {suspects:,} of {counted(used, 'label')} ({percent(suspects / used)})."


def calibrated_sentence(calibration: Calibration, suspects: int, used: int) -> str:
    """How many labels are wrong, and what the list holds of them; without a capital and a full stop.

    about 1,930 (1,870 to 1,990) of 10,000 labels are wrong; the 2,003 listed are expected to hold 92 % of
    them, and 92 % of those listed to be wrong (cut for precision 0.9)
    """
    aim = "" if calibration.aim == "f1" else f" (cut for {one_line(calibration.aim).replace('=', ' ')})"
    return f"{_wrong(calibration, used)}; {_listed(calibration, suspects)}{aim}"


def _wrong(c: Calibration, used: int) -> str:
    """How many labels are wrong: figures of more than two digits of the interval's width would be made up."""
    of = counted(c.images, "label" if c.images == used else "assessed label")
    if not all(map(math.isfinite, (c.noise_rate, c.low, c.high))):
        return f"how many of {of} are wrong is not known"
    low, high = c.interval
    digits = len(str(min(high - low, 10 * c.wrong))) - 2
    wrong, low, high = (round(n, -max(digits, 0)) for n in (c.wrong, low, high))
    if not wrong:
        return f"none of {of} is expected to be wrong ({low:,} to {high:,})"
    return f"about {wrong:,} ({low:,} to {high:,}) of {of} {'is' if wrong == 1 else 'are'} wrong"


def _listed(c: Calibration, suspects: int) -> str:
    if not suspects:
        return "none is listed"
    one = suspects == 1
    if math.isnan(c.expected_precision):  # nothing passed the cut
        copies = "one listed is a copy of an image" if one else f"{suspects:,} listed are copies of images"
        return f"the {copies} with another label"
    precision = whole_percent(c.expected_precision)
    if math.isnan(c.expected_recall):  # nothing is wrong
        wrong = f"is wrong with probability {precision}"
        return f"the one listed {wrong}" if one else f"each of the {suspects:,} listed {wrong}"
    held = f"{whole_percent(c.expected_recall)} of {'them' if c.wrong > 1 else 'what is wrong'}"
    if one:
        return f"the one listed is expected to hold {held}, and is wrong with probability {precision}"
    return f"the {suspects:,} listed are expected to hold {held}, and {precision} of those listed to be wrong"


def calibration_figures(calibration: Calibration) -> str:
    """The figures behind `calibrated_sentence`, the expected F1 among them."""
    c = calibration
    rate = f"estimated noise rate {known(c.noise_rate, percent)} (95 % interval {noise_interval(c)})"
    quality = expected_quality(c)
    return f"{rate}; expected {quality}" if quality else rate


def noise_interval(calibration: Calibration) -> str:
    """The noise rate's interval as shares: "18.7 % to 19.9 %"."""
    low, high = calibration.low, calibration.high
    return f"{percent(low)} to {percent(high)}" if math.isfinite(low + high) else "not known"


def expected_quality(calibration: Calibration) -> str:
    """What is expected of the list, as far as it is known: "precision 92 %, recall 92 %, F1 92 %"."""
    c = calibration
    shares = ("precision", c.expected_precision), ("recall", c.expected_recall), ("F1", c.expected_f1)
    return ", ".join(f"{name} {whole_percent(share)}" for name, share in shares if math.isfinite(share))


def error_share(probability: float) -> str:
    """An image's error probability, which is never certain: 0.997 -> ">99 %"; NaN is not assessed."""
    if math.isnan(probability):
        return "-"
    if not 0.005 < probability < 0.995:
        return "<1 %" if probability < 0.5 else ">99 %"
    return f"{100 * probability:.0f} %"


def known(share: float, shown: Callable[[float], str]) -> str:
    """A share, or that it is not known."""
    return shown(share) if math.isfinite(share) else "not known"
