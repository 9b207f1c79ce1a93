"""Moved and put back: nothing lost at any kill, nothing overwritten, names, bytes, modes and times exact."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import sys
from pathlib import Path

import pytest

from labelscrub.curation import moves
from labelscrub.curation.move_journal import append, journal_files, read_journal, unfinished
from labelscrub.curation.moves import carry_out, journal_moves
from labelscrub.curation.places import Step
from labelscrub.curation.undo import undo
from labelscrub.errors import DataError, EnvironmentProblem, UsageError

# a child that forks from a process with threads only calls os functions, and ends
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

OLD = 1_400_000_000_123_456_789  # a time that nothing written now has
FILES = {
    "cat/1.png": b"one",
    "cat/2.png": b"two",
    "cat/deep/3.png": b"three",
    "dog/4.png": b"four",
    "dog/stays.png": b"stays",
}
STEPS = (  # a removed one each of two folders, two relabelled, one of these under another name
    Step(0, "cat/1.png", "cat/1.png", "quarantine", False),
    Step(1, "cat/2.png", "dog/2.png", "data", False),
    Step(2, "cat/deep/3.png", "bird/deep/3.png", "data", False),
    Step(3, "dog/4.png", "dog/4.png", "quarantine", False),
)


def tree(folder):
    """Name -> kind, mode, mtime and bytes of all below a folder, which is in it too."""
    found = {}
    for base, _, names in os.walk(os.fsencode(folder)):
        for name in [b"", *names]:
            path = base + b"/" + name
            status = os.lstat(path)
            data = b""
            if stat.S_ISREG(status.st_mode):
                data = Path(os.fsdecode(path)).read_bytes()
            elif stat.S_ISLNK(status.st_mode):
                data = os.readlink(path)  # noqa: PTH115  (bytes)
            found[path] = (oct(status.st_mode), status.st_mtime_ns, data)
    return found


def data_set(folder, files=FILES):
    """The files, with modes and times that differ from what a new file gets; and a run directory."""
    (folder / "run").mkdir(parents=True)
    for number, (name, data) in enumerate(files.items()):
        path = folder / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(0o604 + 8 * (number % 4))
        os.utime(path, ns=(OLD, OLD + number))
    for number, path in enumerate(sorted((folder / "data").rglob("*/"), reverse=True)):
        if path.is_dir():
            path.chmod(0o751)
            os.utime(path, ns=(OLD, OLD - number))
    (folder / "data").chmod(0o710)
    os.utime(folder / "data", ns=(OLD, OLD + 99))
    return folder


def planned(folder, steps=STEPS, files=FILES):
    """The journal of these moves, stored."""
    digests = {step.row: hashlib.sha256(files[step.source]).hexdigest() for step in steps}
    roots = {"data": folder / "data", "quarantine": folder / "quarantine"}
    return journal_moves(folder / "run", "relabel", steps, roots, digests)


def contents(folder):
    """The bytes of all files outside the run, sorted; twice for a file with two names."""
    return sorted(
        path.read_bytes()
        for place in ("data", "quarantine")
        for path in (folder / place).rglob("*")
        if path.is_file()
    )


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch):
    """No waiting for the disk: a kill of the process, unlike one of the power, leaves what was written."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def here(tmp_path):
    return data_set(tmp_path.resolve() / "here")


def test_files_go_where_the_plan_says_and_come_back_exactly(here):
    before, beside = tree(here / "data"), here.stat().st_mtime_ns
    journal = planned(here)
    assert tree(here / "data") == before
    assert carry_out(journal) == {}
    assert {p.relative_to(here).as_posix(): p.read_bytes() for p in here.rglob("*.png")} == {
        "quarantine/cat/1.png": b"one",
        "data/dog/2.png": b"two",
        "data/bird/deep/3.png": b"three",
        "quarantine/dog/4.png": b"four",
        "data/dog/stays.png": b"stays",
    }
    moved = here / "data" / "dog" / "2.png"
    assert (oct(moved.stat().st_mode)[-3:], moved.stat().st_mtime_ns) == ("614", OLD + 1)
    assert (here / "data" / "cat").is_dir()  # empty now, and left
    # a new folder lets in nobody whom the one that its files come from kept out
    assert [
        oct((here / name).stat().st_mode)[-3:] for name in ("quarantine", "quarantine/cat", "data/bird")
    ] == [
        "710",
        "751",
        "751",
    ]
    restored = undo(here / "run")
    assert (len(restored.put_back), restored.left, restored.action) == (4, (), "relabel")
    assert restored.put_back[0][0].endswith("quarantine/dog/4.png")  # newest first
    assert tree(here / "data") == before
    assert not (here / "quarantine").exists()
    assert here.stat().st_mtime_ns == beside
    with pytest.raises(UsageError, match="nothing to undo"):
        undo(here / "run")


