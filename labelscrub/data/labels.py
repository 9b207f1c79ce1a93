"""From label texts to class indices: every text as it is written, nothing merged, no ids, no lists."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from labelscrub.config import SourceSettings, path_or_none
from labelscrub.data.rows import LabelCodes
from labelscrub.errors import DataError, UsageError

ID_SHARE = 0.5
"""More classes than this share of the images: the labels are ids."""
ID_ROWS = 20
"""Fewer images than this are too few to say so."""
_MANY_NUMBERS = 20  # different labels like 0.25 and 3.5: measurements, not classes
_LIST_SEPARATORS = re.compile(r"[|;]|,")
_SHOWN_PAIRS = 5


def class_indices(
    labels: LabelCodes, settings: SourceSettings, class_names: tuple[str, ...] | None, where: str
) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    """The class names (K,) and each row's index into them (R,), -1 where there is no label.

    The names are those of `--classes`, else of the schema, else the labels sorted as text. Names that
    somebody listed are classes whatever they look like.
    """
    names = labels.names()
    classes = read_classes(settings) or class_names
    if classes is None:
        labelled = int(np.count_nonzero(np.frombuffer(labels.codes, np.int32) >= 0)) if labels.codes else 0
        reject_ids(len(names), labelled, has_columns=True)
        _reject_lists(names, labels.first_rows, where)
        _reject_numbers(names, labelled, where)
        classes = tuple(sorted(names))
    place = {name: index for index, name in enumerate(classes)}
    for name, row in zip(names, labels.first_rows, strict=True):
        if name not in place:
            raise DataError(
                f"{where}, row {row}: label {shorten(name)} is not in {settings.classes}",
                "add it to the class list or correct the row",
            )
    # one more slot, so that code -1 finds index -1 there
    table = np.array([*(place[name] for name in names), -1], np.int32)
    return classes, table[np.array(labels.codes, np.int32)]


def read_classes(settings: SourceSettings) -> tuple[str, ...] | None:
    """The names in the file of `--classes`, one a line, or None without the option."""
    path = path_or_none(settings.classes)
    if path is None:
        return None
    try:
        if not path.is_file():
            raise UsageError(f"--classes {path}: no such file", "name a text file with one class name a line")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"--classes {path}: {error}", "name a UTF-8 text file with one class name a line"
        ) from error
    names = tuple(line for line in re.split(r"\r\n|\r|\n", text) if line)
    if not names:
        raise UsageError(f"--classes {path}: no class names in it", "write one class name a line")
    for name, count in Counter(names).items():
        if count > 1:
            raise UsageError(
                f"--classes {path}: {shorten(name)} is listed {count} times", "list every class once"
            )
    return names


def reject_ids(classes: int, images: int, *, has_columns: bool) -> None:
    """Refuse data in which nearly every image has its own class (`classes` that occur among `images`).

    has_columns: whether the labels are one of a table's columns, so that another could be meant.
    """
    if images >= ID_ROWS and classes > ID_SHARE * images:
        raise DataError(
            f"{classes:,} different labels on {images:,} images: these look like ids, not classes",
            ("name the column with the labels (--label-column), or " if has_columns else "")
            + "list the true classes with --classes FILE",
        )


def similar_names(classes: Sequence[str]) -> tuple[str, ...]:
    """A note on classes whose names differ only by case, space, Unicode form or invisible characters."""
    alike: dict[str, list[str]] = {}
    for name in classes:
        alike.setdefault(_core(name), []).append(name)
    pairs = [
        f"{visible(a)} and {visible(b)}" for group in alike.values() for a, b in itertools.pairwise(group)
    ]
    if not pairs:
        return ()
    more = f" and {len(pairs) - _SHOWN_PAIRS} more pairs" if len(pairs) > _SHOWN_PAIRS else ""
    return (f"class names that are nearly the same, kept apart: {'; '.join(pairs[:_SHOWN_PAIRS])}{more}",)


def visible(text: str) -> str:
    """Text in quotes with everything that cannot be seen escaped, shortened: 'cat\\u200b'."""
    composed = unicodedata.is_normalized("NFC", text)
    return shorten(text) if composed else ascii(text if len(text) <= 60 else text[:57] + "...")


def shorten(text: str) -> str:
    """Text in quotes, at most about 60 characters of it."""
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _core(name: str) -> str:
    """What is left of a name without the differences that people don't see."""
    plain = unicodedata.normalize("NFC", name)
    seen = "".join(c for c in plain if unicodedata.category(c) != "Cf")
    return " ".join(seen.split()).casefold()


def _reject_lists(names: Sequence[str], first_rows: Sequence[int], where: str) -> None:
    """Refuse labels such as "a,b" or "a|b" whose parts are labels too, and such as "['a', 'b']".

    After ", " with a space every part must be met elsewhere: ImageNet's "projectile, missile" is one class.
    """
    parts = [[part.strip() for part in _LIST_SEPARATORS.split(name)] for name in names]
    met = Counter(part for several in parts for part in set(several))
    for name, several, row in zip(names, parts, first_rows, strict=True):
        bracketed = name.strip().startswith("[") and name.strip().endswith("]")
        elsewhere = [met[part] > 1 for part in several if part]
        prose = ", " in name and not re.search(r"[|;]", name)
        listed = len(elsewhere) > 1 and (all(elsewhere) if prose else any(elsewhere))
        if bracketed or listed:
            raise DataError(
                f"{where}, row {row}: label {shorten(name)} looks like a list; single-label data only",
                "give one label an image, or list the classes as they are with --classes FILE",
            )


def _reject_numbers(names: Sequence[str], images: int, where: str) -> None:
    """Refuse labels that are all numbers, some of them broken, and too many to be classes."""
    if len(names) < 2 or not (len(names) > _MANY_NUMBERS or len(names) > ID_SHARE * images):
        return
    try:
        numbers = [float(name) for name in names]
    except ValueError:
        return
    if any(not number.is_integer() for number in numbers):
        raise DataError(
            f"{where}: the labels are {len(names)} different decimal numbers such as {shorten(names[0])}; "
            "single-label classes only",
            "name the column with the classes with --label-column, or list the classes with --classes FILE",
        )
