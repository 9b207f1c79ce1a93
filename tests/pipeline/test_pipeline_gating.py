"""`check` and what it publishes: when it runs detect, baselines on disk, and which files it may replace."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from pictures import picture

from labelscrub.config import Settings
from labelscrub.config_limits import Limits
from labelscrub.curation.decisions import decision_line
from labelscrub.errors import DataError, EnvironmentProblem, UsageError
from labelscrub.pipeline import check, detect, parse_forms, publish
from labelscrub.pipeline.linting import lint
from labelscrub.pipeline.publishing import FORMS, SUMMARY_LIMIT
from labelscrub.reporting.suspects import read_suspects
from labelscrub.review_records import Decision

sys.path.insert(0, str(Path(__file__).parent.parent / "reporting"))
from listings import write_run
from reports import calibration, make_report


@pytest.fixture
def detected(tmp_path, monkeypatch):
    """The arguments that detect was called with, in place of an hour of training."""
    seen = []

    def detect(source, *, progress, **arguments):
        seen.append(arguments)
        return SimpleNamespace(out=Path(write_run(tmp_path / "run", calibrated=calibration())))

    monkeypatch.setattr("labelscrub.pipeline.finding.detect", detect)
    return seen


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "run")


@pytest.mark.parametrize(
    "arguments", [{"method": "calibrated"}, {"settings": Settings.of(method="calibrated")}]
)
def test_a_source_is_judged_by_the_run_it_gets(tmp_path, detected, arguments):
    assert not check(tmp_path, max_noise_rate=0.1, **arguments).passed
    assert detected == [arguments]


@pytest.mark.parametrize(
    "arguments", [{}, {"method": "cl"}, {"method": "aum"}, {"settings": Settings()}, {"settings": None}]
)
def test_another_method_is_refused_before_anything_is_trained(tmp_path, detected, arguments):
    with pytest.raises(UsageError, match="--max-noise-rate needs"):
        check(tmp_path, max_noise_rate=0.1, **arguments)
    assert detected == []


def test_other_gates_take_any_method(tmp_path, detected):
    assert check(tmp_path, max_rate=0.5).passed
    assert check(tmp_path, limits=Limits(max_rate=0.5), folds=3).passed
    assert detected == [{}, {"folds": 3}]


def test_a_mistake_is_told_before_anything_is_trained(tmp_path, detected):
    damaged, listed = tmp_path / "damaged.json", tmp_path / "decisions.jsonl"
    damaged.write_text("{}")
    for arguments in (
        {},
        {"max_noise_rate": 2.0},
        {"max_noise_rate": -1.0},
        {"max_rate": 0.1, "limits": Limits(max_rate=0.1)},
        {"max_rate": 0.1, "no_train": True},
        {"baseline": str(tmp_path / "none.json")},
        {"max_rate": 0.1, "update_baseline": True},
        {"baseline": str(damaged)},
        {"baseline": str(damaged), "update_baseline": True},
        {"baseline": str(tmp_path), "update_baseline": True},
        {"baseline": str(tmp_path / "new.json"), "decisions": str(listed)},
        {"baseline": str(tmp_path / "new.json"), "update_baseline": True, "decisions": str(listed)},
    ):
        with pytest.raises((UsageError, DataError)):
            check(tmp_path, method="calibrated", **arguments)
    assert detected == [] and damaged.read_text() == "{}"


def test_a_stored_run_needs_no_training(run, detected):
    assert check(run, max_rate=0.5, no_train=True).passed and detected == []


def test_the_life_of_a_baseline(tmp_path, run):
    known = tmp_path / "known.json"
    with pytest.raises(UsageError, match="there is no baseline") as caught:
        check(run, baseline=str(known))
    assert caught.value.fix.endswith(f"labelscrub check {run} --baseline {known} --update-baseline")

    made = check(run, baseline=str(known), update_baseline=True)
    assert made.passed and made.updated == (5, 0)
    first = known.read_bytes()
    assert check(run, baseline=str(known)).passed
    assert check(run, baseline=str(known), update_baseline=True).updated == (0, 0)
    assert known.read_bytes() == first, "the same suspects, the same bytes"

    more = write_run(tmp_path / "more", suspects=7)
    judged = check(more, baseline=str(known))
    assert not judged.passed and len(judged.compared.new) == 2 and known.read_bytes() == first
    assert check(more, baseline=str(known), max_suspects=2).passed

    one, two = [s for s in read_suspects(Path(run) / "report.parquet") if s.is_suspect][:2]
    journal = tmp_path / "decisions.jsonl"
    made = [Decision(one.row, "keep", "", one.given_label, one.path, one.sha256)]
    made.append(Decision(two.row, "remove", "", two.given_label, two.path, two.sha256))
    journal.write_text("".join(map(decision_line, made)))
    judged = check(run, baseline=str(known), update_baseline=True, decisions=journal)
    assert judged.passed and judged.compared.undone == 1

    clean = write_run(tmp_path / "clean", suspects=0)
    judged = check(clean, baseline=str(known), update_baseline=True)
    assert judged.updated == (0, 3), "nobody decided about three, and they are gone"
    entries = json.loads(known.read_text())["entries"]
    assert [(e["path"], e["verdict"]) for e in entries] == [(one.path, "keep"), (two.path, "remove")]
    assert check(run, baseline=str(known), max_suspects=3).passed
    assert not check(run, baseline=str(known), max_suspects=2).passed

    journal.write_text(
        decision_line(Decision(one.row, "unreviewed", "", one.given_label, one.path, one.sha256))
    )
    check(clean, baseline=str(known), update_baseline=True, decisions=journal)
    assert [e["verdict"] for e in json.loads(known.read_text())["entries"]] == ["remove"]


def test_a_run_that_cannot_be_trusted_changes_no_baseline(tmp_path, run):
    known = tmp_path / "known.json"
    table = Path(run) / "report.parquet"
    table.write_bytes(Path(write_run(tmp_path / "other", suspects=3), "report.parquet").read_bytes())
    with pytest.raises(DataError, match="is not as the run wrote it"):
        check(run, baseline=str(known), update_baseline=True)
    with pytest.raises(DataError):
        check(run, max_rate=1, with_listing=True)
    assert not known.exists()
    table.unlink()
    with pytest.raises(UsageError, match="there is no report"):
        check(run, baseline=str(known), update_baseline=True)
    assert check(run, max_rate=1).passed, "what does not need the table does not read it"


def test_a_link_to_a_baseline_stays_one(tmp_path, run):
    link, known = tmp_path / "link.json", tmp_path / "known.json"
    link.symlink_to(known)
    check(run, baseline=str(link), update_baseline=True)
    assert link.is_symlink() and known.is_file()


def published(run, forms, folder, environ=None, **limits):
    environ = environ or {}
    verdict = check(run, with_listing=True, **(limits or {"max_rate": 0.3}))
    return publish(verdict, parse_forms(forms, environ), folder=folder, environ=environ)


def test_one_form_on_stdout_and_the_others_in_files(tmp_path, run):
    files = {name: tmp_path / f"out.{name}" for name in FORMS}
    forms = [f"{name}={file}" for name, file in files.items()]
    text = published(run, forms, tmp_path)
    assert text.startswith("labelscrub check FAILED: "), "text is what is printed where nothing else is"
    for name, file in files.items():
        assert file.read_text(encoding="utf-8") == published(run, [name], tmp_path)
        assert b"labelscrub" in file.read_bytes()[:512]
    before = {name: file.read_bytes() for name, file in files.items()}
    published(run, forms, tmp_path, max_rate=1)  # over what was written before
    assert all(file.read_bytes() != before[name] for name, file in files.items())
    assert published(run, ["json", forms[0]], tmp_path).startswith("{")
    assert not list(tmp_path.glob(".labelscrub*"))


@pytest.mark.parametrize("name", FORMS)
def test_a_file_of_anything_else_is_never_replaced(tmp_path, run, name):
    mine = tmp_path / "labels.csv"
    contents = [b"path,label\na.png,cat\n", b"labelscrub\n", b"\n", b'{"tool": "labelscrub baseline"}']
    contents += [published(run, [other], tmp_path).encode() for other in FORMS if other != name]
    contents.append((Path(run) / "run.json").read_bytes())
    for content in contents:
        mine.write_bytes(content)
        with pytest.raises(UsageError, match="not overwritten"):
            parse_forms([f"{name}={mine}"], {})
        assert mine.read_bytes() == content
    mine.write_bytes(b"")
    published(run, [f"{name}={mine}"], tmp_path)
    assert mine.stat().st_size > 100


def test_a_link_to_an_earlier_verdict_stays_one(tmp_path, run):
    link, file = tmp_path / "link.json", tmp_path / "out.json"
    file.write_text("")
    link.symlink_to(file)
    published(run, [f"json={link}"], tmp_path)
    assert link.is_symlink() and json.loads(file.read_text())["passed"] is False


def test_a_file_that_came_meanwhile_is_not_replaced_either(tmp_path, run):
    forms = parse_forms([f"json={tmp_path / 'out.json'}"], {})
    (tmp_path / "out.json").write_text("mine")
    with pytest.raises(UsageError, match="not overwritten"):
        publish(check(run, max_rate=1), forms, folder=tmp_path, environ={})


@pytest.mark.parametrize(
    ("forms", "said"),
    [
        (["jsn"], "did you mean 'json'"),
        (["json", "text"], "only one format can go to stdout, not json and text"),
        (["json="], "names no file"),
        (["sarif=a", "json=./a"], "two formats have the same file"),
        (["json=."], "is not a regular file"),
        (["json=link"], "is not a regular file"),
        (["json=/dev/null"], "is not a regular file"),
    ],
)
def test_forms_that_make_no_sense(tmp_path, monkeypatch, forms, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(UsageError, match=said):
        parse_forms(forms, {})
    with pytest.raises(EnvironmentProblem, match="there is no folder"):
        parse_forms(["json=missing/out.json"], {})


@pytest.mark.parametrize("forms", [["github"], ["github", "markdown=SUMMARY"], ["markdown=SUMMARY"]])
def test_a_steps_summary_is_appended_to_once(tmp_path, run, forms):
    summary = tmp_path / "summary.md"
    environ = {"GITHUB_STEP_SUMMARY": str(summary)}
    forms = [form.replace("SUMMARY", str(summary)) for form in forms]
    for before in ("", "# Somebody's step\n"):
        summary.write_text(before)
        printed = published(run, forms, tmp_path, environ)
        text = summary.read_text(encoding="utf-8")
        assert text.startswith(before) and text.count("## labelscrub check failed") == 1
        assert "img/0003.png" in text, "the suspects were read, so the first are shown"
        assert printed.startswith("::error" if "github" in forms else "labelscrub check")
    summary.unlink()
    published(run, forms, tmp_path, environ)
    assert summary.read_text(encoding="utf-8").startswith("## labelscrub")


def test_a_full_summary_is_left_as_it_is(tmp_path, run):
    summary = tmp_path / "summary.md"
    summary.write_bytes(b"x" * (SUMMARY_LIMIT - 100))
    said = []
    environ = {"GITHUB_STEP_SUMMARY": str(summary)}
    verdict = check(run, max_rate=1, with_listing=True)
    publish(verdict, parse_forms(["github"], environ), folder=tmp_path, environ=environ, progress=said.append)
    assert summary.stat().st_size == SUMMARY_LIMIT - 100 and "is full" in said[0].message


def test_without_a_summary_only_commands(tmp_path, run):
    assert published(run, ["github"], tmp_path, {"GITHUB_STEP_SUMMARY": ""}).startswith("::error")
    with pytest.raises(EnvironmentProblem):
        published(run, ["github"], tmp_path, {"GITHUB_STEP_SUMMARY": str(tmp_path / "no" / "summary")})


def test_a_report_without_suspects_can_be_published_in_any_form(tmp_path):
    run = write_run(tmp_path / "clean", make_report(suspects=0, conflicts=0, skipped=0))
    for name in FORMS:
        assert published(run, [name], tmp_path, baseline=str(tmp_path / "b.json"), update_baseline=True)


def run_of_tables(tmp_path, **contents):
    """A run that has read these tables; their paths, and the run's."""
    tables = []
    for row, (name, text) in enumerate(contents.items()):
        path = tmp_path / f"{name}.csv"
        path.write_text(text)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        tables.append({"path": str(path), "first_row": row, "sha256": digest})
    provenance = {"source": str(tmp_path), "source_kind": "csv", "tables": tables}
    run = write_run(tmp_path / "run", provenance=provenance)
    return [Path(table["path"]) for table in tables], run


