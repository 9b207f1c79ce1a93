"""Trainings that wait, fail or die: in a module, as a training process has to find them too."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch

from labelscrub.errors import ModelError
from labelscrub.records import Event, Progress
from labelscrub.training import FoldResult, train_fold

PATIENCE = 120.0  # seconds, on a machine with much else to do


def in_turn(
    pixels: np.ndarray, *, folder: Path, k: int, expected: int, progress: Progress, **job: Any
) -> FoldResult:
    """Fold `k`, once so many marks are in the folder; then one more, with the process and its threads."""
    wait(lambda: len(list(folder.iterdir())) >= expected, progress)
    result = train_fold(pixels, k=k, progress=progress, **job)
    (folder / f"{k} {os.getpid()} {torch.get_num_threads()}").touch()
    return result


def all_but_the_first(pixels: np.ndarray, *, k: int, progress: Progress, **job: Any) -> FoldResult:
    """Any fold but the first, which does not come to its end."""
    return waits(pixels, progress) if k == 0 else train_fold(pixels, k=k, progress=progress, **job)


def waits(pixels: np.ndarray, progress: Progress) -> NoReturn:
    """As a training that goes on and on."""
    wait(lambda: False, progress)
    raise AssertionError("nobody ended it")


def wait(ended: Callable[[], bool], progress: Progress) -> None:
    began = time.monotonic()
    while not ended() and time.monotonic() - began < PATIENCE:
        progress(Event("train", fold=1, folds=2))
        time.sleep(0.02)


def works_in_silence(pixels: np.ndarray, progress: Progress) -> NoReturn:
    """Says once that it is under way, and no more: so it meets no broken pipe."""
    progress(Event("train", fold=2, folds=2))
    time.sleep(PATIENCE)
    raise AssertionError("nobody ended it")


def fails(pixels: np.ndarray, progress: Progress) -> NoReturn:
    raise ModelError("the loss is not finite", "lower --lr")


def crashes(pixels: np.ndarray, progress: Progress) -> NoReturn:
    raise ZeroDivisionError("never seen before")


def runs_out_of_memory(pixels: np.ndarray, progress: Progress) -> NoReturn:
    raise MemoryError


def dies(pixels: np.ndarray, progress: Progress) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError
