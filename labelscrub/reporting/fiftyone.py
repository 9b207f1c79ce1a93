"""FiftyOne: labels.json of a FiftyOneImageClassificationDataset, whose images lie in `data` beside it.

    {"classes": ["cat", "dog"],
     "labels": {"cat/001": {"label": "cat", "confidence": 0.02, "attributes": {"row": 17, ...}}}}

A label's key is its image's path below `data` without the extension, so no two may differ in that alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from os.path import splitext
from typing import Any

from labelscrub.review_records import Suspect

DATA, LABELS = "data", "labels.json"


def labels_json(
    suspects: Sequence[Suspect],
    places: Sequence[str],  # (M,) each image's path below `data`
    classes: Sequence[str],
) -> bytes:
    """A sample a line. The label is the given one, its confidence the model's probability of it."""
    keys = [splitext(place)[0] for place in places]  # noqa: PTH122  (FiftyOne's rule)
    if len(set(keys)) < len(keys):
        raise ValueError("two images differ in their extension alone")
    lines = [f"{json.dumps(key)}: {json.dumps(_label(s))}" for key, s in zip(keys, suspects, strict=True)]
    head = f'{{"classes": {json.dumps(list(classes))}, "labels": {{'
    return (head + "\n" + ",\n".join(lines) + "\n}}\n").encode()


def _label(suspect: Suspect) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "given_label": suspect.given_label,
        "suggested_label": suspect.suggested_label,
        "score": round(suspect.score, 6),
        "is_suspect": suspect.is_suspect,
        "rank": suspect.rank,
        "row": suspect.row,
        "sha256": suspect.sha256,
        "source_path": suspect.path,
    }
    if math.isfinite(suspect.suggested_probability):
        attributes["suggested_probability"] = round(suspect.suggested_probability, 6)
    confidence = round(suspect.self_confidence, 6)
    return {"label": suspect.given_label, "confidence": confidence, "attributes": attributes}
