"""Small image folders that a network learns in a second, for tests that run the whole pipeline."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("dark", "left", "right")
QUICK = {"epochs": 4, "folds": 3, "batch_size": 16, "lr": 0.01, "device": "cpu", "precision": "float32"}
"""Settings that train on them in about a second."""


def picture(kind: str, seed: int, side: int = 10) -> Image.Image:
    """Grey noise that is dark, or bright on its left or right half."""
    pixels = np.random.default_rng(seed).integers(0, 60, (side, side), np.uint8)
    half = {"dark": slice(0, 0), "left": slice(0, side // 2), "right": slice(side // 2, side)}[kind]
    pixels[:, half] += 180
    return Image.fromarray(pixels)


def write_folder(folder: Path, *, each: int = 24, wrong: int = 2) -> set[str]:
    """An image folder with `each` pictures a class, the first `wrong` of each filed under the next class.

    Returns the paths of the wrongly filed ones, relative to `folder`.
    """
    planted = set()
    for number, kind in enumerate(CLASSES):
        for index in range(each):
            label = CLASSES[(number + 1) % 3] if index < wrong else kind
            name = f"{label}/{kind}-{index:03d}.png"
            (folder / label).mkdir(parents=True, exist_ok=True)
            picture(kind, 1000 * number + index).save(folder / name)
            if label != kind:
                planted.add(name)
    return planted


def write_csv(folder: Path, **arguments: int) -> set[str]:
    """The same as `labels.csv` beside the pictures, with quoting and columns that must survive."""
    planted = write_folder(folder / "images", **arguments)
    lines = ['"id",path,"label",note\r\n']
    for number, file in enumerate(sorted((folder / "images").rglob("*.png"))):
        path = file.relative_to(folder).as_posix()
        lines.append(f'{number:03d},{path},{file.parent.name},"a ""b"", c"\r\n')
    (folder / "labels.csv").write_bytes("".join(lines).encode())
    return {f"images/{name}" for name in planted}
