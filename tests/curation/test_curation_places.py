"""Where files go, and which may not be moved."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from labelscrub.config import SourceSettings
from labelscrub.curation import places
from labelscrub.curation.places import free_name, plan_moves, quarantine_folder, require_one_device
from labelscrub.curation.plan import RowChanges
from labelscrub.data import read_source
from labelscrub.errors import DataError, UsageError
from labelscrub.records import Manifest


def folder(tmp_path, *names):
    for name in names:
        (tmp_path / "d" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "d" / name).write_bytes(name.encode())
    return tmp_path / "d"


def plan(source, remove=(), relabel=None, *, depth=0, split=None, quarantine=None):
    """Steps by path: {path: (place, target)}, and what is left with the reason."""
    manifest = read_source(source, SourceSettings(split=split))
    row = {path: n for n, path in enumerate(manifest.paths)}
    choice = RowChanges(
        tuple(sorted(row[path] for path in remove)),
        {row[path]: manifest.classes.index(label) for path, label in (relabel or {}).items()},
    )
    keep = np.ones(len(manifest), bool)
    keep[list(choice.remove)] = False
    place = quarantine or Path(f"{os.path.realpath(source)}-quarantine")
    steps, left = plan_moves(manifest, choice, keep, place, depth)
    return {s.source: (s.place, s.target) for s in steps}, dict(left)


def test_relabelled_files_keep_their_split_and_the_path_below_their_class(tmp_path):
    source = folder(tmp_path, "train/cat/a/b/1.png", "train/dog/2.png", "val/cat/3.png", "val/dog/4.png")
    steps, left = plan(
        source,
        ["val/dog/4.png"],
        {"train/cat/a/b/1.png": "dog", "val/cat/3.png": "dog"},
        depth=1,
        split="all",
    )
    assert steps == {
        "train/cat/a/b/1.png": ("data", "train/dog/a/b/1.png"),
        "val/cat/3.png": ("data", "val/dog/3.png"),
        "val/dog/4.png": ("quarantine", "val/dog/4.png"),
    }
    assert not left


def test_taken_names_get_a_number_before_the_extension(tmp_path):
    source = folder(
        tmp_path,
        "cat/x.tar.png",
        "dog/x.tar.png",
        "dog/x.tar (2).png",
        "emu/x.tar.png",
        "emu/y.png",
        "dog/y.png",
    )
    steps, _ = plan(
        source,
        # y.png of the dogs leaves, but its name is free only once it has
        relabel={"cat/x.tar.png": "dog", "emu/x.tar.png": "dog", "emu/y.png": "dog", "dog/y.png": "cat"},
    )
    assert steps == {
        "cat/x.tar.png": ("data", "dog/x.tar (3).png"),
        "emu/x.tar.png": ("data", "dog/x.tar (4).png"),
        "emu/y.png": ("data", "dog/y (2).png"),
        "dog/y.png": ("data", "cat/y.png"),
    }


def test_a_numbered_name_is_never_too_long(tmp_path):
    name = "n" * 250 + ".png"
    (tmp_path / name).touch()
    free = free_name(name, set(), tmp_path)
    assert free == "n" * 247 + " (2).png"
    (tmp_path / free).touch()


def test_links_and_what_is_behind_them_stay(tmp_path):
    source = folder(tmp_path, "cat/1.png", "cat/2.png", "dog/3.png")
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "4.png").write_bytes(b"4")
    (source / "cat" / "away").symlink_to(tmp_path / "far")
    (source / "cat" / "link.png").symlink_to(tmp_path / "far" / "4.png")
    steps, left = plan(source, ["cat/1.png", "cat/link.png", "cat/away/4.png"])
    assert list(steps) == ["cat/1.png"]
    assert left == {
        "cat/link.png": "it is a link, not a file of its own",
        "cat/away/4.png": "it is behind a link to a folder",
    }


def test_a_file_that_a_kept_row_reaches_through_a_link_stays(tmp_path):
    source = folder(tmp_path, "cat/1.png", "dog/3.png")
    (source / "dog" / "same.png").symlink_to(source / "cat" / "1.png")
    assert plan(source, ["cat/1.png"]) == ({}, {"cat/1.png": "another row that stays means this file"})
    steps, left = plan(source, ["cat/1.png", "dog/same.png"])
    assert (list(steps), list(left)) == (["cat/1.png"], ["dog/same.png"])


def test_a_class_folder_that_is_a_link_takes_no_files(tmp_path):
    source = folder(tmp_path, "cat/1.png", "dog/3.png")
    (source / "cat").rename(tmp_path / "far")
    (source / "cat").symlink_to(tmp_path / "far")
    assert plan(source, relabel={"dog/3.png": "cat"})[1] == {
        "dog/3.png": "the folder of class 'cat' is a link"
    }


def test_a_file_where_the_new_folder_would_be_stays_and_so_does_the_other(tmp_path):
    source = folder(tmp_path, "cat/deep/1.png", "cat/2.png", "dog/3.png")
    manifest = read_source(source, SourceSettings())
    (source / "dog" / "deep").write_bytes(b"mine")
    deep, flat = (manifest.files.index(name) for name in ("cat/deep/1.png", "cat/2.png"))
    dog = manifest.classes.index("dog")
    choice = RowChanges((), {deep: dog, flat: dog})
    steps, left = plan_moves(manifest, choice, np.ones(3, bool), tmp_path / "q", 0)
    assert [step.target for step in steps] == ["dog/2.png"]
    assert left == [("cat/deep/1.png", f"a file is where its new folder {source}/dog/deep would be")]
    (tmp_path / "q").mkdir()
    (tmp_path / "q" / "cat").write_bytes(b"mine")
    _, left = plan_moves(manifest, RowChanges((flat,), {}), np.ones(3, bool), tmp_path / "q", 0)
    assert left == [("cat/2.png", f"a file is where its new folder {tmp_path}/q/cat would be")]


def test_files_outside_the_root_stay(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "out.png").write_bytes(b"x")
    table = tmp_path / "in" / "labels.csv"
    table.write_text("path,label\n../out.png,cat\n")
    manifest = Manifest(
        table, "csv", tmp_path / "in", ("cat",), ["../out.png"], ["../out.png"], np.zeros(1, np.int32)
    )
    steps, left = plan_moves(manifest, RowChanges((0,), {}), np.zeros(1, bool), tmp_path / "q", None)
    assert (steps, left) == ([], [("../out.png", "it is outside the image root")])


@pytest.mark.parametrize("name", ["a/b", "../up", ".hidden", "nul\0"])
def test_a_class_that_is_no_folder_name_is_refused(tmp_path, name):
    source = folder(tmp_path, "cat/1.png", "dog/3.png")
    manifest = read_source(source, SourceSettings())
    hostile = Manifest(
        source, "folder", source, (*manifest.classes, name), manifest.paths, manifest.files, manifest.labels
    )
    with pytest.raises(DataError, match="can't be a folder"):
        plan_moves(hostile, RowChanges((), {0: 2}), np.ones(2, bool), tmp_path / "q", 0)


def test_the_quarantine_is_beside_the_data_set(tmp_path):
    source = folder(tmp_path, "cat/1.png", "dog/3.png")
    (tmp_path / "link").symlink_to(source)
    manifest = read_source(tmp_path / "link", SourceSettings())
    assert quarantine_folder(manifest, None) == tmp_path.resolve() / "d-quarantine"
    assert quarantine_folder(manifest, tmp_path / "q") == tmp_path.resolve() / "q"
    for inside in (source / "q", source / "cat", source, tmp_path / "link" / "q"):
        with pytest.raises(UsageError, match="inside the data set"):
            quarantine_folder(manifest, inside)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="not a folder"):
        quarantine_folder(manifest, tmp_path / "file")
    with pytest.raises(UsageError, match="there is no folder"):
        quarantine_folder(manifest, tmp_path / "no" / "q")
    (tmp_path / "d-quarantine").symlink_to(tmp_path)
    with pytest.raises(UsageError, match="a link to another folder"):
        quarantine_folder(manifest, None)
    assert quarantine_folder(manifest, tmp_path / "d-quarantine") == tmp_path.resolve()


def test_the_folder_of_the_images_is_no_quarantine(tmp_path):
    source = folder(tmp_path, "cat/1.png")
    (tmp_path / "labels.csv").write_text("path,label\ncat/1.png,cat\n")
    manifest = read_source(tmp_path / "labels.csv", SourceSettings(image_root=str(source)))
    with pytest.raises(UsageError, match="where the images are"):
        quarantine_folder(manifest, source)


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="needs a second file system")
def test_another_file_system_is_refused_before_anything_moves(tmp_path):
    if Path("/dev/shm").stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("one file system")
    source = folder(tmp_path, "cat/1.png", "dog/3.png")
    manifest = read_source(source, SourceSettings())
    elsewhere = Path("/dev/shm/labelscrub-test-quarantine")
    steps, _ = plan_moves(manifest, RowChanges((0,), {}), np.array([False, True]), elsewhere, None)
    with pytest.raises(UsageError, match="another file system"):
        require_one_device(source, steps, elsewhere)
    steps = [places.Step(0, "cat/1.png", "dog/1.png", "data", False)]
    require_one_device(source, steps, elsewhere)  # nothing goes there
