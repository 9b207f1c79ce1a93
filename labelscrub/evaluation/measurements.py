"""`bench speed` and `bench scale` by name; an option that would change nothing is refused."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from labelscrub.config import Settings, SourceSettings, flag
from labelscrub.errors import UsageError
from labelscrub.evaluation.bench import Changes
from labelscrub.evaluation.loading import DataOptions
from labelscrub.records import Progress, silent

if TYPE_CHECKING:
    from labelscrub.evaluation.measured import Measured

SPEED_SETTINGS = {
    *SourceSettings.__dataclass_fields__,
    *("folds", "epochs", "batch_size", "lr", "network", "image_size", "device", "precision", "seed"),
}
NO_OPTIONS = {"loss", "gamma", "cutoff", "q", "alpha", "beta", "l1", "method", "aim", "score"}
"""Settings that `bench` does not offer: where a file has them, they are for other commands."""


def measure(
    name: str,  # of `experiments.MEASUREMENTS`
    *,
    out: Path,
    data: DataOptions,
    changes: Changes,
    parts: str | None,
    settings: Settings,
    resume: bool = True,
    progress: Progress = silent,
) -> Measured:
    """Measure what is not stored, and write the results.

    Raises:
        UsageError, DataError, EnvironmentProblem: as `speed` and `scale`, or for an option without effect.
    """
    _reject_unused(name, data, changes, parts, settings)
    if name == "speed":
        from labelscrub.evaluation.speed import speed

        return speed(
            out=out,
            data=data,
            rates=changes.rates,
            trials=changes.trials,
            settings=settings,
            resume=resume,
            progress=progress,
        )
    from labelscrub.evaluation.scale import parse_parts, scale
    from labelscrub.evaluation.scale_stages import STAGES

    return scale(
        out=out,
        parts=tuple(STAGES) if parts is None else parse_parts(parts),
        limit=data.limit,
        trials=changes.trials,
        workers=data.workers,
        resume=resume,
        progress=progress,
    )


def _reject_unused(
    name: str, data: DataOptions, changes: Changes, parts: str | None, settings: Settings
) -> None:
    """UsageError for the first option that would have no effect."""
    given: dict[str, object] = {
        "--losses": changes.losses,
        "--delays": changes.delays,
        "--noise": changes.noise,
        "--truth": data.truth,
        "--given": data.given,
        "--train-on": data.train_on,
        "--cache-dir": data.cache,
    }
    if name == "speed":
        given["--parts"] = parts
    else:
        given |= {"--data": data.names or None, "--data-root": data.root, "--rates": changes.rates}
    default, takes = Settings().flat(), SPEED_SETTINGS if name == "speed" else set()
    given |= {
        flag(setting): value
        for setting, value in settings.flat().items()
        if value != default[setting] and setting not in takes | NO_OPTIONS
    }
    for option, value in given.items():
        if value is not None:
            raise UsageError(f"{option} has no effect on {name}", "leave it out")