def test_the_plan_is_on_the_disk_before_the_first_move(here, monkeypatch):
    seen = []
    real = os.link

    def link(source, target, **options):
        if "data" in str(source):
            seen.append(
                [json.loads(line) for line in journal_files(here / "run")[0].read_text().splitlines()]
            )
        return real(source, target, **options)

    monkeypatch.setattr(os, "link", link)
    carry_out(planned(here))
    first = seen[0]
    assert first[0]["roots"] == {"data": str(here / "data"), "quarantine": str(here / "quarantine")}
    assert [entry["source"] for entry in first if "move" in entry] == [step.source for step in STEPS]
    assert "planned" in first[-1]


@pytest.mark.parametrize("work", ["moving", "undoing"])
def test_a_new_name_is_on_the_disk_before_the_old_one_goes(here, monkeypatch, work):
    journal = planned(here)
    if work == "undoing":
        carry_out(journal)
    seen = []

    def recorded(name, real):
        def call(target, *arguments, **options):
            folder = str(Path(f"/proc/self/fd/{target}").readlink()) if name == "fsync" else str(target)
            if not folder.startswith(str(here / "run")):
                seen.append((name, folder if name == "fsync" else str(Path(folder).parent)))
            return real(target, *arguments, **options)

        return call

    for name, real in (("link", os.link), ("unlink", os.unlink), ("fsync", lambda descriptor: None)):
        monkeypatch.setattr(os, name, recorded(name, real))
    carry_out(journal) if work == "moving" else undo(here / "run")
    begun = [name for name, _ in seen].index("link")
    order = [name for name, _ in seen[begun:]]
    assert order[:4] == ["link"] * 4 and order.index("unlink") == 4 + order[4:].index("unlink")
    first, last = order.index("unlink"), len(order) - order[::-1].index("unlink")
    places = {"cat", "cat/deep", "dog"}
    new = {"quarantine/cat", "quarantine/dog", "data/dog", "data/bird/deep"}
    old = {f"data/{name}" for name in places}
    before, after = (new, old) if work == "moving" else (old, new)
    assert {folder for name, folder in seen[begun:][4:first]} == {str(here / name) for name in before}
    assert {str(here / name) for name in after} <= {
        folder for name, folder in seen[begun:][last:] if name == "fsync"
    }


def test_a_file_replaced_while_it_is_moved_is_kept_beside_the_old_one(here, monkeypatch):
    journal, real = planned(here), moves.sync_folders

    def sync(folders):
        if here / "quarantine" / "cat" in folders:
            (here / "new.png").write_bytes(b"saved anew")
            (here / "new.png").replace(here / "data" / "cat" / "1.png")
        real(folders)

    with monkeypatch.context() as patch:
        patch.setattr(moves, "sync_folders", sync)
        assert carry_out(journal) == {0: "it was replaced while it was moved: both files are kept"}
    assert (here / "data" / "cat" / "1.png").read_bytes() == b"saved anew"
    assert (here / "quarantine" / "cat" / "1.png").read_bytes() == b"one"
    undo(here / "run")
    assert (here / "data" / "cat" / "1.png").read_bytes() == b"saved anew"


def test_a_dry_undo_changes_nothing(here):
    carry_out(planned(here))
    before = tree(here)
    restored = undo(here / "run", dry_run=True)
    assert (len(restored.put_back), restored.dry_run) == (4, True)
    assert tree(here) == before


def test_the_undo_after_an_undo_goes_to_the_prune_before(here):
    before = tree(here / "data")
    carry_out(planned(here, STEPS[:1]))
    between = tree(here / "data")
    carry_out(planned(here, STEPS[1:2]))
    undo(here / "run")
    assert tree(here / "data") == between
    undo(here / "run")
    assert tree(here / "data") == before
    assert [path.name for path in journal_files(here / "run")] == ["0001.jsonl", "0002.jsonl"]


