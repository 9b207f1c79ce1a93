"""Label Studio's task format and labelling configuration, as its guide has them."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree

import pytest
from exchange import CLASSES, suspect
from reports import HOSTILE

from labelscrub import __version__
from labelscrub.reporting.label_studio import image_address, labelling_config, tasks_json
from labelscrub.reporting.text import printable
from labelscrub.review_records import REMOVE_CHOICE, choice_name


def test_a_task_has_the_documented_form():
    # https://labelstud.io/guide/predictions: data, and predictions with model_version, score and results of
    # id, from_name, to_name, type and value
    task = json.loads(tasks_json([suspect(17)], ["https://host/17.png"]))
    assert task == [
        {
            "data": {
                "image": "https://host/17.png",
                "ls_id": f"sha256:{17:064x}",
                "given_label": "cat",
                "suggested_label": "dog",
                "rank": 18,
                "row": 17,
                "path": "cat/17.png",
            },
            "predictions": [
                {
                    "model_version": f"labelscrub-{__version__}",
                    "result": [
                        {
                            "id": "row-17",
                            "from_name": "choice",
                            "to_name": "image",
                            "type": "choices",
                            "value": {"choices": ["dog"]},
                        }
                    ],
                    "score": 0.75,
                }
            ],
        }
    ]


def test_what_is_not_known_is_left_out_of_a_task():
    (task,) = json.loads(tasks_json([replace(suspect(), suggested_probability=math.nan)], ["x"]))
    assert "score" not in task["predictions"][0]
    assert tasks_json([], []) == b"[]\n"


def test_the_configuration_offers_what_the_tasks_predict():
    # https://labelstud.io/tags/choices: name and toName of the control are a result's from_name and to_name;
    # the object's value is "$" and a key of the task's data
    names = [*map(printable, HOSTILE), *CLASSES, " spaced ", "&amp;"]
    tree = ElementTree.fromstring(labelling_config(names))
    (image,), (choices,) = tree.findall("Image"), tree.findall("Choices")
    tasks = json.loads(tasks_json([replace(suspect(), suggested_label=name) for name in names], names))
    offered = [choice.get("value") for choice in choices]
    assert offered == [*map(choice_name, names), REMOVE_CHOICE]
    for task in tasks:
        (result,) = task["predictions"][0]["result"]
        assert (choices.get("name"), image.get("name")) == (result["from_name"], result["to_name"])
        assert choices.get("toName") == image.get("name")
        assert image.get("value") == "$image" and "image" in task["data"]
        assert result["value"]["choices"][0] in offered
    assert choices.get("choice") == "single"


def test_a_class_of_that_name_is_offered_once():
    tree = ElementTree.fromstring(labelling_config(["cat", REMOVE_CHOICE]))
    assert [choice.get("value") for choice in tree.iter("Choice")] == ["cat", REMOVE_CHOICE]


@pytest.mark.parametrize("path", ["a b/c&d=1#2?.png", "100%/+1.png", "ß/é.png", "plain.png"])
def test_an_address_means_its_path_again(path):
    # https://labelstud.io/guide/storage: local files are named relative to the document root in the query `d`
    local = urlsplit(image_address("/data/local-files/?d=pets/", path))
    assert parse_qs(local.query) == {"d": [f"pets/{path}"]} and not local.fragment
    remote = urlsplit(image_address("https://host/images", path))
    assert unquote(remote.path) == f"/images/{path}" and not remote.query


def test_prefixes():
    assert image_address("/data/local-files/?d=", "a b.png") == "/data/local-files/?d=a%20b.png"
    assert image_address("https://h/x/", "caf\udce9.png") == "https://h/x/caf%E9.png"
    assert image_address("s3://bucket/x", "a b&c.png") == "s3://bucket/x/a b&c.png"
    assert image_address("", "a b.png") == "/a%20b.png"
