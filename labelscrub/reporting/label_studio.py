"""Label Studio: listed images as tasks with a prediction each, and the labelling configuration they need.

The answers come back through `curation.read_any_decisions`, which finds an image by `row`, `ls_id` and
`given_label` of its task.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from labelscrub import __version__
from labelscrub.review_records import REMOVE_CHOICE, Suspect, choice_name

FROM_NAME, TO_NAME = "choice", "image"  # as in Label Studio's own template for classifying images
LOCAL_FILES = "/data/local-files/?d="
_AS_TEXT = ("http", "https")  # other schemes name a bucket's object, whose name Label Studio takes as it is


def tasks_json(
    suspects: Sequence[Suspect],
    images: Sequence[str],  # (M,) where Label Studio finds each
) -> bytes:
    """One task a line, in the order given. The prediction's score is the suggested label's probability."""
    lines = [json.dumps(_task(*pair)) for pair in zip(suspects, images, strict=True)]
    return ("[\n" + ",\n".join(lines) + "\n]\n").encode() if lines else b"[]\n"


def _task(suspect: Suspect, image: str) -> dict[str, Any]:
    data = {
        TO_NAME: image,
        "ls_id": f"sha256:{suspect.sha256}",
        "given_label": suspect.given_label,
        "suggested_label": suspect.suggested_label,
        "rank": suspect.rank,
        "row": suspect.row,
        "path": suspect.path,
    }
    answer = {
        "id": f"row-{suspect.row}",
        "from_name": FROM_NAME,
        "to_name": TO_NAME,
        "type": "choices",
        "value": {"choices": [choice_name(suspect.suggested_label)]},
    }
    prediction: dict[str, Any] = {"model_version": f"labelscrub-{__version__}", "result": [answer]}
    if math.isfinite(suspect.suggested_probability):
        prediction["score"] = round(suspect.suggested_probability, 6)
    return {"data": data, "predictions": [prediction]}


def labelling_config(classes: Sequence[str]) -> bytes:
    """The labelling interface: the image, the given label above it, a choice a class and one for removing."""
    names = [choice_name(name) for name in classes]
    if REMOVE_CHOICE not in names:
        names.append(REMOVE_CHOICE)
    choices = "\n".join(f"    <Choice value={quoteattr(name)}/>" for name in names)
    return f"""<View>
  <Header value="Given label: $given_label"/>
  <Image name="{TO_NAME}" value="${TO_NAME}"/>
  <Choices name="{FROM_NAME}" toName="{TO_NAME}" choice="single" showInline="true">
{choices}
  </Choices>
</View>
""".encode()


def image_address(prefix: str, path: str) -> str:
    """Where an image is below `prefix`: its relative path quoted for a URL, but not in a bucket's (s3://...)."""
    scheme, is_url, _ = prefix.partition("://")
    if is_url and scheme.lower() not in _AS_TEXT:
        quoted = path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    else:
        quoted = quote(path.encode("utf-8", "surrogateescape"))
    return prefix + ("" if prefix.endswith(("/", "=")) else "/") + quoted
