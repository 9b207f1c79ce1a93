"""Data for `bench scale`, made up: probabilities and labels, JPEG images, a folder of a million names."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

from labelscrub.records import Event, Progress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CHUNK = 10_000  # rows made at once
WRONG = 0.1  # share of labels made wrong
UNSURE = 0.2  # largest share of an image's probability that may be spread over all classes at random
LINKS = 50_000  # of one file; ext4 allows 65,000
TELL = 5_000  # files between two events


def write_probabilities(
    target: Path,  # an .npy file
    true: NDArray[np.integer],  # (N,) the class that gets most of the probability, of most images
    num_classes: int,
    seed: int = 0,
) -> None:
    """(N, K) float32, rows that sum to 1: most sure of the true class, others torn between two."""
    import numpy as np

    rng = np.random.default_rng(seed)
    matrix = np.lib.format.open_memmap(target, "w+", np.float32, (len(true), num_classes))
    for start in range(0, len(true), CHUNK):
        own = true[start : start + CHUNK]
        rest = rng.standard_exponential((len(own), num_classes), np.float32)
        rest *= (UNSURE * rng.random((len(own), 1), np.float32)) / rest.sum(axis=1, keepdims=True)
        left = 1 - rest.sum(axis=1)
        at = np.arange(len(own))
        other = rng.integers(0, num_classes, len(own))
        share = rng.beta(4, 1, len(own)).astype(np.float32)
        rest[at, own] += left * share
        rest[at, other] += left * (1 - share)
        matrix[start : start + CHUNK] = rest
    matrix.flush()


def flipped(
    true: NDArray[np.integer],  # (N,)
    num_classes: int,
    seed: int = 0,
) -> NDArray[np.int32]:
    """(N,) labels, a tenth of them another class."""
    import numpy as np

    from labelscrub.evaluation.noise import uniform_flips

    return uniform_flips(true.astype(np.int32), num_classes, WRONG, seed)


def write_jpegs(
    folder: Path,
    count: int,
    size: tuple[int, int],  # width, height in pixels
    classes: int,
    progress: Progress,
) -> None:
    """`count` JPEG files of smooth random colours with some grain, in a folder a class."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for k in range(classes):
        (folder / f"class-{k:02d}").mkdir(parents=True)
    for index in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8))
        fine = Image.fromarray(rng.integers(0, 256, (size[1] // 4, size[0] // 4, 3), np.uint8))
        smooth, grain = (image.resize(size, Image.Resampling.BICUBIC) for image in (coarse, fine))
        pixels = Image.blend(smooth, grain, 0.15)
        file = io.BytesIO()
        pixels.save(file, "JPEG", quality=90)
        (folder / f"class-{index % classes:02d}" / f"{index:06d}.jpg").write_bytes(file.getvalue())
        if index % TELL == 0:
            progress(Event("bench", index, count, "files"))


def write_links(folder: Path, count: int, classes: int, progress: Progress) -> None:
    """`count` names of few image files, hard links to them, in a folder a class."""
    from PIL import Image

    folders = [folder / f"class-{k:03d}" for k in range(classes)]
    for place in folders:
        place.mkdir(parents=True)
    names = [f"{folders[index % classes]}/{index:07d}.png" for index in range(count)]
    first = names[0]
    for index, name in enumerate(names):
        if index % LINKS == 0:
            first = name
            Image.new("L", (8, 8), index // LINKS).save(first)
        else:
            os.link(first, name)
        if index % (10 * TELL) == 0:
            progress(Event("bench", index, count, "files"))
