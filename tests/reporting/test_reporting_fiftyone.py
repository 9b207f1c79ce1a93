"""labels.json as FiftyOne documents it for a FiftyOneImageClassificationDataset."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from exchange import CLASSES, suspect
from reports import HOSTILE

from labelscrub.reporting.fiftyone import labels_json
from labelscrub.reporting.text import printable


def test_labels_have_the_documented_form():
    # https://docs.voxel51.com/user_guide/dataset_creation/datasets.html#fiftyoneimageclassificationdataset:
    # classes, and labels by uuid with label, confidence and attributes
    document = json.loads(labels_json([suspect(17), suspect(3)], ["cat/17.png", "b.x/3.tar.png"], CLASSES))
    assert document["classes"] == ["cat", "dog", "ship"]
    assert list(document["labels"]) == ["cat/17", "b.x/3.tar"]
    assert document["labels"]["cat/17"] == {
        "label": "cat",
        "confidence": 0.125,
        "attributes": {
            "given_label": "cat",
            "suggested_label": "dog",
            "suggested_probability": 0.75,
            "score": 0.9,
            "is_suspect": True,
            "rank": 18,
            "row": 17,
            "sha256": f"{17:064x}",
            "source_path": "cat/17.png",
        },
    }


def test_two_images_under_one_key_are_refused():
    with pytest.raises(ValueError, match="extension"):
        labels_json([suspect(1), suspect(2)], ["a.png", "a.jpg"], CLASSES)


def test_hostile_names_and_unknown_figures():
    names = list(map(printable, HOSTILE))
    suspects = [
        replace(suspect(row, given=name), suggested_probability=math.nan) for row, name in enumerate(names)
    ]
    document = json.loads(labels_json(suspects, [f"{row}.png" for row in range(len(names))], names))
    assert document["classes"] == names
    assert [label["label"] for label in document["labels"].values()] == names
    assert all("suggested_probability" not in label["attributes"] for label in document["labels"].values())
    assert json.loads(labels_json([], [], ())) == {"classes": [], "labels": {}}
