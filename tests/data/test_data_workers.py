"""labelscrub.data.workers: processes that crash, hang or are interrupted never take the run with them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from labelscrub import processes
from labelscrub.data import workers
from labelscrub.data.tasks import DECODED, FAILED, KNOWN, Job, Outcome, Outcomes, Task, pack, unpack
from labelscrub.errors import DataError, EnvironmentProblem

JOB = Job(size=8, channels=3, max_pixels=10**8, max_bytes=1 << 20)
# Stands in for a decoder with a fault: the file's text says what happens.
FAULTY = """
import os, time
from labelscrub.data import tasks, workers
original = tasks.square
def square(data, *arguments):
    if data == b"crash": os.abort()
    if data == b"hang": time.sleep(1000)
    if data.startswith(b"slow"):
        time.sleep(0.6)
        data = data[4:]
    if data.startswith(b"once"):
        marker = data[4:].decode()
        if not os.path.exists(marker):
            open(marker, "w").close()
            os._exit(9)
        data = open(marker[:-5], "rb").read()
    return original(data, *arguments)
tasks.square = square
"""


def png() -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (8, 8), "red").save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> None:
    start = "importlib.import_module(sys.argv.pop(1))"
    assert start in processes.BOOT
    monkeypatch.setattr(processes, "BOOT", processes.BOOT.replace(start, FAULTY + start))


def run(contents: list[bytes], count: int = 2, per_batch: int = 4) -> dict[int, str]:
    """Slot -> reason, "" where decoded."""
    tasks = [Task(slot, data=data) for slot, data in enumerate(contents)]
    batches = [tasks[i : i + per_batch] for i in range(0, len(tasks), per_batch)]
    with closing(workers.run(batches, JOB, count)) as outcomes:
        done = [item for answer in outcomes for item in reasons(answer)]
    assert len(done) == len(contents), "each task is answered once"
    return dict(sorted(done))


def reasons(answer: Outcomes) -> list[tuple[int, str]]:
    """Slot and reason, "" where decoded."""
    failures = iter(answer.failures)
    failed = answer.records["state"] == FAILED
    assert len(answer.pixels) == 8 * 8 * 3 * (~failed).sum()
    return [
        (slot, next(failures)[1] if bad else "")
        for slot, bad in zip(answer.slots.tolist(), failed.tolist(), strict=True)
    ]


@pytest.mark.usefixtures("faulty")
def test_i06_a_crashing_decoder_costs_only_its_image() -> None:
    contents = [png(), b"crash", png(), b"crash", b"", png()]
    assert list(run(contents).values()) == ["", "decoder crashed", "", "decoder crashed", "empty file", ""]


@pytest.mark.usefixtures("faulty")
def test_a_process_killed_for_no_fault_of_the_image_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(png())
    contents = [png(), b"once" + str(tmp_path / "image.died").encode(), png()]
    assert list(run(contents, 1).values()) == ["", "", ""]
    assert (tmp_path / "image.died").exists()


@pytest.mark.usefixtures("faulty")
def test_i04_an_image_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "IMAGE_SECONDS", 1.0)
    assert list(run([png(), b"hang", png()], 1).values()) == ["", "took longer than 1 s", ""]


@pytest.mark.usefixtures("faulty")
def test_slow_images_are_not_given_up_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "IMAGE_SECONDS", 1.5)
    assert set(run([b"slow" + png()] * 3 + [png()], 1).values()) == {""}


def test_outcomes_survive_packing() -> None:
    outcomes = [
        Outcome(5, sha256=b"a" * 32, stat=(1, 2**62, -3, 2**63 - 1), traits=17, pixels=b"xyz"),
        Outcome(7, "missing", "no longer there"),
        Outcome(9, sha256=b"b" * 32),
        Outcome(8, "unreadable", "truncated", b"c" * 32, (4, 5, 6, 7)),
        Outcome(3, pixels=b"uvw"),
    ]
    packed = unpack([outcome.slot for outcome in outcomes], *pack(outcomes))
    assert packed.slots.tolist() == [5, 7, 9, 8, 3]
    assert packed.records["state"].tolist() == [DECODED, FAILED, KNOWN, FAILED, DECODED]
    assert packed.records["traits"].tolist() == [17, 0, 0, 0, 0]
    assert [tuple(stat) for stat in packed.records["stat"].tolist()] == [o.stat for o in outcomes]
    assert [digest.tobytes() for digest in packed.records["sha256"]] == [o.sha256 for o in outcomes]
    assert packed.failures == [("missing", "no longer there"), ("unreadable", "truncated")]
    assert packed.pixels == b"xyzuvw"
    empty = unpack([], *pack([]))
    assert len(empty.slots) == len(empty.records) == 0


@pytest.mark.usefixtures("faulty")
def test_e07_processes_that_keep_dying_end_the_run_with_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "CRASHES_IN_A_ROW", 2)
    with pytest.raises(EnvironmentProblem, match=r"out of memory[\s\S]*--workers 0"):
        run([b"crash"] * 8, 1)


def test_processes_that_cannot_start_end_the_run_with_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "BOOT", "raise SystemExit(3)")
    with pytest.raises(EnvironmentProblem, match=r"ended with code 3[\s\S]*--workers 0"):
        run([png()])
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(EnvironmentProblem, match="could not be started"):
        run([png()])


def test_an_error_of_the_source_reaches_the_caller() -> None:
    def batches() -> Iterator[list[Task]]:
        yield [Task(0, data=png())]
        raise DataError("the table is damaged")

    with (
        pytest.raises(DataError, match="table is damaged"),
        closing(workers.run(batches(), JOB, 2)) as outcomes,
    ):
        list(outcomes)


def test_large_embedded_images_do_not_block_the_pipes() -> None:
    padding = bytes(1_000_000)  # well above what a pipe holds; PNG readers ignore what follows the end
    assert set(run([png() + padding for _ in range(12)]).values()) == {""}
    assert set(run([png() + padding * 2]).values()) == {"2 MB exceeds --max-file-mb"}


def test_no_torch_and_no_pyarrow_in_a_worker() -> None:
    heavy = "{'torch', 'pyarrow', 'cleanlab', 'scipy'}"
    script = f"import sys, labelscrub.data.workers; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout == b"[]\n"


def children_of(pid: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_e05_no_process_and_no_half_store_outlives_an_interrupted_run(tmp_path: Path, number: int) -> None:
    folder, cache = tmp_path / "images", tmp_path / "cache"
    folder.mkdir()
    (folder / "0.png").write_bytes(png())
    for i in range(1, 3000):
        os.link(folder / "0.png", folder / f"{i}.png")
    script = f"""
import sys, time
import numpy as np
from pathlib import Path
from labelscrub.config import SourceSettings
from labelscrub.data.images import ImageShape, load_images
from labelscrub.records import Manifest
names = [f"{{i}}.png" for i in range(3000)]
folder = Path({str(folder)!r})
manifest = Manifest(folder, "folder", folder, ("a",), names, names, np.zeros(3000, np.int32))
def tell(event):
    print("under way", flush=True)
    time.sleep(0.3)
cache = Path({str(cache)!r})
load_images(manifest, ImageShape(8, 3), SourceSettings(), cache_dir=cache, workers=2, progress=tell)
"""
    run = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    with run:
        assert run.stdout is not None and run.stdout.readline() == b"under way\n"
        children = children_of(run.pid)
        assert children
        began = time.monotonic()
        run.send_signal(number)
        run.wait(timeout=10)
        assert time.monotonic() - began < 5
    while any(is_alive(pid) for pid in children) and time.monotonic() - began < 5:
        time.sleep(0.02)
    assert not any(is_alive(pid) for pid in children)
    assert not list(cache.glob("*.index"))
    if number == signal.SIGINT:  # the others leave the file to the next run
        assert not list(cache.iterdir())
