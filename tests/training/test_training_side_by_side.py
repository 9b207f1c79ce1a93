"""Trainings in processes of their own: the same bytes, and no process left behind, whatever happens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from side_by_side_jobs import crashes, dies, fails, in_turn, runs_out_of_memory, waits, works_in_silence
from training_cases import CLASSES, images, plan, same

from labelscrub import processes
from labelscrub.errors import EnvironmentProblem, ModelError
from labelscrub.records import Event, silent
from labelscrub.training import (
    FoldResult,
    TrainingPlan,
    assign_folds,
    child,
    no_plants,
    train_fold,
    train_side_by_side,
)
from labelscrub.training.shared_pixels import shared
from labelscrub.training.side_by_side import _answers


def apart(pixels: np.ndarray, threads: int = 2, **settings: Any) -> TrainingPlan:
    """A plan whose trainings go side by side, few as the images are."""
    return replace(plan(pixels, **settings), threads=threads, side_by_side=True)


def nothing(name: str, result: FoldResult) -> None:
    raise AssertionError(f"{name} can't have been trained")


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The processes started; when the test ends none may live."""
    pids: list[int] = []
    start = processes.start

    def listed(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        process = start(*arguments, **options)
        pids.append(process.pid)
        return process

    monkeypatch.setattr(processes, "start", listed)
    yield pids
    assert not any(is_alive(pid) for pid in pids)


@pytest.fixture
def threads_back() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads_back")
@pytest.mark.parametrize(("threads", "mapped"), [(1, True), (2, False)])
def test_a_fold_has_the_same_bytes_wherever_it_is_trained(
    tmp_path: Path, started: list[int], threads: int, mapped: bool
) -> None:
    """The last fold goes first, the others wait for it: so each process trains one."""
    folds = 2
    pixels, label = images(30)
    if mapped:
        np.save(tmp_path.with_suffix(".npy"), pixels)
        pixels = np.load(tmp_path.with_suffix(".npy"), mmap_mode="r")
    fold = assign_folds(label, None, folds, 0)
    made = apart(pixels, folds * threads, epochs=2, loss="ce")
    of_fold: dict[str, Any] = {"labels": label, "fold": fold, "num_classes": CLASSES, "plan": made}
    plants = [None, *(no_plants(k) for k in range(1, folds))]
    jobs = {
        f"fold-{k}": partial(
            in_turn, folder=tmp_path, k=k, expected=folds - 1 - k, plants=plants[k], **of_fold
        )
        for k in range(folds)
    }
    results: dict[str, FoldResult] = {}
    events: list[Event] = []
    before = torch.get_num_threads()
    train_side_by_side(jobs, folds, pixels, made, events.append, results.__setitem__, tmp_path)

    assert list(results) == list(reversed(jobs)), "each is stored when it is done"
    marks = np.array([path.name.split() for path in tmp_path.iterdir()], np.int64)
    assert set(marks[:, 1]) == {os.getpid(), *started} and len(started) == folds - 1 == len(marks) - 1
    assert set(marks[:, 2]) == {threads} and torch.get_num_threads() == before
    epochs = {(event.fold, event.epoch) for event in events if event.accuracy == event.accuracy}
    assert epochs == {(k + 1, epoch) for k in range(folds) for epoch in (1, 2)}
    torch.set_num_threads(threads)
    for k in range(folds):
        here = train_fold(pixels, k=k, progress=silent, plants=plants[k], **of_fold)
        assert same(here, results[f"fold-{k}"])


def test_for_one_training_or_in_turn_nothing_is_started(tmp_path: Path, started: list[int]) -> None:
    pixels, label = images(30)
    made = apart(pixels, epochs=1)
    job: Any = partial(
        train_fold, labels=label, fold=assign_folds(label, None, 2, 0), num_classes=CLASSES, plan=made
    )
    results: dict[str, FoldResult] = {}
    one = {"b": partial(job, k=1)}
    train_side_by_side(one, 2, pixels, made, silent, results.__setitem__, tmp_path)  # the other one is stored
    both = {"a": partial(job, k=0), **one}
    in_turn = replace(made, side_by_side=False)
    train_side_by_side(both, 2, pixels, in_turn, silent, results.__setitem__, tmp_path)
    train_side_by_side({}, 2, pixels, made, silent, nothing, tmp_path)
    assert [results[name].fold for name in "ab"] == [0, 1] and not started


def test_errors_come_back_as_what_they_are(tmp_path: Path, started: list[int]) -> None:
    pixels, _ = images(6)
    with shared(pixels, tmp_path) as found:
        about = json.dumps({"threads": 1, "pixels": asdict(found)})
        process = processes.start(child.__name__, about, descriptors=[found.descriptor])
    processes.expect_ready(process)
    with pytest.raises(ModelError, match=r"^the loss is not finite\nlower --lr$") as raised:
        list(_answers(process, "a", partial(fails)))
    assert (raised.value.cause, raised.value.fix) == ("the loss is not finite", "lower --lr")
    with pytest.raises(EnvironmentProblem, match=r"ran out of memory\n.*OMP_NUM_THREADS=1"):
        list(_answers(process, "b", partial(runs_out_of_memory)))
    with pytest.raises(RuntimeError, match="training process: ZeroDivisionError: never seen") as crash:
        list(_answers(process, "c", partial(crashes)))
    assert "side_by_side_jobs.py" in crash.value.__notes__[0], "where it happened"
    processes.end(process)


def test_a_process_that_dies_ends_all_with_words(tmp_path: Path, started: list[int]) -> None:
    pixels, _ = images(6)
    jobs: dict[str, partial[FoldResult]] = {"first": partial(waits), "second": partial(dies)}
    words = r"killed by signal 9, perhaps for want of memory\n.*OMP_NUM_THREADS=1"
    with pytest.raises(EnvironmentProblem, match=words):
        train_side_by_side(jobs, 2, pixels, apart(pixels), silent, nothing, tmp_path)
    assert len(started) == 1


class StopError(Exception):
    """Stands for Ctrl-C, or for a full disk where a result is stored."""


def test_an_interruption_here_ends_the_others(tmp_path: Path, started: list[int]) -> None:
    def stop(event: Event) -> None:
        raise StopError

    pixels, _ = images(6)
    jobs: dict[str, partial[FoldResult]] = {name: partial(waits) for name in "abc"}
    with pytest.raises(StopError):
        train_side_by_side(jobs, 3, pixels, apart(pixels), stop, nothing, tmp_path)
    assert len(started) == 2


def test_processes_that_cannot_start_end_the_run_with_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels, _ = images(6)
    jobs: dict[str, partial[FoldResult]] = {name: partial(waits) for name in "ab"}
    monkeypatch.setattr(processes, "BOOT", "raise SystemExit(3)")
    with pytest.raises(EnvironmentProblem, match=r"ended with code 3.*\n.*OMP_NUM_THREADS=1"):
        train_side_by_side(jobs, 2, pixels, apart(pixels), silent, nothing, tmp_path)
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(EnvironmentProblem, match="could not be started"):
        train_side_by_side(jobs, 2, pixels, apart(pixels), silent, nothing, tmp_path)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_no_process_outlives_a_killed_parent(tmp_path: Path) -> None:
    places = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    script = f"""
import sys
sys.path[:0] = {places!r}
import test_training_side_by_side
test_training_side_by_side.train_until_killed({str(tmp_path)!r})
"""
    run = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    with run:
        assert run.stdout is not None
        pid = int(run.stdout.readline())
        assert {run.stdout.readline() for _ in range(2)} == {"1\n", "2\n"}
        assert is_alive(pid)
        run.send_signal(signal.SIGKILL)
        run.wait(timeout=10)
    began = time.monotonic()
    while is_alive(pid) and time.monotonic() - began < 10:
        time.sleep(0.02)
    assert not is_alive(pid)


def train_until_killed(folder: str) -> None:
    """In a process of its own: writes the number of its child's process, and each fold that is under way."""
    start, heard = processes.start, set()

    def told(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        process = start(*arguments, **options)
        os.write(1, f"{process.pid}\n".encode())
        return process

    def tell(event: Event) -> None:
        if event.fold not in heard:
            heard.add(event.fold)
            os.write(1, f"{event.fold}\n".encode())

    processes.start = told
    pixels, _ = images(6)
    jobs: dict[str, partial[FoldResult]] = {"a": partial(waits), "b": partial(works_in_silence)}
    train_side_by_side(jobs, 2, pixels, apart(pixels), tell, nothing, Path(folder))