def test_a_table_that_changed_since_the_run_is_noted(tmp_path):
    (one, two), run = run_of_tables(tmp_path, one="a", two="b")
    assert check(run, max_rate=1).notes == ()
    two.write_text("c")
    said = ("two.csv changed since this run: run detect again.",)
    judged = check(run, max_rate=1)
    assert judged.passed and judged.notes == said
    known = {"baseline": str(tmp_path / "known.json"), "update_baseline": True}
    assert check(run, **known).notes == said
    assert f"\nNote: {said[0]}\n" in publish(judged, (), folder=tmp_path, environ={})
    one.write_text("d")
    assert check(run, max_rate=1).notes == (
        "one.csv and 1 more table changed since this run: run detect again.",
    )


def test_what_is_not_quickly_found_out_is_not_noted(tmp_path, monkeypatch):
    (one,), run = run_of_tables(tmp_path, one="a")
    one.write_text("larger")
    monkeypatch.setattr("labelscrub.pipeline.gating.QUICKLY_READ", 6)
    assert len(check(run, max_rate=1).notes) == 1
    monkeypatch.setattr("labelscrub.pipeline.gating.QUICKLY_READ", 5)
    assert check(run, max_rate=1).notes == ()
    one.unlink()
    assert check(run, max_rate=1).notes == ()
    one.mkdir()
    assert check(run, max_rate=1).notes == ()


