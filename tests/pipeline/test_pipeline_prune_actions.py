"""Each way to clean on each kind of source, and the way back: finished runs without a training."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pictures import picture

import labelscrub
from labelscrub.curation.move_journal import journal_files, read_journal
from labelscrub.errors import DataError, EnvironmentProblem, UsageError
from labelscrub.pipeline import prune, undo
from labelscrub.reporting import read_suspects

KINDS = ("dark", "left", "right")
WRONG = ("dark/right-0.png", "left/dark-0.png", "right/left-0.png")
TABLES = ("csv", "tsv", "jsonl", "parquet", "metadata", "metadata-splits")


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch):
    """No waiting for the disk: no test cuts the power."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def images(folder, seed=0):
    """Five right pictures a class and one that belongs to another; relative paths in byte order."""
    for number, kind in enumerate(KINDS):
        for index in range(6):
            label = kind if index else KINDS[(number + 1) % 3]
            (folder / label).mkdir(parents=True, exist_ok=True)
            picture(kind, seed + 100 * number + index, side=8).save(folder / label / f"{kind}-{index}.png")
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))


def make_source(folder, kind):
    """A source of this kind with 18 images: what `detect` takes, and its options."""
    if "splits" in kind:
        for split, seed in (("train", 0), ("test", 1000)):
            paths = images(folder / "all" / split, seed)
            if kind == "metadata-splits":
                metadata(folder / "all" / split, paths)
        return folder / "all", {"split": "all"}
    paths = images(folder / "images")
    rows = [(f"images/{path}", path.split("/")[0]) for path in paths]
    if kind == "folder":
        return folder / "images", {}
    if kind == "metadata":
        return metadata(folder / "images", paths), {}
    source = folder / f"labels.{kind}"
    if kind == "parquet":
        pq.write_table(pa.table({"path": [p for p, _ in rows], "label": [k for _, k in rows]}), source)
    elif kind == "jsonl":
        lines = [json.dumps({"path": path, "x": [1], "label": label}) for path, label in rows]
        source.write_text("\n".join(lines) + "\n")
    else:
        between = {"csv": ",", "tsv": "\t"}[kind]
        lines = [between.join(("path", "label", "n"))] + [
            between.join((path, f'"{label}"', "007")) for path, label in rows
        ]
        source.write_bytes("\r\n".join([*lines, ""]).encode())
    return source, {}


def metadata(folder, paths):
    lines = [f"{path},{path.split('/')[0]}" for path in paths]
    (folder / "metadata.csv").write_text("\n".join(["file_name,label", *lines, ""]))
    return folder


def run_on(folder, kind):
    """A finished run: every planted picture is a suspect, with its right label suggested."""
    source, options = make_source(folder, kind)
    return detected(folder, source, **options)


def detected(folder, source, **options):
    from labelscrub.config import SourceSettings
    from labelscrub.data import read_source

    manifest = read_source(source, SourceSettings(**options))
    probs = np.full((len(manifest), len(manifest.classes)), 0.02, np.float32)
    for row, path in enumerate(manifest.paths):
        probs[row, manifest.classes.index(Path(path).name.split("-")[0])] = 0.96
    np.save(folder / "probs.npy", probs)
    labelscrub.detect(source, pred_probs=folder / "probs.npy", out=folder / "run", workers=0, **options)
    return folder / "run", source


def decide(run, **choices):
    """A decisions file: by given label of the suspects, "keep", "remove" or the new label."""
    lines = []
    for suspect in read_suspects(run / "report.parquet"):
        choice = choices.get(suspect.given_label)
        if choice:
            entry = {"row": suspect.row, "path": suspect.path, "given_label": suspect.given_label}
            entry |= {"sha256": suspect.sha256, "choice": choice}
            if choice not in ("keep", "remove"):
                entry |= {"choice": "relabel", "label": choice}
            lines.append(json.dumps(entry) + "\n")
    (run.parent / "decisions.jsonl").write_text("".join(lines))
    return run.parent / "decisions.jsonl"


def tree(folder):
    """Name -> mode, mtime, bytes of all below a folder and itself."""
    return {
        path.relative_to(folder).as_posix(): (
            path.stat().st_mode,
            path.stat().st_mtime_ns,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in [folder, *folder.rglob("*")]
    }


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))


