"""Text that survives every output: names may hold bytes that are not UTF-8, control characters, or markup."""

from __future__ import annotations

import re

_SURROGATE = re.compile("[\ud800-\udfff]")
# C0, C1, line and paragraph separators, and the marks that reverse the reading direction of what follows.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def printable(text: str) -> str:
    r"""Text that encodes as UTF-8: a byte of a name that is not UTF-8 becomes \xe9, as Python shows it."""
    return text if text.isascii() else _SURROGATE.sub(_escape, text)


def one_line(text: str) -> str:
    """Text that stays on its line and sends a terminal nothing but characters."""
    return _UNSEEN.sub(_escape, text)


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


def counted(count: int, noun: str) -> str:
    """A number and its noun: 1 -> "1 suspect", 1200 -> "1,200 suspects"."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def suspects_sentence(suspects: int, used: int) -> str:
    """The one sentence that page and verdict begin with."""
    if not used:
        return "labelscrub could use none of the listed images."
    if not suspects:
        return f"labelscrub suspects none of {counted(used, 'label')}."
    return f"labelscrub suspects {suspects:,} of {counted(used, 'label')} ({percent(suspects / used)})."
