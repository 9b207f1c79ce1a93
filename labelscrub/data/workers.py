"""Decoding in processes of their own: a crash, a hang or a Ctrl-C in there is never the run's end.

The child loads Pillow and NumPy, never torch. Raw bytes in its messages: files one way, pixels the other.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from dataclasses import asdict

from labelscrub import processes
from labelscrub.data.tasks import Job, Outcome, Task, carry_out
from labelscrub.errors import EnvironmentProblem

IMAGE_SECONDS = 60.0  # after which one image is given up
CRASHES_IN_A_ROW = 10  # that many images without one decoded between: not the images' fault


def run(batches: Iterable[list[Task]], job: Job, workers: int) -> Generator[list[Outcome], None, None]:
    """Carry out all tasks, outcomes in any order; in this process where `workers` is 0.

    Closing the iterator, an exception included, ends the processes at once.
    """
    if workers == 0:
        for batch in batches:
            yield [carry_out(task, job) for task in batch]
        return
    pool = _Pool(batches, job, workers)
    try:
        yield from pool.outcomes()
    finally:
        pool.close()


class _Pool:
    """One thread a process: hands out batches, reads the answers, starts the process anew if it dies."""

    def __init__(self, batches: Iterable[list[Task]], job: Job, workers: int) -> None:
        self.batches, self.job = iter(batches), job
        self.turn, self.closed, self.crashes = threading.Lock(), False, 0
        self.answers: queue.Queue[list[Outcome] | BaseException | None] = queue.Queue(maxsize=2 * workers)
        self.children = [_Child(job) for _ in range(workers)]
        self.threads = [
            threading.Thread(target=self._serve, args=(child,), daemon=True) for child in self.children
        ]

    def outcomes(self) -> Generator[list[Outcome], None, None]:
        for thread in self.threads:
            thread.start()
        working = len(self.threads)
        while working:
            try:
                answer = self.answers.get(timeout=0.2)
            except queue.Empty:
                answer = []
            for child in self.children:
                child.end_if_stuck()
            if isinstance(answer, BaseException):
                raise answer
            if answer is None:
                working -= 1
            elif answer:
                yield answer

    def close(self) -> None:
        self.closed = True
        for child in self.children:
            child.signal()
        for thread in self.threads:
            if thread.ident is not None:
                thread.join()
        for child in self.children:
            child.kill()

    def _serve(self, child: _Child) -> None:
        try:
            while not self.closed:
                with self.turn:
                    batch = next(self.batches, None)
                if batch is None:
                    break
                self._carry_out(child, batch)
            self._answer(None)
        except BaseException as error:  # handed to the main thread, whatever it is
            self._answer(error)

    def _carry_out(self, child: _Child, batch: list[Task]) -> None:
        suspected = -1  # slot at which a process died once already
        while batch and not self.closed:
            outcomes = child.ask(batch, lambda: self.closed)
            if outcomes:
                self.crashes = 0
                self._answer(outcomes)
            batch = batch[len(outcomes) :]
            if not batch or self.closed:
                return
            if child.gave_up:
                self._answer([Outcome(batch[0].slot, "unreadable", f"took longer than {IMAGE_SECONDS:g} s")])
                batch = batch[1:]
            elif suspected == batch[0].slot:  # twice, the second time in a fresh process: it is this image
                self._answer([Outcome(batch[0].slot, "unreadable", "decoder crashed")])
                batch = batch[1:]
                self.crashes += 1
            else:
                suspected = batch[0].slot
            if self.crashes >= CRASHES_IN_A_ROW:
                raise EnvironmentProblem(
                    f"decoding processes keep dying ({self.crashes} in a row), perhaps out of memory",
                    "free memory, use fewer --workers, or --workers 0 to decode without extra processes",
                )

    def _answer(self, answer: list[Outcome] | BaseException | None) -> None:
        while not self.closed:
            with suppress(queue.Full):
                self.answers.put(answer, timeout=0.2)
                return


class _Child:
    """A decoding process as its parent sees it."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.process: subprocess.Popen[bytes] | None = None
        self.gave_up = False
        self.waiting_since = 0.0

    def ask(self, batch: list[Task], closed: Callable[[], bool]) -> list[Outcome]:
        """Outcomes of the batch, fewer if the process died: then the next task is what it died of."""
        outcomes: list[Outcome] = []
        self.gave_up = False
        try:
            process = self._started()
            assert process.stdin is not None and process.stdout is not None
            self.waiting_since = time.monotonic()
            blobs = [task.data for task in batch if task.data is not None]
            tasks = [[t.slot, t.path, t.known, -1 if t.data is None else len(t.data)] for t in batch]
            processes.send(process.stdin, tasks, blobs)
            for _ in batch:
                if closed():
                    raise EOFError
                fields = processes.receive(process.stdout)
                pixels = processes.read(process.stdout, fields.pop("length"))
                outcomes.append(Outcome(**{**fields, "stat": tuple(fields["stat"])}, pixels=pixels))
                self.waiting_since = time.monotonic()
        except (EOFError, BrokenPipeError):
            self.kill()
        finally:
            self.waiting_since = 0.0
        return outcomes

    def _started(self) -> subprocess.Popen[bytes]:
        if self.process is not None:
            return self.process
        try:
            self.process = process = processes.start(__name__, json.dumps(asdict(self.job)))
            processes.expect_ready(process)
        except OSError as error:
            self.kill()
            raise EnvironmentProblem(
                f"a decoding process could not be started: {error}",
                "use --workers 0 to decode without extra processes",
            ) from None
        return process

    def end_if_stuck(self) -> None:
        if self.waiting_since and time.monotonic() - self.waiting_since > IMAGE_SECONDS:
            self.gave_up = True
            self.signal()

    def signal(self) -> None:
        """End the process; whoever reads its answers finds their end."""
        if (process := self.process) is not None:
            process.kill()

    def kill(self) -> None:
        """End the process and free what it held; for the thread that reads its answers."""
        process, self.process = self.process, None
        if process is not None:
            processes.end(process)


def main() -> None:
    """The child: tasks from stdin, outcomes to stdout, until the input ends."""
    stdin, stdout = processes.attach()
    job = Job(**json.loads(sys.argv[1]))
    try:
        while True:
            tasks = [
                Task(slot, path, None if length < 0 else processes.read(stdin, length), known)
                for slot, path, known, length in processes.receive(stdin)
            ]
            for task in tasks:
                fields = dict(vars(carry_out(task, job)))
                pixels = fields.pop("pixels")
                processes.send(stdout, {**fields, "length": len(pixels)}, [pixels])
    except (EOFError, BrokenPipeError):
        os._exit(0)  # the parent has no more, or is gone
