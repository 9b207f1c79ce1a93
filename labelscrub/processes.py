"""Child processes that work for a stage: plain processes and pipes, not multiprocessing.

Nothing of the user's script is imported again, the terminal's Ctrl-C does not reach them, and a child whose
parent is gone (even killed) reads the end of its input and ends.

One message each way: 4 bytes of length, JSON, then raw bytes as the message announces them.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import IO, Any

BOOT = """
import importlib, json, sys
sys.path[:] = json.loads(sys.argv.pop(1))
importlib.import_module(sys.argv.pop(1)).main()
"""
READY = b"labelscrub child ready\n"


def start(
    module: str, *arguments: str, threads: int = 1, descriptors: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    """A process that runs `module.main()` with sys.argv[1:] = arguments; an OSError where it can't.

    Its pipes are binary; `threads` is for OpenMP and OpenBLAS; open file `descriptors` stay open in it, under
    their numbers. `main` calls `attach` first, the parent `expect_ready`.
    """
    path = json.dumps([entry for entry in sys.path if isinstance(entry, str)])
    return subprocess.Popen(
        [sys.executable, "-P", "-W", "ignore", "-c", BOOT, path, module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # C libraries write there, over the progress bar
        pass_fds=descriptors,
        start_new_session=True,  # the terminal's Ctrl-C is for the parent
        env={**os.environ, "OPENBLAS_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)},
    )


def expect_ready(process: subprocess.Popen[bytes]) -> None:
    """Wait until the process can take messages; an OSError where it ended instead."""
    assert process.stdout is not None
    if process.stdout.readline() != READY:
        process.kill()  # it may live on, where something else in there prints
        raise OSError(f"it ended with code {process.wait()}")


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill the process if it still lives, and free what it held; for the thread that reads its answers."""
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        with suppress(OSError):  # unwritten bytes for a process that is gone
            if pipe is not None:
                pipe.close()


def attach() -> tuple[IO[bytes], IO[bytes]]:
    """In the child: where messages come from and answers go to; it is ready from here on."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stdin, stdout = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints in here can't garble the answers
    stdout.write(READY)
    stdout.flush()
    return stdin, stdout


def send(stream: IO[bytes], message: Any, blobs: Iterable[bytes] = ()) -> None:
    """One message; a BrokenPipeError where the other side is gone."""
    text = json.dumps(message).encode()
    stream.write(struct.pack("<I", len(text)) + text)
    for blob in blobs:
        stream.write(blob)
    stream.flush()


def receive(stream: IO[bytes]) -> Any:
    """The next message; an EOFError where the other side is gone."""
    (length,) = struct.unpack("<I", read(stream, 4))
    return json.loads(read(stream, length))


def read(stream: IO[bytes], length: int) -> bytes:
    """So many raw bytes; an EOFError where the other side is gone."""
    data = stream.read(length)
    if len(data) < length:
        raise EOFError
    return data
