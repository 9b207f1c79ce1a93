"""A small source with copies under different labels, a truth, and probabilities that find most errors."""

from __future__ import annotations

import numpy as np
from pictures import CLASSES, picture

EACH = 12


def write_source(folder, *, copies=True):
    """36 pictures, six with a wrong label, and a copy of three under another label: 39 rows, 9 wrong.

    Without `copies` only the 36. Returns the manifest; `probs.npy` beside it has one of
    probabilities for each row.
    """
    (folder / "images").mkdir(parents=True)
    rows, probabilities = [], []
    generator = np.random.default_rng(0)
    for number, kind in enumerate(CLASSES):
        for index in range(EACH):
            name = f"images/{kind}-{index}.png"
            picture(kind, 100 * number + index).save(folder / name)
            true, wrong = kind, CLASSES[(number + 1) % 3]
            rows.append((name, wrong if index < 2 else true, true))
            scores = generator.random(3) * 2
            scores[number] += 1.2 if index else 0.2  # the first wrong label of each class is hard to see
            probabilities.append(scores / scores.sum())
        if not copies:
            continue
        copy = f"images/{kind}-copy.png"
        picture(kind, 100 * number + 5).save(folder / copy)
        rows.append((copy, wrong, true))
        probabilities.append(probabilities[-EACH + 5])
    lines = [f"{name},{given},{true}\n" for name, given, true in rows]
    (folder / "labels.csv").write_text("path,label,true_label\n" + "".join(lines))
    np.save(folder / "probs.npy", np.array(probabilities, np.float32))
    return folder / "labels.csv"