def labels_in(manifest):
    """path -> label of a manifest in any format."""
    if manifest.suffix == ".parquet":
        rows = pq.read_table(manifest).to_pylist()
    elif manifest.suffix == ".jsonl":
        rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    else:
        with manifest.open(newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t" if manifest.suffix == ".tsv" else ","))
    return {row.get("path") or row["file_name"]: row["label"] for row in rows}


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A finished run of each kind of source, made once: kind -> (its folder, source within)."""
    made = {}

    def make(kind):
        if kind not in made:
            folder = tmp_path_factory.mktemp(kind)
            _, source = run_on(folder, kind)
            made[kind] = folder, source.relative_to(folder)
        return made[kind]

    return make


@pytest.fixture
def finished(stored, tmp_path):
    """kind -> (run, source): a copy that the test may change; `source=` says where it is."""

    def copy(kind):
        folder, source = stored(kind)
        shutil.copytree(folder, tmp_path / "copy")
        return tmp_path.resolve() / "copy" / "run", tmp_path.resolve() / "copy" / source

    return copy


# manifest


@pytest.mark.parametrize("kind", ["folder", "folder-splits", *TABLES])
def test_manifest_has_rows_out_and_labels_in(finished, kind):
    run, source = finished(kind)
    decisions = decide(run, dark="remove", left="dark", right="keep")
    before = tree(source if source.is_dir() else source.parent / "images")
    pruned = prune(run, source=source, decisions=decisions)
    found = {Path(path).name: label for path, label in labels_in(pruned.target).items()}
    assert found["dark-0.png"] == "dark" and found["left-0.png"] == "right"
    assert "right-0.png" not in found
    doubled = 2 if "splits" in kind else 1
    assert (pruned.listed, pruned.kept, pruned.suspects, pruned.relabelled) == (
        18 * doubled,
        17 * doubled,
        doubled,
        doubled,
    )
    assert tree(source if source.is_dir() else source.parent / "images") == before
    if kind == "csv":
        lines = source.read_bytes().splitlines(keepends=True)
        expected = [
            line.replace(b'dark-0.png,"left"', b'dark-0.png,"dark"')
            for line in lines
            if b"right-0" not in line
        ]
        assert pruned.target.read_bytes() == b"".join(expected)


def test_manifest_of_embedded_images(tmp_path):
    paths = images(tmp_path / "images")
    rows = [{"bytes": (tmp_path / "images" / path).read_bytes(), "path": Path(path).name} for path in paths]
    table = pa.table({"image": rows, "label": [path.split("/")[0] for path in paths]})
    pq.write_table(table, tmp_path / "data.parquet")
    shutil.rmtree(tmp_path / "images")
    run, _ = detected(tmp_path, tmp_path / "data.parquet")
    decisions = decide(run, dark="remove", left="dark")
    pruned = prune(run, decisions=decisions)
    found = pq.read_table(pruned.target).to_pylist()
    expected = [
        row for row in table.to_pylist() if (row["label"], row["image"]["path"]) != ("dark", "right-0.png")
    ]
    for row in expected:
        row["label"] = "dark" if row["image"]["path"] == "dark-0.png" else row["label"]
    assert found == expected
    for action in ("quarantine", "copy"):
        with pytest.raises(UsageError, match="inside the Parquet file") as raised:
            prune(run, decisions=decisions, action=action)
        assert "--action manifest" in raised.value.fix


def test_without_decisions_all_suspects_go(finished):
    run, source = finished("folder")
    assert prune(run, source=source).suspects == 3


# quarantine and relabel


@pytest.mark.parametrize("action", ["quarantine", "relabel"])
@pytest.mark.parametrize("kind", ["folder", "folder-splits"])
def test_files_of_a_folder_are_moved_and_put_back(finished, kind, action):
    run, source = finished(kind)
    decisions = decide(run, dark="remove", left="dark", right="keep")
    before, around = tree(source), source.parent.stat().st_mtime_ns
    pruned = prune(run, source=source, decisions=decisions, action=action)
    splits = ("train/", "test/") if kind == "folder-splits" else ("",)
    out = {f"{split}dark/right-0.png" for split in splits}
    wrong = {f"{split}left/dark-0.png" for split in splits}
    right = {f"{split}dark/dark-0.png" for split in splits}
    quarantine = source.with_name(f"{source.name}-quarantine")
    everything = {name for name in before if name.endswith(".png")}
    if action == "quarantine":
        assert set(names(quarantine)) == out | wrong
        assert set(names(source)) == everything - out - wrong
    else:
        assert set(names(quarantine)) == out
        assert set(names(source)) == everything - out - wrong | right
    assert (pruned.files, pruned.within) == (2 * len(splits), 0 if action == "quarantine" else len(splits))
    assert pruned.left == () and pruned.manifest is None
    moved = {Path(change.target).name for change in pruned.changes}
    assert moved == {"right-0.png", "dark-0.png"}
    restored = undo(run)
    assert (len(restored.put_back), restored.left) == (2 * len(splits), ())
    assert tree(source) == before
    assert not quarantine.exists()
    assert source.parent.stat().st_mtime_ns == around


@pytest.mark.parametrize("kind", TABLES)
def test_files_of_a_table_are_moved_with_a_manifest_of_the_rest(finished, kind):
    run, source = finished(kind)
    before = tree(source.parent)
    decisions = decide(run, dark="remove", left="dark", right="keep")
    pruned = prune(run, source=source, decisions=decisions, action="quarantine")
    left = {Path(path).name for path in labels_in(pruned.manifest)}
    assert left == {f"{k}-{i}.png" for k in KINDS for i in range(6)} - {"right-0.png", "dark-0.png"}
    place = source.parent / (f"{source.name}-quarantine" if source.is_dir() else "labels-quarantine")
    assert {Path(name).name for name in names(place)} == {"right-0.png", "dark-0.png"}
    assert pruned.target == place
    undo(run)
    after = tree(source.parent)
    outside = {name: kept for name, kept in after.items() if not name.startswith(("run", "decisions"))}
    assert outside.keys() == {name for name in before if not name.startswith("run")}
    assert {name: kept for name, kept in outside.items() if name != "."} == {
        name: before[name] for name in outside if name != "."
    }
    again = prune(run, source=source, decisions=decisions, action="quarantine")
    assert again.manifest.name.startswith("pruned (2)")


@pytest.mark.parametrize("kind", ["csv", "parquet", "metadata"])
def test_relabel_needs_class_folders(finished, kind):
    run, source = finished(kind)
    with pytest.raises(UsageError, match="labels are in") as raised:
        prune(run, source=source, action="relabel")
    assert "--action manifest" in raised.value.fix


def test_relabel_without_decisions_takes_the_suggested_labels(finished):
    run, source = finished("folder")
    before = {path.name: path.read_bytes() for path in source.rglob("*.png")}
    (source / "dark" / "dark-0 (2).png").touch()  # not listed by the run: refused
    with pytest.raises(DataError, match="new"):
        prune(run, source=source, action="relabel")
    (source / "dark" / "dark-0 (2).png").unlink()
    pruned = prune(run, source=source, action="relabel")
    assert all(Path(name).parent.name == Path(name).name.split("-")[0] for name in names(source))
    assert (pruned.relabelled, pruned.within, pruned.suspects) == (3, 3, 0)
    undo(run)
    assert {path.name: path.read_bytes() for path in source.rglob("*.png")} == before


def test_a_taken_name_gets_a_number(tmp_path):
    images(tmp_path / "images")
    picture("dark", 77, side=8).save(tmp_path / "images" / "dark" / "right-9.png")
    picture("right", 78, side=8).save(tmp_path / "images" / "right" / "right-9.png")
    run, source = detected(tmp_path, tmp_path / "images")
    pruned = prune(run, action="relabel", to=tmp_path / "aside", yes=True)
    renamed = [change for change in pruned.changes if change.renamed]
    assert [Path(change.target).name for change in renamed] == ["right-9 (2).png"]
    assert (source / "right" / "right-9 (2).png").exists()
    assert not (tmp_path / "aside").exists()  # nothing was removed


def test_only_labels_have_no_files(tmp_path):
    np.save(tmp_path / "labels.npy", np.array([0, 1] * 10))
    probs = np.tile(np.array([[0.9, 0.1], [0.1, 0.9]], np.float32), (10, 1))
    probs[0] = 0.02, 0.98
    np.save(tmp_path / "probs.npy", probs)
    labelscrub.detect(
        None,
        pred_probs=tmp_path / "probs.npy",
        labels=tmp_path / "labels.npy",
        out=tmp_path / "run",
        workers=0,
    )
    for action in ("quarantine", "copy"):
        with pytest.raises(UsageError, match="labels alone"):
            prune(tmp_path / "run", action=action)
    decisions = decide(tmp_path / "run", **{"0": "1"})
    pruned = prune(tmp_path / "run", decisions=decisions)
    assert labels_in(pruned.target)["0"] == "1"


# copy


@pytest.mark.parametrize("link", [True, False])
@pytest.mark.parametrize("kind", ["folder", "folder-splits", *TABLES])
def test_a_clean_copy_can_be_read_and_is_right(finished, tmp_path, kind, link):
    from labelscrub.config import SourceSettings
    from labelscrub.data import read_source

    run, source = finished(kind)
    before = tree(source)
    decisions = decide(run, dark="remove", left="dark", right="right")
    pruned = prune(run, source=source, decisions=decisions, action="copy", link=link)
    assert pruned.target == source.with_name(("labels" if source.is_file() else source.name) + "-clean")
    assert pruned.linked == link
    assert tree(source) == before
    split = "all" if kind == "folder-splits" else None
    again = pruned.manifest if pruned.manifest and kind != "metadata" else pruned.target
    manifest = read_source(again, SourceSettings(split=split))
    assert not manifest.skipped
    doubled = 2 if "splits" in kind else 1
    assert len(manifest) == 17 * doubled == pruned.kept == pruned.files
    found = {
        Path(path).name: manifest.classes[k] for path, k in zip(manifest.paths, manifest.labels, strict=True)
    }
    assert found["dark-0.png"] == "dark" and found["left-0.png"] == "right" and "right-0.png" not in found
    if source.is_file():
        assert pruned.manifest.name == source.name


# Dry runs


@pytest.mark.parametrize("action", ["manifest", "quarantine", "relabel", "copy"])
def test_a_dry_run_says_all_and_changes_nothing(finished, action):
    run, source = finished("folder")
    decisions = decide(run, dark="remove", left="dark", right="keep")
    before = tree(run.parent)
    dry = prune(run, source=source, decisions=decisions, action=action, dry_run=True)
    after = tree(run.parent)
    for unsteady in ("run/lock", "run"):
        before.pop(unsteady, None), after.pop(unsteady, None)
    assert after == before
    real = prune(run, source=source, decisions=decisions, action=action)
    assert dry.dry_run and not real.dry_run
    assert dry.changes == real.changes
    assert (dry.kept, dry.files, dry.target, dry.within) == (real.kept, real.files, real.target, real.within)
    assert [(change.path, change.given_label, change.label) for change in dry.changes] == [
        ("dark/right-0.png", "dark", ""),
        ("left/dark-0.png", "left", "dark"),
    ]


# Decisions


def test_only_decided_rows_are_acted_on(finished):
    run, source = finished("folder")
    pruned = prune(run, source=source, decisions=decide(run, left="remove"))
    assert (pruned.kept, pruned.suspects) == (17, 1)


def test_decisions_about_something_else_are_named(finished):
    run, source = finished("folder")
    decisions = decide(run, dark="remove")
    lines = decisions.read_text() + json.dumps(
        {"row": 99, "path": "x/y.png", "given_label": "dark", "sha256": "0" * 64, "choice": "remove"}
    )
    decisions.write_text(lines + "\n")
    pruned = prune(run, source=source, decisions=decisions, dry_run=True)
    assert pruned.suspects == 1
    assert len(pruned.notes) == 1 and "1 decision is" in pruned.notes[0] and "x/y.png" in pruned.notes[0]
    decisions.write_text(lines.splitlines()[-1] + "\n")
    with pytest.raises(DataError, match=r"no decision .*x/y\.png"):
        prune(run, source=source, decisions=decisions)
    decisions.write_text("")
    with pytest.raises(DataError, match="decides nothing"):
        prune(run, source=source, decisions=decisions)
    with pytest.raises(UsageError, match="no decisions in"):
        prune(run, source=source, decisions=run.parent / "nowhere.jsonl")


@pytest.mark.parametrize("narrowed", [{"top": 1}, {"min_score": 0.5}, {"max_per_class": 1}])
def test_decisions_and_a_narrowing_exclude_each_other(finished, narrowed):
    run, source = finished("folder")
    option = "--" + next(iter(narrowed)).replace("_", "-")
    with pytest.raises(UsageError, match=f"--decisions does not go together with {option}"):
        prune(run, source=source, decisions=decide(run, dark="remove"), **narrowed)


def test_a_label_that_is_no_class_is_refused(finished):
    run, source = finished("folder")
    with pytest.raises(DataError, match="'drak', which is no class") as raised:
        prune(run, source=source, decisions=decide(run, left="drak"))
    assert "'dark'" in raised.value.fix


def test_decisions_that_empty_a_class_need_a_yes(finished):
    run, source = finished("folder")
    lines = [
        json.dumps({"row": row, "given_label": "dark", "choice": "relabel", "label": "left"})
        for row in range(4)
    ]
    decisions = run.parent / "decisions.jsonl"
    decisions.write_text("\n".join(lines) + "\n")
    with pytest.raises(UsageError, match="takes most images out of class 'dark'"):
        prune(run, source=source, decisions=decisions)
    assert prune(run, source=source, decisions=decisions, yes=True).relabelled == 4


def test_decisions_in_the_run_are_mentioned_where_not_used(finished):
    run, source = finished("folder")
    shutil.move(decide(run, left="remove"), run / "decisions.jsonl")
    pruned = prune(run, source=source, dry_run=True)
    assert pruned.suspects == 3
    assert len(pruned.notes) == 1 and "--decisions" in pruned.notes[0]
    assert not prune(run, source=source, dry_run=True, decisions=run / "decisions.jsonl").notes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"link": True}, "--link has no effect"),
        ({"finish": True, "top": 1}, "--top has no effect"),
        ({"finish": True, "to": "x"}, "--to has no effect"),
        ({"finish": True}, "no moves are to be finished"),
        ({"action": "delete"}, "--action delete is none of"),
    ],
)
def test_options_that_make_no_sense(finished, options, message):
    run, source = finished("folder")
    with pytest.raises(UsageError, match=message):
        prune(run, source=source, **options)


# What remains


def test_unfinished_moves_are_told_and_can_be_finished_or_undone(finished, monkeypatch):
    run, source = finished("folder")
    before = tree(source)
    real = os.unlink

    def failing(path, **options):
        if Path(path).parent.parent == source:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", failing)
        with pytest.raises(EnvironmentProblem, match="moving files stopped"):
            prune(run, source=source, action="quarantine")
    with pytest.raises(UsageError, match="did not end") as raised:
        prune(run, source=source, action="quarantine")
    assert "labelscrub undo" in raised.value.fix and "--finish" in raised.value.fix
    dry = prune(run, finish=True, dry_run=True)
    assert [(c.given_label, c.label) for c in dry.changes] == [("", "")] * 3
    assert all(Path(c.target).parent.parent.name == "images-quarantine" for c in dry.changes)
    assert prune(run, finish=True).files == 3
    assert len(names(source.with_name("images-quarantine"))) == 3
    undo(run)
    assert tree(source) == before


def test_a_prune_after_a_prune_says_how_to_go_back(finished):
    run, source = finished("folder")
    prune(run, source=source, action="quarantine")
    with pytest.raises(DataError, match="not what the run saw") as raised:
        prune(run, source=source, action="quarantine")
    assert "labelscrub undo" in raised.value.fix
    undo(run)
    assert prune(run, source=source, action="quarantine").files == 3


def test_a_full_disk_or_a_read_only_run_moves_nothing(finished, monkeypatch):
    run, source = finished("folder")
    before = tree(source)
    real = os.mkdir

    def refused(path, *arguments, **options):
        if Path(path).name == "moves":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "mkdir", refused)
    with pytest.raises(EnvironmentProblem, match="moves"):
        prune(run, source=source, action="quarantine")
    assert tree(source) == before


def test_restart_leaves_the_journals_and_the_decisions(tmp_path):
    run, source = run_on(tmp_path, "folder")
    shutil.move(decide(run, left="remove"), run / "decisions.jsonl")
    prune(run, action="quarantine")
    undo(run)
    journal = read_journal(journal_files(run)[0])
    labelscrub.detect(source, pred_probs=tmp_path / "probs.npy", out=run, workers=0, restart=True)
    assert (run / "decisions.jsonl").exists()
    assert read_journal(journal_files(run)[0]) == journal and journal.undone


def test_the_run_itself_stays_as_it_was(finished):
    run, source = finished("folder")
    before = {name: kept for name, kept in tree(run).items() if name not in (".", "lock")}
    prune(run, source=source, action="quarantine")
    undo(run)
    after = tree(run)
    assert {name: after[name] for name in before} == before


def test_undo_needs_a_run(tmp_path):
    with pytest.raises(UsageError, match="there is no run in"):
        undo(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="nothing to undo"):
        undo(tmp_path)
