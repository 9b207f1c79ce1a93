"""`check`: a verdict on a run."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelscrub.config_limits import Limits, all_limits
from labelscrub.errors import DataError, EnvironmentProblem, UsageError
from labelscrub.records import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from labelscrub.reporting.baseline import Entry, Key
    from labelscrub.reporting.verdict import Verdict
    from labelscrub.review_records import Decision, Suspect

QUICKLY_READ = 64 << 20  # bytes of a table that a verdict may wait for: a fraction of a second


def check(
    source: str | Path,
    *,
    limits: Limits | None = None,
    no_train: bool = False,
    update_baseline: bool = False,
    decisions: str | Path | None = None,
    with_listing: bool = False,
    progress: Progress = silent,
    **arguments: Any,
) -> Verdict:
    """Judge a stored run, or a source after running `detect` on it; what `labelscrub check` does.

    Args:
        source: a run directory, or anything that `detect` takes.
        limits: all limits at once, instead of single ones by name in `arguments`: `max_rate=0.03`.
        no_train: only judge a stored run; a source that is none is refused.
        update_baseline: write the suspects into the baseline, whose file may not be there yet, before they
            are held against it. What people decided about them stays.
        decisions: with `update_baseline`: decisions to put into it, in any form that `prune` takes too.
        with_listing: read the suspects also where no baseline needs them, for formats that point at them.
        arguments: limits by name, see labelscrub.config_limits; the others are passed on to `detect` where
            `source` is no run.
    Raises:
        UsageError: no limit given, nothing there to judge, a run that has not ended, one without the interval
            that a limit needs, or no baseline in the file.
        DataError: a damaged baseline, report or list of decisions.
        ModelError: figures that can't be trusted.
    """
    from labelscrub.reporting.gates import require_limit
    from labelscrub.reporting.run_json import parse_run_json
    from labelscrub.reporting.verdict import judge
    from labelscrub.store import is_run, read_run

    single = {name: arguments.pop(name) for name in all_limits() if name in arguments}
    if limits is not None and single:
        raise UsageError("give either limits or single ones, not both: " + ", ".join(single))
    limits = limits or Limits(**single)
    _require_baseline(limits, update_baseline, decisions)
    require_limit(limits)
    entries = _read_baseline(limits.baseline, str(source), update_baseline) if limits.baseline else None
    folder = Path(source)
    if not is_run(folder):
        folder = _detect(source, limits, no_train, {"progress": progress, **arguments})
    run = parse_run_json(read_run(folder))
    notes = _changed(run)
    listing = _listing(run, folder) if entries is not None or with_listing else None
    relisted = _relisted(run, folder) if limits.fail_on_conflicting_duplicates else 0
    if entries is None or listing is None:
        verdict = judge({**run, "out": str(folder)}, limits, listing=listing, relisted=relisted)
        return replace(verdict, notes=notes)

    from labelscrub.reporting import baseline

    updated = None
    if update_baseline:
        decided = _decisions(decisions, folder, run) if decisions is not None else ()
        before, entries = entries, baseline.update(baseline.decide(entries, decided, listing), listing)
        updated = len(entries.keys() - before.keys()), len(before.keys() - entries.keys())
    compared = baseline.compare(entries, listing)
    verdict = judge(
        {**run, "out": str(folder)}, limits, listing=listing, compared=compared, relisted=relisted
    )
    if any(not suspect.sha256 and suspect.path == str(suspect.row) for suspect in listing):
        notes += ("the baseline knows labels without images and paths by their row: rows put in shift them.",)
    if update_baseline:  # only now: a run that can't be trusted changes nothing
        _write_baseline(str(limits.baseline), entries)
    return replace(verdict, updated=updated, notes=notes)


def _require_baseline(limits: Limits, update_baseline: bool, decisions: str | Path | None) -> None:
    if update_baseline and limits.baseline is None:
        raise UsageError("--update-baseline needs --baseline FILE", "name the file to write")
    if decisions is None:
        return
    if not update_baseline:
        raise UsageError(
            "--decisions goes with --update-baseline",
            "add --baseline FILE --update-baseline, or leave it out",
        )
    if not Path(decisions).exists():  # noticed before a training
        fix = "save them from report.html, or decide with `labelscrub review`"
        raise UsageError(f"there are no decisions in {decisions}", fix)


def _decisions(decisions: str | Path, folder: Path, run: Mapping[str, Any]) -> tuple[Decision, ...]:
    """What people decided in the page, or in another tool, about the run in `folder`."""
    from labelscrub import curation
    from labelscrub.store import TABLE

    classes = [str(entry["label"]) for entry in run["summary"]["classes"]]
    table = curation.read_report(folder / TABLE)
    return curation.read_any_decisions(Path(decisions), table, classes).decisions


def _read_baseline(name: str, source: str, may_be_new: bool) -> Mapping[Key, Entry]:
    from labelscrub.reporting.baseline import parse_baseline

    path = Path(name).expanduser()
    try:
        if path.exists() and not path.is_file():
            raise UsageError(f"{name} is not a regular file", "name another file with --baseline")
        return parse_baseline(path.read_bytes(), name)
    except FileNotFoundError:
        if may_be_new:
            return {}
        fix = f"make one of what is known now: labelscrub check {source} --baseline {name} --update-baseline"
        raise UsageError(f"there is no baseline {name}", fix) from None
    except OSError as error:
        raise EnvironmentProblem(f"cannot read {name}: {error.strerror}", "make it readable") from error


def _write_baseline(name: str, entries: Mapping[Key, Entry]) -> None:
    from labelscrub.reporting.baseline import baseline_bytes
    from labelscrub.store import write_atomic

    path, data = Path(name).expanduser().resolve(), baseline_bytes(entries)
    if not path.exists() or path.read_bytes() != data:
        write_atomic(path, data)


def _detect(source: str | Path, limits: Limits, no_train: bool, arguments: dict[str, Any]) -> Path:
    """Run `detect` on what is no run; the run directory."""
    if not Path(source).exists() and "://" not in str(source):
        raise UsageError(f"there is no run or source {source}", "run `labelscrub detect` first")
    if no_train:
        raise UsageError(
            f"{source} is no run directory, and --no-train only judges a stored run",
            "name the run directory that `labelscrub detect` wrote, or leave out --no-train",
        )
    settings = arguments.get("settings")
    method = settings.detection.method if settings else arguments.get("method")
    if limits.max_noise_rate is not None and method != "calibrated":
        raise UsageError(
            "--max-noise-rate needs the interval that --method calibrated estimates",
            "add --method calibrated, or gate with --max-rate",
        )
    from labelscrub.pipeline.finding import detect

    report = detect(source, **arguments)
    assert report.out is not None
    return report.out


def _changed(run: Mapping[str, Any]) -> tuple[str, ...]:
    """A note that the labels have changed since the run, so far as that is quickly found out."""
    from labelscrub.reporting.places import places_of
    from labelscrub.reporting.text import counted, one_line
    from labelscrub.store import sha256_file

    places, changed = places_of(run), []
    for table, digest in zip(map(Path, places.tables), places.digests, strict=True):
        with contextlib.suppress(OSError, ValueError):  # gone, or never on this machine
            quick = table.is_file() and table.stat().st_size <= QUICKLY_READ
            if digest and quick and sha256_file(table) != digest:
                changed.append(table.name)
    if not changed:
        return ()
    more = f" and {counted(len(changed) - 1, 'more table')}" if len(changed) > 1 else ""
    return (f"{one_line(changed[0])}{more} changed since this run: run detect again.",)


def _listing(run: Mapping[str, Any], folder: Path) -> list[Suspect]:
    """The suspects and conflicting duplicates of a run."""
    from labelscrub.reporting.suspects import read_suspects

    return read_suspects(_report(run, folder))


def _relisted(run: Mapping[str, Any], folder: Path) -> int:
    """Rows that list a file again under another label; where no row was skipped there is none."""
    from labelscrub.reporting.trusted import count_relisted

    return count_relisted(_report(run, folder)) if run["summary"].get("skipped") else 0


def _report(run: Mapping[str, Any], folder: Path) -> Path:
    """The run's report.parquet, which must be the one it wrote."""
    from labelscrub.store import TABLE, sha256_file

    path, recorded = folder / TABLE, run.get("files")
    if not path.is_file():
        raise UsageError(f"there is no report in {folder}", "run `labelscrub detect` first")
    if not isinstance(recorded, dict) or recorded.get(TABLE) != sha256_file(path):
        raise DataError(
            f"{path} is not as the run wrote it: it was edited or damaged, or is of another run",
            "run the same detect command again: it writes the report anew",
        )
    return path
