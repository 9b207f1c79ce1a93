"""What a command takes: wall clock, processor time, memory of all its processes; and on what machine.

Memory is sampled from /proc by a thread, over the whole tree of processes:

- "pss", proportional set size: each page counts once, divided among those that share it. What workers got
  from their parent by fork, and files mapped by several, are not counted again for each.
- "anon", the anonymous part of it: what was allocated, without mapped files, which the system may drop at
  any time.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import labelscrub
from labelscrub.errors import EnvironmentProblem
from labelscrub.records import Event, Progress
from labelscrub.store import write_atomic

Memory = Literal["pss", "anon"]
EVERY = {"pss": 1.0, "anon": 0.02}  # seconds between samples
SHARE = 0.1  # of the time, at most, that sampling takes: the kernel walks page tables, 10 ms a GB
REFRESH = 0.25  # seconds: how often new processes are looked for
PATIENCE = 5.0  # seconds that a command has to end by itself when we are stopped
PACKAGES = ("labelscrub", "torch", "torchvision", "cleanlab", "scikit-learn", "numpy", "pillow", "simplejpeg")


@dataclass(frozen=True)
class Usage:
    """What one command took."""

    code: int
    """Exit code; negative: the signal that killed it."""
    wall: float
    """Seconds from its start to its end, the interpreter's start and imports included."""
    cpu: float
    """Seconds, user and system, of the process and of all that it started and waited for."""
    others: float
    """Processor seconds that everything else on the machine took meanwhile, its host included."""
    memory: tuple[tuple[float, int], ...]
    """(time.monotonic(), bytes of the whole tree) at each sample."""
    stdout: str
    stderr: str

    @property
    def peak(self) -> int:
        """Largest sample, in bytes."""
        return max((size for _, size in self.memory), default=0)

    def peak_between(self, begin: float, end: float) -> int:
        """Largest sample between two times of time.monotonic(), in bytes; 0 without one."""
        return max((size for at, size in self.memory if begin <= at <= end), default=0)


def measure(
    command: Sequence[str],
    *,
    folder: Path,  # to run it in
    memory: Memory = "pss",
    limit: float | None = None,  # seconds after which it is killed
) -> Usage:
    """Run a command to its end; whatever stops us stops it too."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        busy, began = _busy(), time.monotonic()
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,  # the terminal's Ctrl-C is for us, who pass it on
        )
        sampler = _Sampler(process.pid, memory, limit)
        sampler.start()
        try:
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)  # or Popen would wait for it
            wall, busy = time.monotonic() - began, _busy() - busy
        except BaseException:
            if process.returncode is None:
                _stop(process)
            raise
        finally:
            sampler.end()
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(stream.read().decode(errors="replace"))
    return Usage(
        code=process.returncode,
        wall=wall,
        cpu=used.ru_utime + used.ru_stime,
        others=max(busy - used.ru_utime - used.ru_stime, 0.0),
        memory=tuple(sampler.samples),
        stdout=texts[0],
        stderr=texts[1],
    )


def python(module: str, *arguments: str) -> list[str]:
    """The command that runs a module in this Python."""
    return [sys.executable, "-m", module, *arguments]


def labelscrub_command(*arguments: str) -> list[str]:
    """The command line as it is typed, of this Python's labelscrub."""
    script = Path(sys.executable).with_name("labelscrub")
    return [str(script), *arguments] if script.is_file() else python("labelscrub", *arguments)


def environment() -> dict[str, str]:
    """Ours, without settings of labelscrub, and with this labelscrub wherever the command runs."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("LABELSCRUB_")}
    paths = [str(Path(labelscrub.__file__).parents[1]), own.get("PYTHONPATH", "")]
    return {**own, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def failure(what: str, usage: Usage) -> EnvironmentProblem:
    """A command that should not have failed."""
    last = [line.strip() for line in usage.stderr.splitlines() if line.strip()][-2:]
    how = "was killed: out of memory?" if usage.code == -signal.SIGKILL else f"ended with code {usage.code}"
    return EnvironmentProblem(f"{what} {how}", " ".join(last)[-300:])


def free_memory() -> int:
    """Bytes that can be had without swapping."""
    return _kilobytes("/proc/meminfo", b"MemAvailable:")


def hardware() -> dict[str, Any]:
    """What all this runs on, JSON-ready."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": model or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(memory / 1e9),
        "system": f"{platform.system()} {platform.release()}",
    }


