"""What this machine lets a process have: cores, memory and disk, with a container's limits."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from labelscrub.processes import cores

PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")
_NO_LIMIT = 1 << 60  # what cgroups of version 1 write where there is none, or more


@dataclass(frozen=True)
class Cores:
    """How many processors there are, and how many of them count."""

    machine: int
    usable: int
    """By affinity: what programs see and start as many threads for."""
    quota: float | None
    """Processors' worth of time that the container may use; None is no limit."""


@dataclass(frozen=True)
class Memory:
    """In bytes; None where the system does not say."""

    total: int | None
    available: int | None
    limit: int | None
    """The container's; None is no limit."""
    used: int | None
    """Of the limit."""


@dataclass(frozen=True)
class Disk:
    """Where a folder is, or would be."""

    folder: Path
    """The nearest one that exists."""
    free: int
    """Bytes that a user may write."""
    files_left: int | None
    """None where the file system has no fixed number."""
    writable: bool


def count_cores() -> Cores:
    """Processors and the container's share of their time."""
    quotas = []
    for folder in _cgroup_folders("cpu"):
        text = _read(folder / "cpu.max").split()  # version 2: "200000 100000", or "max 100000"
        if not text:
            text = [_read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")]
        if len(text) == 2 and all(part.isdigit() for part in text) and int(text[1]):
            quotas.append(int(text[0]) / int(text[1]))
    return Cores(os.cpu_count() or 1, cores(), min(quotas, default=None))


def measure_memory() -> Memory:
    """The machine's memory and the container's."""
    fields = dict(line.split(":", 1) for line in _read(PROC / "meminfo").splitlines() if ":" in line)
    kibibytes = {name: value.split()[0] for name, value in fields.items() if value.split()}
    total, available = (
        int(kibibytes[name]) << 10 if kibibytes.get(name, "").isdigit() else None
        for name in ("MemTotal", "MemAvailable")
    )
    limits: list[tuple[int, int | None]] = []
    for folder in _cgroup_folders("memory"):
        for limit_name, used_name in (
            ("memory.max", "memory.current"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            most, now = _read(folder / limit_name), _read(folder / used_name)
            if most.isdigit() and int(most) < _NO_LIMIT:
                limits.append((int(most), int(now) if now.isdigit() else None))
    limit, used = min(limits, key=lambda pair: pair[0]) if limits else (None, None)
    return Memory(total, available, limit, used)


def measure_disk(path: Path) -> Disk:
    """Room at a path that need not exist yet; an OSError where the system does not say."""
    folder = path.absolute()
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    status = os.statvfs(folder)
    in_the_way = os.path.lexists(path) and not path.is_dir()  # a file, where the folder would be
    return Disk(
        folder=folder,
        free=shutil.disk_usage(folder).free,
        files_left=status.f_favail if status.f_files else None,
        writable=os.access(folder, os.W_OK | os.X_OK) and not in_the_way,
    )


def _cgroup_folders(controller: str) -> Iterator[Path]:
    """The folders whose limits hold for this process: its own and all above it, of either version."""
    for line in _read(PROC / "self" / "cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            base = CGROUPS
        elif controller in controllers.split(","):
            base = CGROUPS / controller
        else:
            continue
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for depth in range(len(parts), -1, -1):
            yield base.joinpath(*parts[:depth])


def _read(path: Path) -> str:
    """A small file's text; "" where there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