def test_a_run_that_kept_no_digests_is_judged_as_before(tmp_path):
    (tmp_path / "labels.csv").write_text("changed")
    tables = [{"path": str(tmp_path / "labels.csv"), "first_row": 0}, {"path": "\0", "first_row": 1}]
    run = write_run(tmp_path / "run", provenance={"source_kind": "csv", "tables": tables})
    assert check(run, max_rate=1).notes == ()


def test_rows_that_a_baseline_knows_by_their_number_are_noted(tmp_path):
    np.save(tmp_path / "labels.npy", np.array([0, 1] * 20))
    probs = np.tile([[0.95, 0.05], [0.05, 0.95]], (20, 1))
    probs[3] = probs[2]
    np.save(tmp_path / "probs.npy", probs)
    out = tmp_path / "alone"
    detect(None, pred_probs=tmp_path / "probs.npy", labels=tmp_path / "labels.npy", out=out)
    (note,) = check(out, baseline=str(tmp_path / "known.json"), update_baseline=True).notes
    assert "by their row" in note
    assert check(out, max_rate=1).notes == ()


def test_places_are_relative_to_the_repository(tmp_path):
    """A step with a working-directory of its own must not lead to another file of the same name."""
    folder = tmp_path / "repo" / "data sets"
    folder.mkdir(parents=True)
    tables = [{"path": str(folder / "labels.csv"), "first_row": 0}]
    run = write_run(tmp_path / "run", provenance={"source_kind": "csv", "tables": tables})
    assert "file=labels.csv:" in published(run, ["github"], folder).replace(",", ":").replace("::", ":")
    (tmp_path / "repo" / ".git").write_text("gitdir: elsewhere")  # as a worktree has it
    assert "file=data sets/labels.csv:" in published(run, ["github"], folder).replace(",", ":").replace(
        "::", ":"
    )
    assert '"uri": "data%20sets/labels.csv"' in published(run, ["sarif"], folder)


