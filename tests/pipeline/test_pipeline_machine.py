"""Limits of containers, as both versions of cgroups write them."""

from __future__ import annotations

import os

import pytest

from labelscrub.pipeline import machine

MEMINFO = "MemTotal:       8000000 kB\nMemFree:        1000000 kB\nMemAvailable:   6000000 kB\nOdd\n"


@pytest.fixture
def system(tmp_path, monkeypatch):
    """A /proc and a /sys/fs/cgroup with these files."""

    def write(cgroup, files, meminfo=MEMINFO):
        proc, cgroups = tmp_path / "proc", tmp_path / "cgroup"
        (proc / "self").mkdir(parents=True)
        (proc / "self" / "cgroup").write_text(cgroup)
        if meminfo:
            (proc / "meminfo").write_text(meminfo)
        for name, text in files.items():
            (cgroups / name).parent.mkdir(parents=True, exist_ok=True)
            (cgroups / name).write_text(text)
        monkeypatch.setattr(machine, "PROC", proc)
        monkeypatch.setattr(machine, "CGROUPS", cgroups)

    return write


@pytest.mark.parametrize(
    ("cgroup", "files", "quota"),
    [
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2.0),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/a/b\n", {"a/cpu.max": "50000 100000\n", "a/b/cpu.max": "max 100000\n"}, 0.5),
        ("0::/a/b\n", {"a/cpu.max": "300000 100000\n", "a/b/cpu.max": "150000 100000\n"}, 1.5),
        ("0::/../../x\n", {"cpu.max": "200000 100000\n"}, 2.0),
        (
            "4:cpu,cpuacct:/box\n0::/\n",
            {"cpu/box/cpu.cfs_quota_us": "250000\n", "cpu/box/cpu.cfs_period_us": "100000\n"},
            2.5,
        ),
        ("4:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ("0::/\n", {"cpu.max": "100000 0\n"}, None),
        ("garbage\n", {}, None),
        ("", {}, None),
    ],
)
def test_the_share_of_processors(system, cgroup, files, quota):
    system(cgroup, files)
    found = machine.count_cores()
    assert found.quota == quota
    assert 1 <= found.usable <= found.machine == os.cpu_count()


@pytest.mark.parametrize(
    ("cgroup", "files", "limit", "used"),
    [
        ("0::/a\n", {"a/memory.max": "1000000\n", "a/memory.current": "400000\n"}, 1_000_000, 400_000),
        ("0::/a\n", {"a/memory.max": "max\n", "memory.max": "2000000\n"}, 2_000_000, None),
        (
            "9:memory:/j\n0::/\n",
            {"memory/j/memory.limit_in_bytes": "5000000\n", "memory/j/memory.usage_in_bytes": "7\n"},
            5_000_000,
            7,
        ),
        ("9:memory:/\n", {"memory/memory.limit_in_bytes": "9223372036854771712\n"}, None, None),
        ("", {}, None, None),
    ],
)
def test_memory(system, cgroup, files, limit, used):
    system(cgroup, files)
    assert machine.measure_memory() == machine.Memory(8_000_000 << 10, 6_000_000 << 10, limit, used)


def test_a_system_that_does_not_say(system):
    system("", {}, meminfo="")
    assert machine.measure_memory() == machine.Memory(None, None, None, None)


def test_disk_of_what_is_not_there_yet(tmp_path):
    found = machine.measure_disk(tmp_path / "a" / "b")
    assert found.folder == tmp_path and found.writable and found.free > 0
    (tmp_path / "file").write_text("x")
    assert not machine.measure_disk(tmp_path / "file").writable
    (tmp_path / "broken").symlink_to("nowhere")
    assert not machine.measure_disk(tmp_path / "broken").writable
