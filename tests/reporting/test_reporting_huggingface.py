"""metadata.jsonl as the documentation of `datasets` has it for image folders."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pyarrow.json
from exchange import suspect
from reports import HOSTILE

from labelscrub.reporting.huggingface import metadata_jsonl
from labelscrub.reporting.text import printable


def test_a_line_has_file_name_and_columns():
    # https://huggingface.co/docs/datasets/image_dataset#imagefolder: a JSON object a line, `file_name`
    # relative to the metadata file, further columns with any name
    (line,) = metadata_jsonl([suspect(17)], ["images/cat/17.png"]).decode().splitlines()
    assert json.loads(line) == {
        "file_name": "images/cat/17.png",
        "label": "cat",
        "original_label": "cat",
        "suggested_label": "dog",
        "suggested_probability": 0.75,
        "score": 0.9,
        "is_suspect": True,
        "rank": 18,
        "row": 17,
        "sha256": f"{17:064x}",
        "source_path": "cat/17.png",
    }


def test_types_are_those_of_the_first_line(tmp_path):
    # `datasets` reads it with pyarrow's JSON reader and keeps the types of the first lines
    names = list(map(printable, HOSTILE))
    suspects = [suspect(0), *(suspect(row, given=name) for row, name in enumerate(names, 1))]
    suspects += [replace(suspect(50), score=1.0, suggested_probability=0.0)]
    suspects += [replace(suspect(51), suggested_probability=math.nan)]
    data = metadata_jsonl(suspects, [f"images/{s.row}.png" for s in suspects])
    (tmp_path / "all.jsonl").write_bytes(data)
    table = pyarrow.json.read_json(tmp_path / "all.jsonl")
    assert table["label"].to_pylist() == ["cat", *names, "cat", "cat"]
    for number, line in enumerate(data.splitlines(keepends=True)[:-1]):  # the last has a null
        (tmp_path / f"{number}.jsonl").write_bytes(line)
        assert pyarrow.json.read_json(tmp_path / f"{number}.jsonl").schema == table.schema
    assert metadata_jsonl([], []) == b""
