"""A small finished run without training, and the command that reviews it."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from pictures import CLASSES, write_csv

import labelscrub


def finished_run(folder: Path) -> list[int]:
    """labels.csv, its pictures and `run` in `folder`; returns the rows whose labels are wrong.

    The probabilities know what each picture shows: its name says so.
    """
    write_csv(folder, each=12)
    with (folder / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    true = [CLASSES.index(Path(row["path"]).name.split("-")[0]) for row in rows]
    given = [CLASSES.index(row["label"]) for row in rows]
    probs = np.full((len(rows), 3), 0.02, np.float32)
    probs[np.arange(len(rows)), true] = 0.96
    np.save(folder / "probs.npy", probs)
    labelscrub.detect(folder / "labels.csv", pred_probs=folder / "probs.npy", out=folder / "run", workers=0)
    return [row for row, (is_, said) in enumerate(zip(true, given, strict=True)) if is_ != said]


@contextmanager
def reviewing(
    run: Path, *options: str, stop: signal.Signals = signal.SIGINT
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command under way: the process and the address that it printed. Ended by `stop`, in order."""
    command = [sys.executable, "-m", "labelscrub", "review", str(run), "--no-open", *options]
    environment = {k: v for k, v in os.environ.items() if k != "DISPLAY"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            url = process.stdout.readline().strip()
            assert url.startswith("http://127.0.0.1:"), process.stderr.read()
            yield process, url
            process.send_signal(stop)
            rest, process.news = process.communicate(timeout=60)
            assert rest == ""
        finally:
            process.kill()