def test_names_that_are_not_utf8_survive(tmp_path):
    names = [os.fsdecode(name) for name in (b"c\xff/\xe9\n\x1b[31m.png", b"c\xff/\xe2\x80\xae</script>.png")]
    files = {name: name.encode("utf-8", "surrogateescape") for name in names}
    here = data_set(tmp_path.resolve(), files)
    before = tree(here / "data")
    steps = [Step(n, name, name, "quarantine", False) for n, name in enumerate(names)]
    carry_out(planned(here, steps, files))
    assert (here / "quarantine" / names[0]).read_bytes() == files[names[0]]
    assert journal_files(here / "run")[0].read_bytes().isascii()
    undo(here / "run")
    assert tree(here / "data") == before


# What has changed in between


def test_a_file_that_changed_since_the_run_is_not_moved(here):
    journal = planned(here)
    (here / "data" / "cat" / "1.png").write_bytes(b"ONE")  # as long as it was
    (here / "data" / "cat" / "2.png").unlink()
    assert carry_out(journal) == {0: "it was changed since", 1: "it is gone"}
    assert (here / "data" / "cat" / "1.png").read_bytes() == b"ONE"
    restored = undo(here / "run")  # what was not moved need not come back
    assert (len(restored.put_back), restored.left) == (2, ())
    assert (here / "data" / "cat" / "1.png").read_bytes() == b"ONE"


def test_a_name_that_is_taken_since_is_not_overwritten(here):
    journal = planned(here)
    (here / "data" / "dog" / "2.png").write_bytes(b"")
    assert carry_out(journal) == {1: "another file has the new name by now"}
    assert (here / "data" / "dog" / "2.png").read_bytes() == b""
    assert (here / "data" / "cat" / "2.png").read_bytes() == b"two"


@pytest.mark.parametrize("which", ["data/cat", "quarantine/cat"])
def test_nothing_goes_through_a_folder_that_became_a_link(here, which):
    journal = planned(here)
    (here / "elsewhere").mkdir()
    if which.startswith("data"):
        (here / which).rename(here / "moved")
        (here / which).symlink_to(here / "moved")
    else:
        (here / "quarantine").mkdir()
        (here / which).symlink_to(here / "elsewhere")
    assert 0 in (skipped := carry_out(journal))
    assert "link" in skipped[0]
    assert not list((here / "elsewhere").iterdir())
    assert b"one" in [p.read_bytes() for p in here.rglob("1.png")]


def changed(here):
    (here / "quarantine" / "cat" / "1.png").write_bytes(b"ONE")


def grown(here):
    (here / "quarantine" / "cat" / "1.png").write_bytes(b"one and more")


def gone(here):
    (here / "quarantine" / "cat" / "1.png").unlink()


def moved_on(here):
    (here / "quarantine" / "cat" / "1.png").rename(here / "mine.png")


def replaced(here):
    (here / "data" / "cat" / "1.png").write_bytes(b"a new one")


def emptied(here):
    (here / "data" / "cat" / "1.png").write_bytes(b"")


def linked(here):
    changed = here / "quarantine" / "cat" / "1.png"
    changed.rename(here / "mine.png")
    changed.symlink_to(here / "mine.png")


def gone_and_replaced(here):
    gone(here)
    replaced(here)


def folder_in_its_place(here):
    (here / "data" / "cat" / "1.png").mkdir()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (changed, "changed since"),
        (grown, "changed since"),
        (gone, "it is gone"),
        (moved_on, "it is gone"),
        (replaced, "there is a file"),
        (emptied, "there is a file"),
        (linked, "not a regular file"),
        (gone_and_replaced, "is another file"),
        (folder_in_its_place, "there is a file"),
    ],
)
def test_what_the_user_did_since_is_left_and_listed(here, change, why):
    carry_out(planned(here))
    change(here)
    theirs = {path: kept for path, kept in tree(here).items() if path.endswith((b"/1.png", b"mine.png"))}
    restored = undo(here / "run")
    assert [(Path(path).name, why in reason) for path, reason in restored.left] == [("1.png", True)]
    assert len(restored.put_back) == 3
    after = tree(here)
    assert {path: after[path] for path in theirs} == theirs
    assert (here / "data" / "cat" / "2.png").read_bytes() == b"two"


