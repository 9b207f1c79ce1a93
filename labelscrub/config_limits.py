"""The limits of `labelscrub check`: default, range and help once, as config.py has them of settings."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from labelscrub.config import check_value, setting
from labelscrub.errors import UsageError

ON_SUSPECTS = ("max_rate", "max_suspects", "max_per_class")
"""Limits on the list of suspects; with a baseline on the new ones of it."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a run is held against. `None` is no limit; names differ from those of all settings."""

    max_rate: float | None = setting(
        None, "Largest share of suspect labels that passes.", low=0, high=1, shown="none"
    )
    max_suspects: int | None = setting(None, "Largest number of suspects that passes.", low=0, shown="none")
    max_noise_rate: float | None = setting(
        None,
        "With --method calibrated: largest share of wrong labels that passes. Fails only where the whole "
        "95 % interval is above it.",
        low=0,
        high=1,
        shown="none",
    )
    max_per_class: float | None = setting(
        None, "Largest share of suspect labels in any one class that passes.", low=0, high=1, shown="none"
    )
    fail_on_conflicting_duplicates: bool = setting(
        False, "Fail where the same image is listed under different labels."
    )
    fail_on_unreadable: bool = setting(False, "Fail where a listed image is missing or can't be read.")
    baseline: str | None = setting(
        None,
        "File of known suspects and what people decided about them: only new ones count. By itself it is the "
        "limit: no new suspect passes.",
        shown="none",
    )

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            try:
                check_value(field, value)
            except UsageError as error:
                a_share = field.metadata["high"] == 1 and isinstance(value, int | float)
                raise UsageError(
                    error.cause, "it is a share: 3 % is 0.03" if a_share else error.fix
                ) from None
        if self.baseline == "":
            raise UsageError("--baseline has no file name", "is the variable set that it comes from?")

    def given(self) -> dict[str, Any]:
        """Those that limit anything, by name."""
        return {name: value for name, value in vars(self).items() if value is not None and value is not False}

    @property
    def baseline_decides(self) -> bool:
        """Whether the baseline is itself the limit on the list of suspects: there is no other one."""
        return self.baseline is not None and all(getattr(self, name) is None for name in ON_SUSPECTS)


def all_limits() -> dict[str, dataclasses.Field[Any]]:
    """Every limit's field by its name."""
    return {field.name: field for field in dataclasses.fields(Limits)}
