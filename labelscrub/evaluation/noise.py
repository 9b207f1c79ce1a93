"""Planted label noise: which labels change, and to what. Exactly reproducible by the seed.

Symbols: N labels y_i, each in 0..K-1; K at least 2.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelscrub.errors import DataError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TOLERANCE = 0.001 + 1e-9
"""How far a row of a transition matrix may be from summing to 1: as far as thirds written 0.333."""


def uniform_flips(labels: NDArray[np.int32], num_classes: int, rate: float, seed: int) -> NDArray[np.int32]:
    """Flip a fraction of exactly `rate` of the labels, each to another class at random (paper, section 5).

    Args:
        labels: (N,) class indices.
        num_classes: K, at least 2.
        rate: share of labels to flip, 0..1; round(rate * N) of them are flipped.
        seed: of numpy's default generator.
    Returns:
        (N,) the noisy labels.
    """
    import numpy as np

    _require(num_classes, rate)
    generator = np.random.default_rng(seed)
    wrong = generator.choice(len(labels), size=round(rate * len(labels)), replace=False)
    noisy = labels.copy()
    noisy[wrong] = (labels[wrong] + generator.integers(1, num_classes, size=len(wrong))) % num_classes
    return noisy


def pair_flips(labels: NDArray[np.int32], num_classes: int, rate: float, seed: int) -> NDArray[np.int32]:
    """Flip exactly round(rate * N) labels, drawn from all of them, each from class k to k + 1, the last to 0.

    Arguments and result as `uniform_flips`, which changes the very same labels with the same seed.
    """
    import numpy as np

    _require(num_classes, rate)
    generator = np.random.default_rng(seed)
    wrong = generator.choice(len(labels), size=round(rate * len(labels)), replace=False)
    noisy = labels.copy()
    noisy[wrong] = (labels[wrong] + 1) % num_classes
    return noisy


def confusable_flips(
    labels: NDArray[np.int32],  # (N,)
    pred_probs: NDArray[np.floating[Any]],  # (N, K) out of fold
    rate: float,
    seed: int,
) -> NDArray[np.int32]:
    """Flip exactly round(rate * N) labels to what a model takes the image for, unclear images first.

    With p_i(k) the out-of-fold probability of class k, the wrong label is the runner-up

        r_i = argmax over k != y_i of p_i(k)        (of equals the first),

    and images are drawn one after the other without replacement, each time image i of those left with
    probability w_i / (sum of w over those left), where w_i = p_i(r_i). Done in one go: the round(rate * N)
    largest log w_i + g_i, g_i independent standard Gumbel (Efraimidis and Spirakis 2006, in logarithms).

    Where the label was wrong to begin with, the runner-up is often the truth: take labels that are right.
    """
    import numpy as np

    num_classes = pred_probs.shape[1]
    _require(num_classes, rate)
    others = pred_probs.astype(np.float64)
    if not np.isfinite(others).all():
        raise DataError("the probabilities are not all finite numbers", "run detect again")
    index = np.arange(len(labels))
    others[index, labels] = -1
    runner_up = others.argmax(axis=1)
    # A probability that float32 has lost is small, not impossible: at rate 1 every label is flipped.
    weight = np.maximum(others[index, runner_up], np.finfo(np.float32).tiny)
    keys = np.log(weight) + np.random.default_rng(seed).gumbel(size=len(labels))
    wrong = np.argsort(-keys, kind="stable")[: round(rate * len(labels))]
    noisy = labels.copy()
    noisy[wrong] = runner_up[wrong]
    return noisy


def matrix_flips(
    labels: NDArray[np.int32],  # (N,)
    transition: NDArray[np.float64],  # (K, K)
    seed: int,
) -> NDArray[np.int32]:
    """(N,) each label drawn anew from its row: class j with probability transition[y_i, j].

    Rows that sum to 1 but for rounding, within 0.001, are divided by their sum.

    Raises:
        DataError: where `transition` is not square, or a row is not a probability distribution.
    """
    import numpy as np

    num_classes = len(transition)
    _require(num_classes)
    require_stochastic(transition, [str(k) for k in range(num_classes)], "the transition matrix")
    drawn = np.random.default_rng(seed).random(len(labels))
    noisy = labels.copy()
    for k in np.unique(labels):
        cumulative = np.cumsum(transition[k])
        # side="right": a class of probability 0 is never met, not even by a draw of exactly 0
        noisy[labels == k] = np.searchsorted(cumulative / cumulative[-1], drawn[labels == k], side="right")
    return noisy


def read_transition(path: Path, classes: Sequence[str]) -> NDArray[np.float64]:
    """(K, K) the transition matrix in a file: rows are true classes, columns noisy ones.

    .csv with the class names as first row and first column, in any order; or .csv or .npy of bare numbers
    in the order of `classes`.

    Raises:
        UsageError: no such file, or of another kind.
        DataError: other classes, or a row that is not a probability distribution.
    """
    import numpy as np

    from labelscrub.data.pred_files import known_suffix, load_numpy

    matrix: Any
    if known_suffix(path, (".csv", ".npy")) == ".npy":
        matrix, named = load_numpy(path), False
        if not isinstance(matrix, np.ndarray) or matrix.dtype.kind not in "fiub":
            raise DataError(f"{path} does not hold numbers", "save the matrix as floating-point numbers")
    else:
        cells = _cells(path)
        named = not _is_number(cells[0][0])
        matrix = _by_name(cells, classes, path) if named else _numbers(cells, path)
    if not named and all(map(str.isdecimal, classes)) and list(classes) != sorted(classes, key=int):
        raise DataError(
            f"{path} does not name its classes, and the source's are numbers sorted as text: 10 before 2",
            "give a .csv with the class names as first row and first column",
        )
    transition: NDArray[np.float64] = np.asarray(matrix, np.float64)
    require_stochastic(transition, classes, str(path))
    return transition


def require_stochastic(
    matrix: NDArray[np.float64],  # (K, K)
    classes: Sequence[str],  # (K,)
    where: str,
) -> None:
    """DataError unless every row is a probability distribution over the K classes, rounded or not."""
    import numpy as np

    count = len(classes)
    if matrix.shape != (count, count):
        shape = " x ".join(map(str, matrix.shape))
        raise DataError(
            f"{where} is {shape}; the source has {count} classes", f"give {count} x {count} numbers"
        )
    for k, row in enumerate(matrix):
        problem = ""
        if not np.isfinite(row).all():
            problem = "has a value that is no finite number"
        elif (row < 0).any():
            problem = f"has a negative value, {row.min():g}"
        elif abs(row.sum() - 1) > TOLERANCE:
            problem = f"sums to {row.sum():.8g}, not 1"
        if problem:
            fix = "each row holds the probabilities of the labels that its class is given"
            raise DataError(f"{where}: the row of class {classes[k]!r} (row {k}) {problem}", fix)


def _require(num_classes: int, rate: float = 0.0) -> None:
    if not 0 <= rate <= 1:
        raise UsageError(f"--rate must be in 0..1, not {rate}")
    if num_classes < 2:
        raise DataError(
            f"a label can't be made wrong among {num_classes} classes", "it takes at least two classes"
        )


def _cells(path: Path) -> list[list[str]]:
    """The rows of a CSV file that are not blank."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            cells = [row for row in csv.reader(file, strict=True) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} can't be read: {error}", "give a comma-separated UTF-8 file") from error
    if not cells:
        raise DataError(f"{path} is empty", "give the matrix as comma-separated numbers")
    for number, row in enumerate(cells):
        if len(row) != len(cells[0]):
            raise DataError(
                f"{path}, line {number + 1}: {len(row)} cells where the first has {len(cells[0])}",
                "give every row as many cells",
            )
    return cells


