"""What a command takes: its own processes, all of them, and nothing counted twice."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from labelscrub.errors import EnvironmentProblem
from labelscrub.evaluation import measuring
from labelscrub.records import Event

MB = 1_000_000
FORKS = """
import os, time
held = bytearray(os.urandom(1)) * 60_000_000
if not os.fork():
    time.sleep(0.9)
    os._exit(0)
own = bytearray(os.urandom(1)) * 20_000_000
end = time.process_time() + 0.2
while time.process_time() < end:
    pass
time.sleep(0.9)
os.wait()
"""


def python(code: str) -> list[str]:
    return [sys.executable, "-S", "-c", code]


def test_pages_shared_after_a_fork_count_once(tmp_path: Path) -> None:
    shared = measuring.measure(python(FORKS), folder=tmp_path)
    assert 80 * MB < shared.peak < 115 * MB
    assert shared.code == 0 and shared.cpu >= 0.2


def test_anonymous_memory_is_that_of_all_processes_without_files(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(50_000_000))
    mapped = "import mmap; f = open('file', 'rb'); m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)\n"
    mapped += "sum(m[::4096])\n"
    usage = measuring.measure(python(mapped + FORKS), folder=tmp_path, memory="anon")
    assert 80 * MB < usage.peak < 115 * MB
    assert measuring.measure(python(mapped + FORKS), folder=tmp_path).peak > 130 * MB
    first, last = usage.memory[0][0], usage.memory[-1][0]
    assert usage.peak_between(first, last) == usage.peak
    assert usage.peak_between(last + 1, last + 2) == 0


def test_processor_time_holds_that_of_children(tmp_path: Path) -> None:
    child = "import time\nwhile time.process_time() < 0.3: pass"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-S', '-c', {child!r}])"
    usage = measuring.measure(python(code), folder=tmp_path)
    assert usage.cpu >= 0.3
    assert usage.others >= 0


def test_what_it_prints_and_how_it_ends(tmp_path: Path) -> None:
    code = "import sys; print('out'); sys.stderr.write('first\\n\\nno good\\n'); sys.exit(7)"
    usage = measuring.measure(python(code), folder=tmp_path)
    assert (usage.code, usage.stdout) == (7, "out\n")
    problem = measuring.failure("the run", usage)
    assert problem.cause == "the run ended with code 7"
    assert problem.fix == "first no good"


def test_a_limit_ends_it(tmp_path: Path) -> None:
    usage = measuring.measure(python("import time; time.sleep(60)"), folder=tmp_path, limit=0.1)
    assert usage.code == -9
    assert "killed" in measuring.failure("it", usage).cause


def test_what_stops_us_stops_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def spy(*args: object, **kwargs: object) -> subprocess.Popen[bytes]:
        started.append(popen(*args, **kwargs))  # type: ignore[call-overload]
        return started[0]

    def stopped(pid: int, options: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", spy)
    monkeypatch.setattr(os, "wait4", stopped)
    with pytest.raises(KeyboardInterrupt):
        measuring.measure(python("import time; time.sleep(60)"), folder=tmp_path)
    assert started[0].returncode == -15


def test_settings_of_ours_do_not_reach_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABELSCRUB_EPOCHS", "1")
    code = "import os; import labelscrub; print([n for n in os.environ if n.startswith('LABELSCRUB_')])"
    assert measuring.measure(python(code), folder=tmp_path).stdout == "[]\n"


def test_a_damaged_result_is_measured_again(tmp_path: Path) -> None:
    news: list[Event] = []
    file = tmp_path / "new" / "run.json"
    assert measuring.stored(file, news.append) is None and not news
    measuring.store(file, {"a": 1})
    assert measuring.stored(file, news.append) == {"a": 1}
    for content in ("", "{", "3"):
        file.write_text(content)
        assert measuring.stored(file, news.append) is None
    assert len(news) == 3 and "damaged: measured again" in news[0].message


def test_a_disk_that_is_too_small_is_said_first(tmp_path: Path) -> None:
    measuring.require_space(tmp_path, 1, "it")
    with pytest.raises(EnvironmentProblem, match=r"it needs 1000000000.0 GB in"):
        measuring.require_space(tmp_path, 10**18, "it")


def test_the_machine_in_one_line() -> None:
    machine, packages = measuring.hardware(), measuring.versions()
    assert machine["cores"] == len(os.sched_getaffinity(0))
    line = measuring.machine_line(machine, packages, "NVIDIA H100")
    assert f"{machine['cores']} cores" in line and "; NVIDIA H100; python 3" in line
    assert "no GPU used" in measuring.machine_line(machine, packages, "cpu")
