"""Decisions read back from other tools: their documented structures, and worse ones."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelscrub.curation import SuspectTable, exchanged, read_any_decisions, settle
from labelscrub.curation.decisions import decision_line
from labelscrub.errors import DataError, UsageError
from labelscrub.review_records import Decision, choice_name

CLASSES = ("cat", "dog", "ship", "nul\x00")
GIVEN = ("cat", "cat", "dog", "ship", "dog")


def sha(row):
    return f"{row + 1:064x}"


def path_of(row):
    return f"{GIVEN[row]}/{row}.png"


def table(rows=range(5), used=None):
    """A run of which each row has the image and label of these rows of GIVEN."""
    rows = list(rows)
    used = np.ones(len(rows), np.bool_) if used is None else used
    return SuspectTable(
        row=np.arange(len(rows)),
        path=[path_of(row) for row in rows],
        used=used,
        labels=CLASSES,
        given=np.array([CLASSES.index(GIVEN[row]) for row in rows], np.int32),
        suggested=np.zeros(len(rows), np.int32),
        is_suspect=np.ones(len(rows), np.bool_),
        score=np.ones(len(rows)),
        rank=np.arange(1, len(rows) + 1),
        conflict=np.zeros(len(rows), np.int64),
        sha256=np.array(
            [list(bytes.fromhex(sha(r))) for r, u in zip(rows, used, strict=True) if u], np.uint8
        ),
        skipped=(),
    )


def read(tmp_path, content, name="answers", **arguments):
    (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return read_any_decisions(tmp_path / name, table(**arguments), CLASSES)


def told(returned):
    """Row -> decision, and None -> how many are undecided."""
    undecided = {None: returned.undecided} if returned.undecided else {}
    return {d.row: d.label or d.choice for d in returned.decisions} | undecided


def data(row):
    """What the export writes into a task."""
    return {
        "image": f"/data/local-files/?d=pets/{row}.png",
        "ls_id": f"sha256:{sha(row)}",
        "given_label": GIVEN[row],
        "suggested_label": "ship",
        "rank": row + 1,
        "row": row,
        "path": path_of(row),
    }


def annotation(*choices, time="2026-03-09T22:16:08.728378Z", **more):
    # The annotation of https://labelstud.io/guide/task_format with the result of a Choices tag
    # (https://labelstud.io/tags/choices)
    result = {
        "id": "Dx_aB91ISN",
        "from_name": "choice",
        "to_name": "image",
        "type": "choices",
        "origin": "manual",
        "value": {"choices": list(choices)},
    }
    return {
        "id": "1001",
        "result": [result] if choices else [],
        "was_cancelled": False,
        "ground_truth": False,
        "created_at": "2026-03-09T22:00:00.728353Z",
        "updated_at": time,
        "lead_time": 4.288,
        "task": 1,
        "completed_by": 10,
        **more,
    }


def task(row, *annotations):
    return {
        "id": 100 + row,
        "annotations": list(annotations),
        "drafts": [],
        "predictions": [],
        "data": data(row),
        "meta": {},
        "created_at": "2026-03-09T21:52:49.513742Z",
        "updated_at": "2026-03-09T22:16:08.746926Z",
        "project": 83,
    }


def test_label_studio_answers(tmp_path):
    found = read(
        tmp_path,
        [
            task(0, annotation("cat")),
            task(1, annotation("dog")),
            task(2, annotation("[remove]")),
            task(3, annotation("cat", "dog")),
            task(4, annotation()),
        ],
    )
    assert told(found) == {0: "keep", 1: "dog", 2: "remove", None: 2}
    assert found.decisions[1] == Decision(1, "relabel", "dog", "cat", path_of(1), sha(1))
    assert [d.row for d in settle(found.decisions, table()).decisions] == [0, 1, 2]
    assert not settle(found.decisions, table()).strange


def test_the_newest_annotation_that_was_not_skipped_wins(tmp_path):
    old, new = (
        "2026-03-09T22:16:08Z",
        "2026-03-09T21:30:00.5-03:00",
    )  # half past midnight: later, though not as text
    found = read(
        tmp_path,
        [
            task(0, annotation("dog", time=new), annotation("ship", time=old)),
            task(1, annotation("dog", time=old), annotation("ship", time=new, was_cancelled=True)),
            task(2, annotation("cat", time=old), annotation(time=new)),
            task(3, annotation("cat", time=None, created_at=new), annotation("dog", time=old)),
            task(4, annotation("cat", was_cancelled=True)),
        ],
    )
    assert told(found) == {0: "dog", 1: "dog", 3: "cat", None: 2}


def test_the_same_image_in_two_tasks_has_one_answer(tmp_path):
    tasks = [task(0, annotation("dog")), task(0), task(1), task(1, annotation("ship"))]
    assert told(read(tmp_path, tasks)) == {0: "dog", 1: "ship"}
    assert len(read(tmp_path, tasks).decisions) == 2


def test_tasks_without_an_answer_yet_are_unreviewed(tmp_path):
    tasks = [{"data": data(0), "predictions": [{"result": annotation("dog")["result"]}]}]
    assert told(read(tmp_path, tasks)) == {None: 1}
    assert told(read(tmp_path, [{"data": data(0), "annotations": None}])) == {None: 1}


def test_another_control_in_the_project_does_not_answer(tmp_path):
    asked = annotation("dog")
    quality = {
        "from_name": "quality",
        "to_name": "image",
        "type": "choices",
        "value": {"choices": ["blurred"]},
    }
    asked["result"] += [quality, {"from_name": "note", "type": "textarea", "value": {"text": ["cat"]}}]
    own = annotation("ship")
    own["result"][0]["from_name"] = "label"
    both = annotation("ship")
    both["result"] = [dict(both["result"][0], from_name="label"), quality]
    tasks = [task(0, asked), task(1, own), task(2, both)]
    assert told(read(tmp_path, tasks)) == {0: "dog", 1: "ship", None: 1}


def test_other_peoples_tasks_are_passed_over(tmp_path):
    other = {"id": 1, "data": {"image": "x.png"}, "annotations": [annotation("wolf")]}
    assert told(read(tmp_path, [other, task(0, annotation("dog"))])) == {0: "dog"}
    with pytest.raises(DataError, match="none of its 1 tasks"):
        read(tmp_path, [other])


def test_json_min(tmp_path):
    # https://labelstud.io/guide/export#JSON-MIN: the task's data, the control's name with one choice as text
    # or several as an object, and the annotation's times
    def entry(row, time="2026-03-09T22:16:08.728378Z", **more):
        times = {"created_at": time, "updated_at": time}
        return {**data(row), "id": row, "annotator": 1, "annotation_id": 2, "lead_time": 3.5, **times, **more}

    late = "2026-03-10T22:16:08.728378Z"
    found = read(
        tmp_path,
        [
            entry(0, choice="cat"),
            entry(1, late, choice="dog"),
            entry(1, choice="ship"),
            entry(2, choice={"choices": ["cat", "dog"]}),
            entry(3),
            entry(4, choice="remove"),
        ],
    )
    assert told(found) == {0: "keep", 1: "dog", 4: "remove", None: 2}


def test_a_class_that_xml_cannot_hold(tmp_path):
    assert read(tmp_path, [task(0, annotation("nul\ufffd"))]).decisions[0].label == "nul\x00"


def fiftyone(labels, classes=CLASSES):
    # https://docs.voxel51.com/user_guide/export_datasets.html#fiftyoneimageclassificationdataset
    return {"classes": list(classes), "labels": labels}


def label(row, now=None, **attributes):
    return {
        "label": GIVEN[row] if now is None else now,
        "confidence": 0.25,
        "attributes": {
            "row": row,
            "sha256": sha(row),
            "given_label": GIVEN[row],
            "source_path": path_of(row),
            **attributes,
        },
    }


def test_fiftyone_labels(tmp_path):
    labels = {
        "a": label(0),
        "b": label(1, "dog"),
        "c": label(2, decision=" Keep"),
        "d": label(3, decision="remove"),
        "e": [label(4, "cat"), {"label": "ship"}],
        "unlabelled": None,
        "theirs": {"label": "wolf"},
        "plain": "wolf",
    }
    expected = {1: "dog", 2: "keep", 3: "remove", None: 2}
    assert told(read(tmp_path, fiftyone(labels))) == expected
    (tmp_path / "folder").mkdir()
    text = json.dumps(fiftyone(labels), indent=4)
    read(tmp_path / "folder", text, "labels.json")
    assert told(read_any_decisions(tmp_path / "folder", table(), CLASSES)) == expected


def test_fiftyone_labels_by_number_and_without_attributes(tmp_path):
    labels = {"a": label(0, 0), "b": label(1, 1), "c": label(2, None) | {"label": None}}
    assert told(read(tmp_path, fiftyone(labels))) == {1: "dog", None: 2}
    with pytest.raises(DataError, match="include_attributes"):
        read(tmp_path, fiftyone({"a": "cat", "b": {"label": "dog"}}))


def metadata(row, now=None, **more):
    return {
        "file_name": f"images/{row}.png",
        "label": GIVEN[row] if now is None else now,
        "original_label": GIVEN[row],
        "row": row,
        "sha256": sha(row),
        "source_path": path_of(row),
        **more,
    }


def lines(*entries):
    return "".join(json.dumps(entry) + "\n" for entry in entries)


def test_huggingface_metadata(tmp_path):
    text = lines(
        metadata(0),
        metadata(1, "dog"),
        metadata(2, decision="keep"),
        metadata(3, "[remove]"),
        metadata(4, ""),
    )
    text = text.replace('"label": ""', '"label": null')
    expected = {1: "dog", 2: "keep", 3: "remove", None: 2}
    assert told(read(tmp_path, text)) == expected
    assert told(read(tmp_path, "\ufeff" + text.replace("\n", "\r\n"))) == expected
    (tmp_path / "folder").mkdir()
    read(tmp_path / "folder", text, "metadata.jsonl")
    assert told(read_any_decisions(tmp_path / "folder", table(), CLASSES)) == expected
    assert told(read(tmp_path, lines(metadata(1, "dog")))) == {1: "dog"}  # one line is one JSON value too
    bare = {key: value for key, value in metadata(1, "dog").items() if key != "file_name"}
    assert told(read(tmp_path, lines(bare))) == {1: "dog"}  # `datasets` made an image of it


def test_a_lost_label_is_looked_up_in_the_run(tmp_path):
    def bare(row, now):
        return {k: v for k, v in metadata(row, now).items() if k != "original_label"}

    assert told(read(tmp_path, lines(bare(0, "cat"), bare(1, "dog")))) == {1: "dog", None: 1}
    assert told(read(tmp_path, lines(bare(1, "dog") | {"row": 1.0}))) == {1: "dog"}
    for line, arguments in (
        (bare(1, "dog") | {"sha256": sha(0)}, {}),
        (bare(1, "dog") | {"row": 99}, {}),
        (bare(1, "dog"), {"used": np.array([True, False, True, True, True])}),
    ):
        with pytest.raises(DataError, match="line 2: row"):
            read(tmp_path, lines(bare(0, "cat"), line), **arguments)


def test_a_million_answers_do_not_each_look_at_every_class(tmp_path, monkeypatch):
    looked = []
    monkeypatch.setattr(exchanged, "choice_name", lambda name: looked.append(name) or choice_name(name))
    tasks = [task(row, annotation("[remove]")) for row in range(5)]
    assert told(read(tmp_path, tasks)) == dict.fromkeys(range(5), "remove")
    assert len(looked) <= len(CLASSES) + len(tasks)


def test_the_journal_is_read_as_ever(tmp_path):
    decision = Decision(1, "relabel", "dog", "cat", path_of(1), sha(1))
    assert read(tmp_path, decision_line(decision)).decisions == (decision,)
    assert read(tmp_path, 3 * decision_line(decision)).decisions == 3 * (decision,)
    taken_back = replace(decision, choice="unreviewed", label="")
    assert read(tmp_path, decision_line(taken_back)).decisions == (taken_back,)
    assert read(tmp_path, "").decisions == ()
    with pytest.raises(DataError, match="line 2"):
        read(tmp_path, decision_line(decision) + '{"row": "x"}\n')


def test_rows_that_moved_are_found_by_content(tmp_path):
    found = read(tmp_path, [task(0, annotation("dog")), task(3, annotation("ship"))])
    moved = settle(found.decisions, table(rows=[4, 3, 0]))
    assert [(d.row, d.choice, d.path) for d in moved.decisions] == [
        (1, "keep", path_of(3)),
        (2, "relabel", path_of(0)),
    ]


def test_an_answer_that_is_no_class_is_named(tmp_path):
    with pytest.raises(DataError, match=r"answers, task 2: the answer 'wolf' is no class"):
        read(tmp_path, [task(0, annotation("dog")), task(1, annotation("wolf"))])
    with pytest.raises(DataError, match=r"answers, line 1: the answer 'wolf'"):
        read(tmp_path, lines(metadata(0, "wolf")))
    with pytest.raises(DataError, match=r"answers, 'k/0': the answer 'wolf'"):
        read(tmp_path, fiftyone({"k/0": label(0, "wolf")}))


def without(entry, *keys):
    return {key: value for key, value in entry.items() if key not in keys}


@pytest.mark.parametrize(
    "content",
    [
        # unrelated JSON: a package, a COCO file, GeoJSON, a list of numbers, a text
        {"name": "x", "version": "1.0"},
        {"images": [{"id": 1, "file_name": "a.png"}], "annotations": [], "categories": []},
        {"type": "FeatureCollection", "features": []},
        [1, 2, 3],
        "text",
        17,
        None,
        {},
        # of the right kind, but damaged
        [None],
        [{"data": "row"}],
        [{"data": {"row": None}}],
        [{"data": {**data(0), "row": "0"}}],
        [{"data": {**data(0), "row": -1}}],
        [{"data": {**data(0), "row": True}}],
        [{"data": {**data(0), "row": 10**30}}],
        [{"data": {**data(0), "ls_id": 5}}],
        [{"data": {**data(0), "given_label": ["cat"]}}],
        [{"data": data(0), "annotations": "none"}],
        [{"data": data(0), "annotations": ["none"]}],
        [task(0, annotation() | {"result": "dog"})],
        [task(0, annotation() | {"result": ["dog"]})],
        [task(0, annotation() | {"result": [{"type": "choices", "value": {"choices": "dog"}}]})],
        [task(0, annotation() | {"result": [{"type": "choices", "value": {"choices": [["dog"]]}}]})],
        [data(0) | {"choice": 5}],
        fiftyone([]),
        fiftyone({"a": label(0) | {"attributes": "row"}}),
        fiftyone({"a": label(0, 99)}),
        fiftyone({"a": label(0, 1)}, classes=[1, 2]),
        fiftyone({"a": label(0) | {"label": {"x": 1}}}),
        metadata(0) | {"label": 3},
        metadata(0) | {"decision": 3},
        metadata(0) | {"decision": "perhaps"},
        without(metadata(0), "row"),
        lines(metadata(0)) + "{",
        lines(metadata(0)) + "[]\n",
        "[" * 100_000,
        '{"labels": ' * 100_000,
        '[{"data": {"row": 0}}',
        "{\n",
        "not JSON at all",
        "\x00",
    ],
    ids=lambda content: ascii(content)[:40],
)
def test_what_is_no_answer_is_refused(tmp_path, content):
    with pytest.raises(DataError) as raised:
        read(tmp_path, content)
    assert str(tmp_path / "answers") in raised.value.cause and raised.value.fix


def test_bytes_and_places_that_cannot_be_read(tmp_path):
    (tmp_path / "latin").write_bytes(b'[{"data": "caf\xe9"}]')
    with pytest.raises(DataError, match="UTF-8"):
        read_any_decisions(tmp_path / "latin", table(), CLASSES)
    with pytest.raises(UsageError, match="no decisions"):
        read_any_decisions(tmp_path / "nowhere", table(), CLASSES)
    with pytest.raises(UsageError, match=r"neither labels\.json nor metadata"):
        read_any_decisions(tmp_path, table(), CLASSES)


LEAVES = st.sampled_from(
    [None, True, 0, 1, 3, -1, 1.5, float("nan"), 10**40, "", "dog", "[remove]", "choices", [], {}, [["dog"]]]
)
KEYS = st.sampled_from(["data", "row", "choice", "choices", "labels", "label", "file_name", "annotations"])
ANYTHING = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=15,
)
DOCUMENTS = [
    [task(0, annotation("dog"), annotation("cat")), task(1, annotation())],
    [{**data(0), "choice": "dog", "updated_at": "2026-03-09T22:16:08Z"}],
    fiftyone({"a": label(0, "dog"), "b": [label(1), {"label": "ship"}], "c": "cat"}),
    [metadata(0, "dog"), metadata(1, decision="keep")],
    [json.loads(decision_line(Decision(0, "relabel", "dog", "cat", path_of(0), sha(0))))],
]


def nodes(document):
    """(container, key) of every value in a document."""
    pairs = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in list(pairs):
        yield document, key
        if isinstance(value, dict | list):
            yield from nodes(value)


@st.composite
def damaged(draw):
    """A documented structure in which up to three values were replaced, wrapped or taken out, as text."""
    document = copy.deepcopy(draw(st.sampled_from(DOCUMENTS)))
    as_lines = isinstance(document, list) and "annotations" not in document[0] and draw(st.booleans())
    for _ in range(draw(st.integers(1, 3))):
        places = list(nodes(document))
        if not places:
            break
        container, key = draw(st.sampled_from(places))
        how = draw(st.sampled_from(["replace", "wrap", "remove"]))
        if how == "remove":
            del container[key]
        else:
            container[key] = copy.deepcopy(draw(LEAVES)) if how == "replace" else [container[key]]
    return lines(*document) if as_lines else json.dumps(document, indent=draw(st.sampled_from([None, 2])))


@settings(deadline=None, max_examples=500, derandomize=True)
@given(damaged() | ANYTHING.map(json.dumps) | st.text(max_size=40))
def test_any_text_gives_decisions_or_a_data_error(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(text, encoding="utf-8", errors="replace")
    try:
        decisions = read_any_decisions(path, table(), CLASSES).decisions
    except DataError:
        return
    for decision in decisions:
        assert (decision.choice == "relabel") == bool(decision.label) and decision.row >= 0
    settle(decisions, table())