def test_what_was_saved_while_a_kill_had_left_both_names_keeps_its_time(here, monkeypatch):
    journal = planned(here)
    with monkeypatch.context() as patch:
        patch.setattr(moves, "_drop_first_name", lambda *names: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            carry_out(journal)
    theirs = here / "data" / "cat" / "1.png"
    theirs.write_bytes(b"saved anew")
    time = theirs.stat().st_mtime_ns
    assert not undo(here / "run").left
    assert (theirs.read_bytes(), theirs.stat().st_mtime_ns) == (b"saved anew", time)
    assert not (here / "quarantine").exists()


def test_a_file_where_a_folder_was_keeps_the_others_from_nothing(here):
    carry_out(planned(here))
    (here / "data" / "cat" / "deep").rmdir()
    (here / "data" / "cat" / "deep").write_bytes(b"mine")
    restored = undo(here / "run")
    assert [(Path(path).name, "there is a file where a folder" in why) for path, why in restored.left] == [
        ("3.png", True)
    ]
    assert len(restored.put_back) == 3
    assert (here / "data" / "cat" / "deep").read_bytes() == b"mine"
    assert (here / "data" / "bird" / "deep" / "3.png").read_bytes() == b"three"


def test_an_undo_of_the_rest_once_the_name_is_free(here):
    carry_out(planned(here))
    replaced(here)
    assert undo(here / "run").left
    assert undo(here / "run", dry_run=True).left  # still in the way, and nothing earlier to undo
    (here / "data" / "cat" / "1.png").unlink()
    restored = undo(here / "run")
    assert (len(restored.put_back), restored.left) == (1, ())
    assert (here / "data" / "cat" / "1.png").read_bytes() == b"one"


def test_a_stuck_undo_does_not_hide_the_prune_before(here):
    carry_out(planned(here, STEPS[1:2]))
    carry_out(planned(here, STEPS[:1]))
    gone(here)
    assert undo(here / "run").left
    assert [Path(place).name for _, place in undo(here / "run").put_back] == ["2.png"]


def test_modes_and_times_that_changed_since_are_restored(here):
    before = tree(here / "data")
    carry_out(planned(here))
    (here / "quarantine" / "cat" / "1.png").chmod(0o600)
    os.utime(here / "quarantine" / "cat" / "1.png")
    undo(here / "run")
    assert tree(here / "data") == before


def test_a_folder_that_the_user_changed_keeps_its_time(here):
    carry_out(planned(here))
    (here / "data" / "dog" / "new.png").write_bytes(b"new")
    os.utime(here / "data" / "dog", ns=(OLD, OLD + 7777))
    undo(here / "run")
    assert (here / "data" / "dog").stat().st_mtime_ns not in (OLD, OLD - 1)
    assert (here / "data" / "cat").stat().st_mtime_ns <= OLD


def test_a_folder_that_did_not_get_all_its_files_back_keeps_its_time(here):
    carry_out(planned(here))
    gone(here)
    undo(here / "run")
    assert (here / "data" / "cat").stat().st_mtime_ns > OLD + 10**9
    assert (here / "data" / "dog").stat().st_mtime_ns <= OLD


def test_a_folder_that_the_user_removed_is_made_again(here):
    before = tree(here / "data")
    carry_out(planned(here))
    (here / "data" / "cat" / "deep").rmdir()
    undo(here / "run")
    after = tree(here / "data")
    assert {path: (kept[0], kept[2]) for path, kept in after.items()} == {
        path: (kept[0], kept[2]) for path, kept in before.items()
    }


def test_a_made_folder_with_something_in_it_stays(here):
    carry_out(planned(here))
    (here / "quarantine" / "cat" / "mine.txt").write_text("mine")
    undo(here / "run")
    assert [p.name for p in (here / "quarantine").rglob("*")] == ["cat", "mine.txt"]


def test_a_file_with_another_hard_link_keeps_it(here):
    os.link(here / "data" / "cat" / "1.png", here / "twin.png")
    before = tree(here / "data")
    carry_out(planned(here))
    assert (here / "twin.png").samefile(here / "quarantine" / "cat" / "1.png")
    undo(here / "run")
    assert tree(here / "data") == before
    assert (here / "twin.png").samefile(here / "data" / "cat" / "1.png")


# Errors in the middle


@pytest.mark.parametrize("code", [errno.EACCES, errno.ENOSPC, errno.EXDEV, errno.EROFS])
@pytest.mark.parametrize("call", ["link", "unlink", "mkdir"])
def test_an_error_in_the_middle_loses_nothing(here, monkeypatch, call, code):
    before = tree(here / "data")
    journal = planned(here)
    real, calls = getattr(os, call), []

    def failing(*arguments, **options):
        calls.append(arguments)
        if len(calls) == 2:
            raise OSError(code, os.strerror(code), str(arguments[0]))
        return real(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing)
        with pytest.raises(EnvironmentProblem, match="moving files stopped") as raised:
            carry_out(journal)
    assert "labelscrub undo" in raised.value.fix
    assert sorted(set(contents(here))) == sorted(FILES.values())
    assert unfinished(here / "run") is not None
    undo(here / "run")
    assert tree(here / "data") == before
    assert unfinished(here / "run") is None


def test_no_space_for_the_journal_means_no_move(here, monkeypatch):
    before = tree(here)

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(EnvironmentProblem, match="No space left"):
            planned(here)
    after = tree(here)
    assert {p: v for p, v in after.items() if b"/run" not in p} == {
        p: v for p, v in before.items() if b"/run" not in p
    }
    assert not journal_files(here / "run")


def test_an_undo_that_stopped_goes_on(here, monkeypatch):
    before = tree(here / "data")
    carry_out(planned(here))
    real, calls = os.unlink, []

    def failing(path, **options):
        calls.append(path)
        if len(calls) == 2:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", failing)
        with pytest.raises(EnvironmentProblem, match="goes on"):
            undo(here / "run")
    assert sorted(set(contents(here))) == sorted(FILES.values())
    undo(here / "run")
    assert tree(here / "data") == before


def test_a_file_gone_while_it_is_planned_means_no_move(here):
    (here / "data" / "cat" / "2.png").unlink()
    with pytest.raises(EnvironmentProblem, match=r"2\.png.*nothing was moved"):
        planned(here)
    assert not journal_files(here / "run")


@pytest.mark.parametrize("call", ["chmod", "utime"])
def test_what_cannot_be_restored_of_a_strangers_file_keeps_it_where_it_is(here, monkeypatch, call):
    carry_out(planned(here))
    (here / "quarantine" / "cat" / "1.png").chmod(0o666)
    os.utime(here / "quarantine" / "cat" / "1.png")

    def refused(path, *arguments, **options):
        raise PermissionError(errno.EPERM, "Operation not permitted", str(path))

    monkeypatch.setattr(os, call, refused)
    restored = undo(here / "run")
    assert [(Path(path).name, "somebody else" in why) for path, why in restored.left] == [("1.png", True)]
    assert len(restored.put_back) == 3


@pytest.fixture
def no_links(monkeypatch):
    """A file system without hard links, as FAT is, but for the journal's own."""
    real = os.link

    def link(source, target, **options):
        if ".labelscrub-" not in str(source):
            raise OSError(errno.EPERM, "Operation not permitted", str(source))
        return real(source, target, **options)

    monkeypatch.setattr(os, "link", link)


@pytest.mark.usefixtures("no_links")
def test_without_hard_links_files_move_too(here):
    before = tree(here / "data")
    assert carry_out(planned(here)) == {}
    assert (here / "quarantine" / "cat" / "1.png").read_bytes() == b"one"
    undo(here / "run")
    assert tree(here / "data") == before


@pytest.mark.usefixtures("no_links")
def test_without_hard_links_nothing_is_overwritten_either(here):
    journal = planned(here)
    (here / "data" / "dog" / "2.png").write_bytes(b"mine")
    assert carry_out(journal) == {1: "another file has the new name by now"}
    assert (here / "data" / "dog" / "2.png").read_bytes() == b"mine"


# A kill at every call


CALLS = ("link", "unlink", "replace", "fsync", "mkdir", "rmdir", "chmod", "utime")


def killed_at(number, work):
    """Run `work` in a child that is gone at its n-th call that changes files; whether it ended so."""
    child = os.fork()
    if not child:
        left = number

        def wrapped(real):
            def call(*arguments, **options):
                nonlocal left
                left -= 1
                if not left:
                    os._exit(9)
                return real(*arguments, **options)

            return call

        try:
            for name in CALLS:
                setattr(os, name, wrapped(getattr(os, name)))
            work()
            os._exit(0)
        except BaseException as error:
            sys.stderr.write(f"{error!r}\n")
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9)
    return code == 9