def _by_name(cells: list[list[str]], classes: Sequence[str], path: Path) -> list[list[float]]:
    """Named rows and columns, put in the order of `classes`."""
    columns, rows = cells[0][1:], [row[0] for row in cells[1:]]
    for what, names in (("column", columns), ("row", rows)):
        for number, name in enumerate(names, 1):
            if name not in classes:
                raise DataError(
                    f"{path}: {what} {number} is {name!r}, which is no class of the source",
                    "name rows and columns as the classes: " + ", ".join(classes[:8]),
                )
            if names.index(name) != number - 1:
                raise DataError(f"{path}: two {what}s are named {name!r}", "give one for each class")
        if missing := [name for name in classes if name not in names]:
            raise DataError(f"{path} has no {what} for class {missing[0]!r}", f"give one {what} a class")
    values = _numbers([row[1:] for row in cells[1:]], path)
    return [[values[rows.index(a)][columns.index(b)] for b in classes] for a in classes]


def _numbers(cells: list[list[str]], path: Path) -> list[list[float]]:
    for number, row in enumerate(cells):
        for cell in row:
            if not _is_number(cell):
                raise DataError(
                    f"{path}: row {number} of the matrix has {cell!r}, no number", "mend this row"
                )
    return [[float(cell) for cell in row] for row in cells]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
