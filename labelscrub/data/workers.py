"""Decoding in processes of their own: a crash, a hang or a Ctrl-C in there is never the run's end.

The child loads Pillow and NumPy, never torch. It answers for many images at once: a message an image would
cost more than decoding a small one. Raw bytes in the messages: files one way, records and pixels the other.
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
from labelscrub.data.tasks import RECORD, Job, Outcome, Outcomes, Task, carry_out, pack, unpack
from labelscrub.errors import EnvironmentProblem

IMAGE_SECONDS = 60.0  # after which one image is given up
ANSWER_SECONDS = 0.1  # a child answers for what it has by then, so that a slow image is known as such
CRASHES_IN_A_ROW = 10  # that many images without one decoded between: not the images' fault


def run(batches: Iterable[list[Task]], job: Job, workers: int) -> Generator[Outcomes, None, None]:
    """Carry out all tasks, outcomes in any order; in this process where `workers` is 0.

    Closing the iterator, an exception included, ends the processes at once.
    """
    if workers == 0:
        for batch in batches:
            yield _outcomes(batch, [carry_out(task, job) for task in batch])
        return
    pool = _Pool(batches, job, workers)
    try:
        yield from pool.outcomes()
    finally:
        pool.close()


def _outcomes(tasks: list[Task], outcomes: list[Outcome]) -> Outcomes:
    return unpack([task.slot for task in tasks], *pack(outcomes))


class _Pool:
    """One thread a process: hands out batches, reads the answers, starts the process anew if it dies."""

    def __init__(self, batches: Iterable[list[Task]], job: Job, workers: int) -> None:
        self.batches, self.job = iter(batches), job
        self.turn, self.closed, self.crashes = threading.Lock(), False, 0
        self.answers: queue.Queue[Outcomes | BaseException | None] = queue.Queue(maxsize=2 * workers)
        self.children = [_Child(job) for _ in range(workers)]
        self.threads = [
            threading.Thread(target=self._serve, args=(child,), daemon=True) for child in self.children
        ]

    def outcomes(self) -> Generator[Outcomes, None, None]:
        for thread in self.threads:
            thread.start()
        working = len(self.threads)
        while working:
            answer: Outcomes | BaseException | None
            try:
                answer = self.answers.get(timeout=0.2)
            except queue.Empty:
                continue
            finally:
                for child in self.children:
                    child.end_if_stuck()
            if isinstance(answer, BaseException):
                raise answer
            if answer is None:
                working -= 1
            else:
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
        """Once the process died over a batch its tasks go one by one, to find which it died of."""
        at_once, deaths = len(batch), 0  # deaths over this one task, alone
        while batch and not self.closed:
            part = batch[:at_once]
            answered = child.ask(part, self._answer, lambda: self.closed)
            batch = batch[answered:]
            if answered:
                self.crashes = deaths = 0
            if answered == len(part) or self.closed:
                continue
            if len(part) > 1:
                at_once = 1
                continue
            deaths += 1
            if child.gave_up:
                self._give_up(batch[0], f"took longer than {IMAGE_SECONDS:g} s")
            elif deaths == 2:  # the second time in a fresh process: it is this image
                self._give_up(batch[0], "decoder crashed")
                self.crashes += 1
            else:
                continue
            batch, deaths = batch[1:], 0
            if self.crashes >= CRASHES_IN_A_ROW:
                raise EnvironmentProblem(
                    f"decoding processes keep dying ({self.crashes} in a row), perhaps out of memory",
                    "free memory, use fewer --workers, or --workers 0 to decode without extra processes",
                )

    def _give_up(self, task: Task, reason: str) -> None:
        self._answer(_outcomes([task], [Outcome(task.slot, "unreadable", reason)]))

    def _answer(self, answer: Outcomes | BaseException | None) -> None:
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

    def ask(self, batch: list[Task], tell: Callable[[Outcomes], None], closed: Callable[[], bool]) -> int:
        """`tell` the outcomes in the batch's order; how many, fewer than asked where the process died."""
        answered = 0
        self.gave_up = False
        try:
            process = self._started()
            assert process.stdin is not None and process.stdout is not None
            self.waiting_since = time.monotonic()
            blobs = [task.data for task in batch if task.data is not None]
            tasks = [
                [task.path, task.known.hex(), -1 if task.data is None else len(task.data)] for task in batch
            ]
            processes.send(process.stdin, tasks, blobs)
            while answered < len(batch) and not closed():
                count, length, failures = processes.receive(process.stdout)
                records = processes.read(process.stdout, count * RECORD.size)
                pixels = processes.read(process.stdout, length)
                slots = [task.slot for task in batch[answered : answered + count]]
                self.waiting_since = 0.0  # the time until the answer is taken is not the image's
                tell(unpack(slots, records, [(kind, reason) for kind, reason in failures], pixels))
                answered += count
                self.waiting_since = time.monotonic()
        except (EOFError, BrokenPipeError):
            self.kill()
        finally:
            self.waiting_since = 0.0
        return answered

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
        since = self.waiting_since  # another thread resets it
        if since and time.monotonic() - since > IMAGE_SECONDS:
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
                Task(0, path, None if length < 0 else processes.read(stdin, length), bytes.fromhex(known))
                for path, known, length in processes.receive(stdin)
            ]
            outcomes: list[Outcome] = []
            told = time.monotonic()
            for place, task in enumerate(tasks, 1):
                outcomes.append(carry_out(task, job))
                if place == len(tasks) or time.monotonic() - told > ANSWER_SECONDS:
                    records, failures, pixels = pack(outcomes)
                    processes.send(stdout, (len(outcomes), len(pixels), failures), (records, pixels))
                    outcomes, told = [], time.monotonic()
    except (EOFError, BrokenPipeError):
        os._exit(0)  # the parent has no more, or is gone
