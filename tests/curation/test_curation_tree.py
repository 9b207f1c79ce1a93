"""The clean copy: right bytes in the right places, whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
import threading

import numpy as np
import pytest

from labelscrub import store_syncing
from labelscrub.config import SourceSettings
from labelscrub.curation import tree
from labelscrub.curation.plan import RowChanges
from labelscrub.curation.tree import Copied, copy_target, manifest_name, plan_copy, write_tree
from labelscrub.data import read_source
from labelscrub.errors import DataError, EnvironmentProblem, UsageError

# a child that forks from a process with threads only calls os functions, and ends
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

OLD = 1_400_000_000_123_456_789


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch):
    """No waiting for the disk: no test cuts the power."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def source(tmp_path):
    for number, name in enumerate(("cat/1.png", "cat/deep/2.png", "dog/1.png", "dog/b\udce9.png")):
        path = tmp_path / "d" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode("utf-8", "surrogateescape"))
        path.chmod(0o604)
        os.utime(path, ns=(OLD, OLD + number))
    (tmp_path / "d" / "cat").chmod(0o750)
    return tmp_path / "d"


def copy(source, target, choice=None, keep=None, **options):
    manifest = read_source(source, SourceSettings())
    keep = np.ones(len(manifest), bool) if keep is None else np.array(keep, bool)
    files = plan_copy(manifest, choice or RowChanges((), {}), keep, 0)
    digests = {
        row: hashlib.sha256((source / file).read_bytes()).hexdigest()
        for row, file in enumerate(manifest.files)
    }
    digests |= options.pop("digests", {})
    return files, write_tree(manifest, files, copy_target(manifest, target), digests, **options)


def listed(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_kept_files_with_their_bytes_modes_and_times(source):
    files, copied = copy(source, None, keep=[1, 0, 1, 1])
    target = source.with_name("d-clean")
    assert listed(target) == ["cat/1.png", "dog/1.png", "dog/b\udce9.png"]
    assert (len(files), copied) == (3, True)
    for name in listed(target):
        old, new = (source / name).stat(), (target / name).stat()
        assert (target / name).read_bytes() == (source / name).read_bytes()
        assert (new.st_mode, new.st_mtime_ns, new.st_nlink) == (old.st_mode, old.st_mtime_ns, 1)
    assert (target / "cat").stat().st_mode == (source / "cat").stat().st_mode
    assert not (target / "cat" / "deep").exists()
    assert not list(source.parent.glob(".labelscrub*"))


def test_relabelled_files_are_in_their_new_class(source, tmp_path):
    files, _ = copy(source, tmp_path / "new", RowChanges((), {0: 1, 1: 1}))
    assert listed(tmp_path / "new") == ["dog/1 (2).png", "dog/1.png", "dog/b\udce9.png", "dog/deep/2.png"]
    assert (tmp_path / "new" / "dog" / "1 (2).png").read_bytes() == b"cat/1.png"
    assert {file.row: file.renamed for file in files} == {0: True, 1: False, 2: False, 3: False}


def test_hard_links_where_wanted(source, tmp_path):
    _, copied = copy(source, tmp_path / "new", link=True)
    assert not copied
    assert all((tmp_path / "new" / name).samefile(source / name) for name in listed(source))


def test_copies_where_links_are_not_possible(source, tmp_path, monkeypatch):
    def link(*arguments, **options):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", link)
    _, copied = copy(source, tmp_path / "new", link=True)
    assert copied
    assert listed(tmp_path / "new") == listed(source)


@pytest.mark.parametrize("link", [True, False])
def test_a_symbolic_link_becomes_the_file_it_means(source, tmp_path, link):
    (tmp_path / "far.png").write_bytes(b"far")
    (source / "dog" / "far.png").symlink_to(tmp_path / "far.png")
    copy(source, tmp_path / "new", link=link)
    made = tmp_path / "new" / "dog" / "far.png"
    assert not made.is_symlink() and made.read_bytes() == b"far"


def test_a_file_that_changes_meanwhile_means_no_copy(source, tmp_path):
    with pytest.raises(DataError, match=r"dog/1\.png changed"):
        copy(source, tmp_path / "new", digests={2: "0" * 64})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d"]


@pytest.mark.parametrize("what", ["open", "rename", "fsync", "mkdir"])
def test_an_error_in_the_middle_leaves_nothing(source, tmp_path, monkeypatch, what):
    real, calls = getattr(os, what), []

    def failing(*arguments, **options):
        calls.append(arguments)
        if len(calls) == (1 if what == "rename" else 3):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(arguments[0]))
        return real(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, what, failing)
        with pytest.raises(EnvironmentProblem, match="No space left"):
            copy(source, tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d"]


def test_all_is_on_the_disk_before_the_copy_gets_its_name(source, tmp_path, monkeypatch):
    synced, missing, real = set(), [], os.rename

    def rename(old, new):
        made = [old, *(path for path in old.rglob("*"))]
        missing.extend(path for path in made if path.lstat().st_ino not in synced)
        real(old, new)

    def finish(folder):
        table = folder / "new" / "deep" / "labels.csv"
        table.parent.mkdir(parents=True)
        table.write_bytes(b"path,label\n")
        return [table]

    monkeypatch.setattr(store_syncing, "_BATCH", 2)
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.add(os.fstat(descriptor).st_ino))
    monkeypatch.setattr(os, "rename", rename)
    copy(source, tmp_path / "new", finish=finish)
    assert (tmp_path / "new" / "new" / "deep" / "labels.csv").exists()
    assert not missing


