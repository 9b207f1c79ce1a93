"""`check`: a verdict on a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelscrub.errors import UsageError

if TYPE_CHECKING:
    from labelscrub.reporting.verdict import Verdict


def check(
    source: str | Path,
    *,
    max_rate: float | None = None,
    max_suspects: int | None = None,
    max_noise_rate: float | None = None,
    **detect_arguments: Any,
) -> Verdict:
    """Judge a stored run, or a source after running `detect` on it; what `labelscrub check` does.

    Args:
        source: a run directory, or anything that `detect` takes.
        max_rate: largest share of suspect labels that passes, 0..1.
        max_suspects: largest number of suspects that passes.
        max_noise_rate: largest share of wrong labels that passes, 0..1, of a run with `--method calibrated`:
            the lower end of its 95 % interval is held against it, so it fails only where the run is sure.
        detect_arguments: passed on to `detect` where `source` is no run.
    Raises:
        UsageError: no gate given, nothing there to judge, a run that has not ended, or one without the
            interval that a gate needs.
        ModelError: figures that can't be trusted.
    """
    from labelscrub.reporting.gates import require_gate
    from labelscrub.reporting.run_json import parse_run_json
    from labelscrub.reporting.verdict import judge
    from labelscrub.store import is_run, read_run

    require_gate(max_rate, max_suspects, max_noise_rate)
    folder = Path(source)
    if not is_run(folder):
        if not folder.exists() and "://" not in str(source):
            raise UsageError(f"there is no run or source {source}", "run `labelscrub detect` first")
        settings = detect_arguments.get("settings")
        method = settings.detection.method if settings else detect_arguments.get("method")
        if max_noise_rate is not None and method != "calibrated":
            raise UsageError(
                "--max-noise-rate needs the interval that --method calibrated estimates",
                "add --method calibrated, or gate with --max-rate",
            )
        from labelscrub.pipeline.finding import detect

        report = detect(source, **detect_arguments)
        assert report.out is not None
        folder = report.out
    run = parse_run_json(read_run(folder))
    return judge(
        {**run, "out": str(folder)},
        max_rate=max_rate,
        max_suspects=max_suspects,
        max_noise_rate=max_noise_rate,
    )
