"""Several networks trained at once: one in this process, each other one in a process of its own.

Small networks can't keep all cores busy by themselves. What is trained where decides no bit of it: all have
the same number of threads, and each draws its own random numbers. (Unless the caller has changed what torch
keeps for a whole process, such as its deterministic algorithms: the others don't know that.)
"""

from __future__ import annotations

import contextlib
import json
import pickle
import queue
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from labelscrub import errors, processes
from labelscrub.errors import EnvironmentProblem, LabelscrubError
from labelscrub.records import Event, Progress
from labelscrub.training import child
from labelscrub.training.fold import FoldResult
from labelscrub.training.plan import TrainingPlan
from labelscrub.training.shared_pixels import SharedPixels, shared

Job = partial[FoldResult]
"""Called as job(pixels, progress=progress), here or where it was sent to."""
Done = Callable[[str, FoldResult], None]


def train_side_by_side(
    jobs: Mapping[str, Job],  # by name, in the order that they are begun in
    of: int,  # trainings, those included that were done before: it decides the threads of each
    pixels: NDArray[np.uint8],  # (N, S, S, C)
    plan: TrainingPlan,
    progress: Progress,
    done: Done,  # called with each result when it is there, in any order
    folder: Path,  # where pixels that are not mapped from a file may be put for the time
) -> None:
    """Do all jobs, as many at once as the plan says. The first error ends them all.

    `progress` and `done` are called in this thread alone.
    """
    at_once, threads = plan.share(of)
    with _threads(threads):
        if min(at_once, len(jobs)) <= 1:
            for name, job in jobs.items():
                done(name, job(pixels, progress=progress))
            return
        with shared(pixels, folder) as images:
            team = _Team(jobs, progress, done)
            try:
                team.start(images, min(at_once, len(jobs)) - 1, threads)
                team.work(pixels)
            finally:
                team.close()


class _Team:
    """This process, which trains too, and one thread for each other one: hands it jobs, reads its answers."""

    def __init__(self, jobs: Mapping[str, Job], progress: Progress, done: Done) -> None:
        self.waiting, self.missing = list(jobs.items()), len(jobs)
        self.progress, self.done = progress, done
        self.turn, self.closed = threading.Lock(), False
        self.answers: queue.SimpleQueue[Event | tuple[str, FoldResult] | BaseException] = queue.SimpleQueue()
        self.children: list[subprocess.Popen[bytes]] = []
        self.threads: list[threading.Thread] = []

    def start(self, images: SharedPixels, number: int, threads: int) -> None:
        about = json.dumps({"threads": threads, "pixels": asdict(images)})
        for _ in range(number):
            try:
                process = processes.start(
                    child.__name__, about, threads=threads, descriptors=[images.descriptor]
                )
            except OSError as error:
                raise EnvironmentProblem(
                    f"a training process could not be started: {error}", child.ALONE
                ) from None
            self.children.append(process)
            self.threads.append(threading.Thread(target=self._serve, args=(process,), daemon=True))
            self.threads[-1].start()

    def work(
        self,
        pixels: NDArray[np.uint8],  # (N, S, S, C)
    ) -> None:
        """Train here as long as there are jobs, then wait for what is trained elsewhere."""
        while (taken := self._take()) is not None:
            name, job = taken
            self._heed((name, job(pixels, progress=self._tell)))
        while self.missing:
            self._heed(self.answers.get())

    def close(self) -> None:
        """End all processes, whatever they are at; what they had finished is kept."""
        self.closed = True
        for process in self.children:
            process.kill()
        for thread in self.threads:
            thread.join()
        for process in self.children:
            processes.end(process)
        while not self.answers.empty():
            answer = self.answers.get()
            if isinstance(answer, tuple):
                with contextlib.suppress(LabelscrubError):  # what ended the others is what matters
                    self.done(*answer)

    def _take(self) -> tuple[str, Job] | None:
        with self.turn:
            return self.waiting.pop(0) if self.waiting else None

    def _tell(self, event: Event) -> None:
        """News from the training here: the time to pass on what came from elsewhere meanwhile."""
        self.progress(event)
        with contextlib.suppress(queue.Empty):
            while True:
                self._heed(self.answers.get_nowait())

    def _heed(self, answer: Event | tuple[str, FoldResult] | BaseException) -> None:
        if isinstance(answer, BaseException):
            raise answer
        if isinstance(answer, Event):
            self.progress(answer)
        else:
            self.missing -= 1
            self.done(*answer)

    def _serve(self, process: subprocess.Popen[bytes]) -> None:
        """In a thread: one child from its start to its end."""
        try:
            processes.expect_ready(process)
            while not self.closed and (taken := self._take()) is not None:
                for answer in _answers(process, *taken):
                    self.answers.put(answer)
        except (EOFError, OSError):  # BrokenPipeError is one
            if not self.closed:
                code = process.wait()
                how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
                cause = f"a training process {how}{', perhaps for want of memory' if code == -9 else ''}"
                self.answers.put(EnvironmentProblem(cause, child.ALONE))
        except BaseException as error:  # handed to the main thread, whatever it is
            self.answers.put(error)


def _answers(
    process: subprocess.Popen[bytes], name: str, job: Job
) -> Iterator[Event | tuple[str, FoldResult]]:
    """The events of a job done elsewhere, and last its result; an EOFError where the process is gone."""
    assert process.stdin is not None and process.stdout is not None
    order = pickle.dumps(job)
    processes.send(process.stdin, len(order), [order])
    while True:
        answer = processes.receive(process.stdout)
        if "event" in answer:
            yield Event(**answer["event"])
        elif "error" in answer:
            kind: type[LabelscrubError] = getattr(errors, answer["error"])
            raise kind(answer["cause"], answer["fix"])
        elif "crash" in answer:
            crash = RuntimeError(f"in a training process: {answer['crash']}")
            crash.add_note(answer["trace"])
            raise crash
        else:
            arrays = {}
            for key, (dtype, shape) in answer["arrays"].items():
                length = np.dtype(dtype).itemsize * int(np.prod(shape, dtype=np.int64))
                arrays[key] = np.frombuffer(processes.read(process.stdout, length), dtype).reshape(shape)
            yield name, FoldResult.from_arrays(arrays)
            return


@contextlib.contextmanager
def _threads(number: int) -> Iterator[None]:
    """torch with so many threads here."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