def test_files_are_forced_to_the_disk_side_by_side(source, tmp_path, monkeypatch):
    all_at_once = threading.Barrier(4, timeout=30)  # which one after the other would never get through

    def fsync(descriptor):
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            all_at_once.wait()

    monkeypatch.setattr(os, "fsync", fsync)
    copy(source, tmp_path / "new")
    assert listed(tmp_path / "new") == listed(source)


def test_what_a_killed_copy_left_is_removed_by_the_next(source, tmp_path):
    child = os.fork()
    if not child:
        tree._copy = lambda *arguments: os._exit(9) if arguments[3].startswith("dog") else None
        copy(source, tmp_path / "new")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    (left,) = tmp_path.glob(".labelscrub-*.tmp")
    (left / "cat" / "stale.png").write_bytes(b"stale")
    copy(source, tmp_path / "new")
    assert listed(tmp_path / "new") == listed(source)
    assert not list(tmp_path.glob(".labelscrub-*"))


def test_two_at_once_do_not_share_a_folder(source, tmp_path):
    name = hashlib.sha256(b"new").hexdigest()[:16]
    folder = tmp_path / f".labelscrub-{name}.tmp"
    folder.mkdir()
    (folder / "theirs").touch()
    descriptor = os.open(folder, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        with pytest.raises(EnvironmentProblem, match="another labelscrub is writing"):
            copy(source, tmp_path / "new")
    finally:
        os.close(descriptor)
    assert (folder / "theirs").exists()


def test_a_target_that_is_there_or_inside_is_refused(source, tmp_path):
    manifest = read_source(source, SourceSettings())
    (tmp_path / "there").mkdir()
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    for taken in ("there", "broken"):
        with pytest.raises(UsageError, match="exists already"):
            copy_target(manifest, tmp_path / taken)
    with pytest.raises(UsageError, match="inside the data set"):
        copy_target(manifest, source / "new")
    with pytest.raises(UsageError, match="there is no folder"):
        copy_target(manifest, tmp_path / "no" / "new")


def test_files_outside_the_root_have_no_place_in_a_copy(tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("out.png", "in/a.png"):
        (tmp_path / name).write_bytes(name.encode())
    table = tmp_path / "in" / "labels.csv"
    table.write_text("path,label\n../out.png,cat\na.png,dog\n")
    manifest = read_source(table, SourceSettings(allow_outside=True))
    with pytest.raises(UsageError, match=r"\.\./out\.png is outside"):
        plan_copy(manifest, RowChanges((), {}), np.ones(2, bool), None)


def test_the_manifest_is_where_a_reader_looks_for_it(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "1.png").write_bytes(b"x")
    (tmp_path / "train" / "metadata.csv").write_text("file_name,label\n1.png,cat\n")
    (tmp_path / "labels.tsv").write_text("path\tlabel\ntrain/1.png\tcat\n")
    split = read_source(tmp_path, SourceSettings(split="train"))
    assert manifest_name(split) == "train/metadata.csv"
    assert manifest_name(read_source(tmp_path / "labels.tsv", SourceSettings())) == "labels.tsv"
    assert plan_copy(split, RowChanges((), {}), np.ones(1, bool), None) == [
        Copied(0, "train/1.png", "train/1.png")
    ]