def forbid_links():
    def link(source, target, **options):
        if ".labelscrub-" not in str(source):
            raise OSError(errno.EPERM, "Operation not permitted", str(source))
        return real(source, target, **options)

    real = os.link
    os.link = link


def sweep(folder, prepare, work, check, *, links=True):
    """Kill `work` at its first call, its second, ... until it gets through; check what is left each time."""
    number = 0
    killed = True
    while killed:
        number += 1
        here = data_set(folder / str(number))
        before = tree(here / "data")
        prepare(here)

        def job(here=here):
            if not links:
                forbid_links()
            work(here)

        killed = killed_at(number, job)
        assert set(FILES.values()) <= set(contents(here)) <= {*FILES.values(), b""}
        check(here, before, killed)
    return number


@pytest.mark.parametrize("links", [True, False])
def test_a_kill_anywhere_in_moving_is_undone(tmp_path, links):
    def check(here, before, killed):
        if journal_files(here / "run"):
            undo(here / "run")
            assert not (here / "quarantine").exists()
        assert tree(here / "data") == before

    calls = sweep(
        tmp_path.resolve(), lambda here: None, lambda here: carry_out(planned(here)), check, links=links
    )
    assert calls > 20


@pytest.mark.parametrize("links", [True, False])
def test_a_kill_anywhere_in_moving_can_be_finished(tmp_path, links):
    def check(here, before, killed):
        if journal := unfinished(here / "run"):
            assert killed
            assert carry_out(journal, begun_before=True) == {}
        if journal_files(here / "run"):
            assert sorted(contents(here)) == sorted(FILES.values())
            assert (here / "data" / "dog" / "2.png").read_bytes() == b"two"
            undo(here / "run")
        assert tree(here / "data") == before

    sweep(tmp_path.resolve(), lambda here: None, lambda here: carry_out(planned(here)), check, links=links)


