"""Figures of a stored run that a verdict may rest on: each is checked as it is read, none is guessed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labelscrub.config import parse_aim
from labelscrub.errors import DataError, ModelError, UsageError
from labelscrub.records import Calibration


def mapping(value: Any) -> Mapping[str, Any]:
    """An object of figures."""
    if not isinstance(value, Mapping):
        raise untrusted("no figures")
    return value


def count(summary: Mapping[str, Any], name: str) -> int:
    """A whole number from 0."""
    value = summary.get(name)
    if type(value) is not int or value < 0:
        raise untrusted(f"'{name}' is {value!r}")
    return value


def share(summary: Mapping[str, Any], name: str) -> float:
    """A number in 0..1."""
    value = summary.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:  # nor NaN
        raise untrusted(f"'{name}' is {value!r}")
    return float(value)


def untrusted(what: str) -> ModelError:
    """The error for figures that are not what a run writes."""
    return ModelError(
        f"the run's summary can't be trusted: {what}",
        "run `labelscrub detect` again; a gate never passes on it",
    )


def share_or_nan(entry: Mapping[str, Any], name: str) -> float:
    """A share that may be unknown, which is null in run.json; a quotient of sums may round to above 1."""
    value = entry.get(name)
    if value is None:
        return math.nan
    return 1.0 if isinstance(value, float) and 1 < value < 1 + 1e-9 else share(entry, name)


def calibration_of(summary: Mapping[str, Any]) -> Calibration | None:
    """What `--method calibrated` said of a stored run; None where the run is of another method, or older.

    Without the transition matrix, which no verdict reads.
    """
    if summary.get("calibration") is None:
        return None
    c = mapping(summary["calibration"])
    rate, low, high = (share(c, name) for name in ("noise_rate", "low", "high"))
    if not low <= rate <= high:
        raise untrusted(f"the noise rate {rate} is outside its interval, {low} to {high}")
    aim = str(c.get("aim"))
    try:
        parse_aim(aim)
    except UsageError:
        raise untrusted(f"'aim' is {aim!r}") from None
    return Calibration(
        images=count(c, "images"),
        noise_rate=rate,
        low=low,
        high=high,
        aim=aim,
        cut=share_or_nan(c, "cut"),
        expected_precision=share_or_nan(c, "expected_precision"),
        expected_recall=share_or_nan(c, "expected_recall"),
        expected_f1=share_or_nan(c, "expected_f1"),
        transition=(),
    )


def count_relisted(path: Path) -> int:
    """Rows of a report.parquet that list a used file again, but under another label.

    Such a row is skipped, so its contradiction is no conflict among the used images.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    names = ["row", "status", "same_as", "given_label"]
    try:
        table = pq.read_table(path, columns=names, page_checksum_verification=True)
        again = table.filter(pc.is_valid(table["same_as"]))
        wanted = pc.is_in(table["row"], value_set=again["same_as"])
        first = table.filter(pc.and_(wanted, pc.equal(table["status"], "used")))
        label_of = dict(zip(*(first[name].to_pylist() for name in ("row", "given_label")), strict=True))
        pairs = zip(*(again[name].to_pylist() for name in ("same_as", "given_label")), strict=True)
        return sum(label != label_of.get(row, label) for row, label in pairs)
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        cause = f"{path} is damaged: {' '.join(str(error).split())[:200]}"
        raise DataError(cause, "run the same detect command again: it writes the report anew") from error
