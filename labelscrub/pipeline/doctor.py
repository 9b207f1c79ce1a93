"""`doctor`: is everything there that a run needs? Must itself survive whatever is broken."""

from __future__ import annotations

import json
import locale
import math
import os
import platform
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from labelscrub import __version__
from labelscrub.config_files import DEFAULT, PREFIX, origins, unknown_variables
from labelscrub.errors import LabelscrubError
from labelscrub.pipeline.installed import (
    GIB,
    LITTLE_MEMORY,
    Check,
    extras,
    packages,
    size,
    torch_and_device,
)
from labelscrub.pipeline.machine import count_cores, measure_disk, measure_memory
from labelscrub.processes import BOOT, READY

LITTLE_DISK, NO_DISK = GIB, 64 << 20
FEW_FILES = 1000
SECONDS = 180.0  # for loading torch, which takes long from a network's disk
SHARED_MEMORY = Path("/dev/shm")


def examine(
    *,
    out: Path = Path("labelscrub-out"),
    cache_dir: Path | None = None,
    config: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> tuple[Check, ...]:
    """Everything that a run needs, checked; what `labelscrub doctor` does. Writes nothing.

    Args:
        out: run directory that there is or would be.
        cache_dir: where decoded images would be kept; default in `out`.
        config: a settings file, instead of looking in the working directory.
        environ: default the process's own.
    """
    environ = os.environ if environ is None else environ
    probe = _probe()
    checks = [
        Check("labelscrub", "ok", __version__),
        Check("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        *packages(probe),
        *torch_and_device(probe),
        *extras(),
        _cores(probe.get("facts"), environ),
        _memory(),
        _disk("disk, --out", out),
        *([_disk("disk, cache", cache_dir)] if cache_dir else []),
        *_shared_memory(),
        _encoding(),
        *_settings(config, environ),
    ]
    return tuple(checks)


def _probe() -> dict[str, Any]:
    """What `training.environment` says in a process of its own, as far as it came, and how it "ended"."""
    path = json.dumps([entry for entry in sys.path if isinstance(entry, str)])
    command = [sys.executable, "-P", "-W", "ignore", "-c", BOOT, path, "labelscrub.training.environment"]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=False
        )
        stdout, words = done.stdout, done.stderr.decode(errors="replace").strip().splitlines()
        if done.returncode < 0:
            ended = f"its process was ended by {signal.Signals(-done.returncode).name}"
        else:
            ended = words[-1].strip() if words else f"its process ended with code {done.returncode}"
    except subprocess.TimeoutExpired as late:
        stdout, ended = late.stdout or b"", f"no answer within {SECONDS:g} s"
    except OSError as error:
        stdout, ended = b"", f"no process could be started: {error.strerror}"
    answers: dict[str, Any] = {}
    for line in stdout.partition(READY)[2].splitlines():
        try:
            answers |= json.loads(line)
        except ValueError:  # cut off by the process's end
            continue
    return answers | {"ended": ended}


def _cores(facts: Mapping[str, Any] | None, environ: Mapping[str, str]) -> Check:
    found = count_cores()
    parts = [
        f"{found.usable} of {found.machine} usable" if found.usable < found.machine else f"{found.usable}"
    ]
    if facts is not None:
        said = " (OMP_NUM_THREADS)" if "OMP_NUM_THREADS" in environ else ""
        parts.append(f"torch takes {facts['threads']} thread{'s' * (facts['threads'] != 1)}{said}")
    if found.quota is None:
        return Check("cores", "ok", ", ".join(parts))
    parts.append(f"the container may use {found.quota:.3g} of them at a time")
    threads = found.usable if facts is None else facts["threads"]
    fitting = max(1, math.floor(found.quota))
    if threads <= math.ceil(found.quota):
        return Check("cores", "ok", ", ".join(parts))
    fix = f"set OMP_NUM_THREADS={fitting} and --workers {fitting}: more threads than that wait for each other"
    return Check("cores", "warning", ", ".join(parts), fix)


def _memory() -> Check:
    found = measure_memory()
    if found.total is None or found.available is None:
        return Check("memory", "ok", "this system does not say")
    text = f"{size(found.available)} of {size(found.total)} available"
    room = found.available
    if found.limit is not None:
        room = min(room, found.limit)
        used = "" if found.used is None else f", {size(found.used)} of it in use"
        text += f"; the container may have {size(found.limit)}{used}"
    if room >= LITTLE_MEMORY:
        return Check("memory", "ok", text)
    fix = "OMP_NUM_THREADS=1 trains one fold at a time; fewer --workers and a smaller --image-size help too"
    return Check("memory", "warning", text, fix)


def _disk(name: str, path: Path) -> Check:
    """Room where a folder is or would be."""
    try:
        found = measure_disk(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return Check(name, "problem", f"{path}: {reason}", f"choose another place for {name.split()[-1]}")
    text = f"{path}: {size(found.free)} free"
    if not found.writable:
        where = "a file is in its place" if path.is_file() else f"{found.folder} can't be written to"
        return Check(name, "problem", f"{path}: {where}", "choose another folder, with --out or --cache-dir")
    free = "free some space, or choose another disk with --out or --cache-dir"
    if found.free < NO_DISK:
        return Check(name, "problem", text, free)
    if found.files_left is not None and found.files_left < FEW_FILES:
        return Check(name, "warning", f"{text}, but room for {found.files_left:,} more files only", free)
    return Check(
        name, "warning" if found.free < LITTLE_DISK else "ok", text, free * (found.free < LITTLE_DISK)
    )


def _shared_memory() -> Iterator[Check]:
    """Said for those who train next to us with a DataLoader; labelscrub shares pixels by files."""
    if SHARED_MEMORY.is_dir():
        found = measure_disk(SHARED_MEMORY)
        yield Check("/dev/shm", "ok", f"{size(found.free)} free; labelscrub does not use it")


def _encoding() -> Check:
    """Python and labelscrub use UTF-8 whatever the locale says; a terminal does not."""
    name = locale.getencoding()
    if name.lower().replace("-", "") == "utf8":
        return Check("encoding", "ok", name)
    text = f"the locale's is {name}: names in other scripts may look odd, results are UTF-8 all the same"
    return Check("encoding", "warning", text, "export LC_ALL=C.UTF-8")


def _settings(config: Path | None, environ: Mapping[str, str]) -> Iterator[Check]:
    try:
        found = origins({}, environ=environ, folder=Path.cwd(), config=config)
    except LabelscrubError as error:
        yield Check("settings", "problem", error.cause, error.fix or "mend it, or take it out")
        return
    counts = Counter(origin for _, origin in found.values())
    variables = sum(count for name, count in counts.items() if name.startswith(PREFIX))
    said = [
        f"{n} from {name}" for name, n in counts.items() if name != DEFAULT and not name.startswith(PREFIX)
    ]
    said += [f"{variables} from {PREFIX}* variables"] if variables else []
    text = ", ".join(said) + "; see labelscrub config show" if said else "all at their defaults"
    yield Check("settings", "ok", text)
    for variable, hint in unknown_variables(environ):
        yield Check("settings", "warning", f"the variable {variable} sets nothing", hint)