def versions() -> dict[str, str]:
    """Of Python and of the packages that the time depends on, as far as they are installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = labelscrub.__version__ if name == "labelscrub" else metadata.version(name)
    return found


def machine_line(machine: Mapping[str, Any], packages: Mapping[str, str], device: str = "") -> str:
    """Hardware and versions in one line for people."""
    parts = [f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gb']} GB"]
    if device:
        parts.append("no GPU used" if device == "cpu" else device)
    return "; ".join([*parts, ", ".join(f"{name} {number}" for name, number in packages.items())])


def require_space(folder: Path, needed: int, what: str) -> None:
    """EnvironmentProblem where the disk is too small, before anything is written."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise EnvironmentProblem(
            f"{what} needs {needed / 1e9:.1f} GB in {folder}, which has {free / 1e9:.1f} GB left",
            "name a folder on another disk with --out, or take a --limit",
        )


def stored(file: Path, progress: Progress) -> dict[str, Any] | None:
    """A measurement kept from before; None where there is none. A damaged one is said and left out."""
    try:
        values = json.loads(file.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        values = None
    if isinstance(values, dict):
        return values
    progress(Event("bench", message=f"{file} is damaged: measured again"))
    return None


def store(file: Path, values: Mapping[str, Any]) -> None:
    """Keep a measurement."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(file, (json.dumps(values, indent=1, allow_nan=False) + "\n").encode())


class _Sampler(threading.Thread):
    """Looks at a process and its descendants now and then."""

    def __init__(self, pid: int, memory: Memory, limit: float | None) -> None:
        super().__init__(daemon=True)
        self.samples: list[tuple[float, int]] = []
        self._pid, self._memory, self._limit = pid, memory, limit
        self._ended = threading.Event()

    def run(self) -> None:
        began = looked = time.monotonic()
        pids = [self._pid]
        pause = 0.0
        while not self._ended.wait(max(EVERY[self._memory], pause)):
            now = time.monotonic()
            if now - looked >= REFRESH:
                pids, looked = _tree(self._pid), now
            self.samples.append((now, _size(pids, self._memory)))
            pause = (time.monotonic() - now) / SHARE
            if self._limit is not None and now - began > self._limit:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._pid, signal.SIGKILL)

    def end(self) -> None:
        self._ended.set()
        self.join()


def _tree(root: int) -> list[int]:
    """The process and its descendants."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208  (four times a second: no Path objects)
        if name.isdecimal():
            with contextlib.suppress(OSError):
                after = Path(f"/proc/{name}/stat").read_bytes().rpartition(b")")[2]
                children.setdefault(int(after.split()[1]), []).append(int(name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def _busy() -> float:
    """Seconds that processor cores were not idle since the machine was started."""
    user, nice, system, _idle, _wait, *rest = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK")


def _size(pids: Sequence[int], memory: Memory) -> int:
    if memory == "anon" and len(pids) == 1:  # none shares with it: a counter, which costs nothing
        return anonymous(pids[0])
    key = b"Pss:" if memory == "pss" else b"Pss_Anon:"
    return sum(_kilobytes(f"/proc/{pid}/smaps_rollup", key) for pid in pids)


def anonymous(pid: int | Literal["self"]) -> int:
    """Bytes of a process that no file stands for; 0 where it is gone."""
    return _kilobytes(f"/proc/{pid}/status", b"RssAnon:")


def peak_resident() -> int:
    """Bytes: the peak resident set of this process since its program began, as the kernel counts it."""
    return _kilobytes("/proc/self/status", b"VmHWM:")  # ru_maxrss holds the parent's as well


def _kilobytes(file: str, key: bytes) -> int:
    """The value of one line, in bytes; 0 where the process is gone."""
    with contextlib.suppress(OSError):
        for line in Path(file).read_bytes().splitlines():
            if line.startswith(key):
                return int(line.split()[1]) << 10
    return 0


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a command and its process group: gently, then at once."""
    for signum in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signum)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
            return
