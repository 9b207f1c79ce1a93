"""The process that trains beside others: jobs from stdin, news and results to stdout; see `side_by_side`."""

from __future__ import annotations

import json
import os
import pickle
import queue
import sys
import threading
import traceback
from typing import IO

import torch

from labelscrub import processes
from labelscrub.errors import LabelscrubError
from labelscrub.records import Event
from labelscrub.training.shared_pixels import SharedPixels

OUT_OF_MEMORY = "a training process ran out of memory"
ALONE = "free memory, or set OMP_NUM_THREADS=1 to train one network at a time"


def main() -> None:
    """Train one network after the other, until the input ends."""
    stdin, stdout = processes.attach()
    about = json.loads(sys.argv[1])
    torch.set_num_threads(about["threads"])
    pixels = None
    jobs: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(stdin, jobs), daemon=True).start()

    def tell(event: Event) -> None:
        processes.send(stdout, {"event": vars(event)})

    try:
        while True:
            try:
                job = pickle.loads(jobs.get())  # from our own parent, and no one else
                if pixels is None:
                    pixels = SharedPixels(**about["pixels"]).open()
                arrays = job(pixels, progress=tell).arrays()
            except BrokenPipeError:
                raise
            except LabelscrubError as error:
                processes.send(
                    stdout, {"error": type(error).__name__, "cause": error.cause, "fix": error.fix}
                )
            except MemoryError:
                processes.send(stdout, {"error": "EnvironmentProblem", "cause": OUT_OF_MEMORY, "fix": ALONE})
            except Exception as error:
                brief = f"{type(error).__name__}: {error}"
                processes.send(stdout, {"crash": brief, "trace": traceback.format_exc()})
            else:
                described = {name: [array.dtype.str, array.shape] for name, array in arrays.items()}
                blobs = (array.tobytes() for array in arrays.values())
                processes.send(stdout, {"arrays": described}, blobs)
    except BrokenPipeError:
        os._exit(0)  # the parent is gone


def _listen(stdin: IO[bytes], jobs: queue.SimpleQueue[bytes]) -> None:
    """Take in jobs, and see at once, also in the midst of training, when the parent is gone."""
    try:
        while True:
            jobs.put(processes.read(stdin, processes.receive(stdin)))
    except EOFError:
        os._exit(0)