def test_one_file_listed_under_two_labels_is_a_conflict_though_detect_skips_it(tmp_path):
    """As `lint` says of it; of the same path only the first row is used."""
    lines = ["path,label"]
    for index in range(12):
        picture("left", index).save(tmp_path / f"{index}.png")
        lines.append(f"{index}.png,{'ab'[index % 2]}")
    lines += ["0.png,a", "./2.png,a"]

    def judged(name, *more):
        rows = [*lines, *more]
        (tmp_path / name).write_text("\n".join(rows) + "\n")
        probs = np.array([[0.9, 0.1] if row.endswith(",a") else [0.1, 0.9] for row in rows[1:]])
        np.save(tmp_path / "probs.npy", probs)
        out = tmp_path / f"run-{name}"
        detect(tmp_path / name, pred_probs=tmp_path / "probs.npy", out=out, workers=0)
        (gate,) = check(out, fail_on_conflicting_duplicates=True).gates
        assert gate.passed == check(out, fail_on_conflicting_duplicates=True, with_listing=True).passed
        assert gate.passed == lint(tmp_path / name, fail_on=["conflict"], workers=0).passed
        return gate.passed, gate.value

    assert judged("agreed.csv") == (True, 0)
    assert judged("contradicted.csv", "0.png,b") == (False, 1)
    (tmp_path / "copy.png").write_bytes((tmp_path / "0.png").read_bytes())
    assert judged("copied.csv", "0.png,b", "./2.png,b", "copy.png,b") == (False, 4)