@pytest.mark.parametrize("links", [True, False])
def test_a_kill_anywhere_in_undoing_is_made_good_by_another_undo(tmp_path, links):
    def prepare(here):
        carry_out(planned(here))
        (here / "quarantine" / "cat" / "1.png").chmod(0o600)
        os.utime(here / "data" / "dog" / "2.png")

    def check(here, before, killed):
        if killed and not read_journal(journal_files(here / "run")[0]).undone:
            undo(here / "run")
        assert tree(here / "data") == before
        assert not (here / "quarantine").exists()

    calls = sweep(tmp_path.resolve(), prepare, lambda here: undo(here / "run"), check, links=links)
    assert calls > 20


# The journal itself


def test_a_damaged_plan_is_refused(here):
    journal = planned(here)
    text = journal.path.read_text()
    journal.path.write_text(text.replace("dog/2.png", "dog/X.png"))
    with pytest.raises(DataError, match="damaged"):
        undo(here / "run")
    journal.path.write_text(text[: len(text) // 2])
    with pytest.raises(DataError, match="damaged"):
        undo(here / "run")


@pytest.mark.parametrize("path", ["../../outside.png", "/etc/passwd", ""])
def test_a_journal_that_leaves_its_roots_is_refused(here, path):
    journal = planned(here, [Step(0, "cat/1.png", "cat/1.png", "quarantine", False)])
    lines = journal.path.read_text().splitlines()[:-1]
    lines = [line.replace('"source": "cat/1.png"', f'"source": "{path}"') for line in lines]
    plan = "".join(line + "\n" for line in lines)
    digest = hashlib.sha256(plan.encode()).hexdigest()
    journal.path.write_text(plan + json.dumps({"planned": digest}) + "\n")
    with pytest.raises(DataError, match="damaged"):
        undo(here / "run")


def test_a_line_cut_short_counts_as_not_written(here):
    journal = planned(here)
    carry_out(journal)
    text = journal.path.read_bytes()
    journal.path.write_bytes(text[:-20])
    assert not read_journal(journal.path).done
    append(journal, {"undoing": [1]})
    assert read_journal(journal.path).kept_times == {1}


def test_batches_are_moved_one_after_the_other(here, monkeypatch):
    monkeypatch.setattr(moves, "_BATCH", 2)
    before, events = tree(here / "data"), []
    carry_out(planned(here), events.append)
    assert [(event.done, event.total) for event in events] == [(2, 4), (4, 4)]
    undo(here / "run")
    assert tree(here / "data") == before
