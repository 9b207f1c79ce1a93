"""The demo's data: scikit-learn's digits as PNG files, some of their labels made wrong on purpose."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from labelscrub.errors import UsageError
from labelscrub.evaluation.metrics import Detected, detected
from labelscrub.evaluation.noise import uniform_flips
from labelscrub.records import Report
from labelscrub.store import write_new

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RATE, SEED = 0.1, 0


@dataclass(frozen=True, eq=False)
class DemoData:
    """What was written, and the truth about it."""

    manifest: Path
    wrong: NDArray[np.bool_]
    """(N,) which rows of the manifest carry a planted error."""


def write_digits(folder: Path) -> DemoData:
    """Write 1,797 digit images and `labels.csv` with 10 % planted errors. The same bytes every time.

    Raises:
        UsageError: where `folder` holds something else.
    """
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    truth = digits.target.astype(np.int32)
    given = uniform_flips(truth, 10, RATE, SEED)
    names = [f"images/{index:04d}.png" for index in range(len(truth))]
    rows = "".join(f"{name},{g},{t}\n" for name, g, t in zip(names, given, truth, strict=True))
    table, content = folder / "labels.csv", f"path,label,true_label\n{rows}".encode()
    ours = table.is_file() and table.read_bytes() == content
    if folder.exists() and not ours and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is not an empty folder", "name another one with --folder")
    (folder / "images").mkdir(parents=True, exist_ok=True)
    if not ours:
        write_new(table, content)  # first of all: by it a demo that was stopped knows its folder again
    for name, pixels in zip(names, digits.images, strict=True):
        Image.fromarray((pixels * (255 / 16)).astype(np.uint8)).save(folder / name)
    return DemoData(table, given != truth)


def count_found(report: Report, wrong: NDArray[np.bool_]) -> Detected:
    """Compare suspects with the truth; `wrong` is (R,), by manifest row."""
    import numpy as np

    suspect = np.zeros_like(wrong)
    suspect[report.rows[report.findings.is_suspect]] = True
    return detected(suspect, wrong)
