"""Hugging Face: metadata.jsonl of an image folder, which `datasets` and labelscrub itself both load."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from labelscrub.review_records import Suspect

IMAGES, METADATA = "images", "metadata.jsonl"


def metadata_jsonl(
    suspects: Sequence[Suspect],
    places: Sequence[str],  # (M,) each image's path relative to metadata.jsonl
) -> bytes:
    """An image a line. `label` is the given one, and the one to correct; `original_label` stays as it is.

    Every line has the same keys with values of the same types, which `datasets` infers from the first ones.
    """
    return "".join(json.dumps(_line(*pair)) + "\n" for pair in zip(suspects, places, strict=True)).encode()


def _line(suspect: Suspect, place: str) -> dict[str, Any]:
    probability = suspect.suggested_probability
    return {
        "file_name": place,
        "label": suspect.given_label,
        "original_label": suspect.given_label,
        "suggested_label": suspect.suggested_label,
        "suggested_probability": round(probability, 6) if math.isfinite(probability) else None,
        "score": round(suspect.score, 6),
        "is_suspect": suspect.is_suspect,
        "rank": suspect.rank,
        "row": suspect.row,
        "sha256": suspect.sha256,
        "source_path": suspect.path,
    }
