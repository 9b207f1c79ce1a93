"""The run directory: nothing half-written, nothing damaged taken for good, nobody else's file touched."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labelscrub import store, store_files, store_lock
from labelscrub.errors import DataError, EnvironmentProblem, UsageError
from labelscrub.store import RunDirectory

FINGERPRINT = {"seed": 1, "data": "3f2a" * 16, "training": {"loss": "pz", "shape": (4, 4)}}
ARRAYS = {"probs": np.arange(12, dtype=np.float32).reshape(3, 4), "fold": np.array([0, 1, -1], np.int16)}


@contextlib.contextmanager
def begun(path, fingerprint=FINGERPRINT, restart=False):
    with RunDirectory.open(path, restart=restart) as run:
        run.begin(fingerprint)
        yield run


def files(folder):
    """Name -> bytes of everything but the lock, whose text is the time."""
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file() and p.name != "lock"}


def finish(run):
    """All that a whole run leaves."""
    run.put_arrays("predictions", ARRAYS)
    run.put_bytes("report.parquet", b"report")
    (run.path / "clean.csv").write_bytes(b"path,label\n")
    run.record_output("clean.csv")
    run.put_bytes("run.json", json.dumps({"labelscrub": "0.1", "files": run.outputs()}).encode())


# Whole or not at all


@pytest.mark.parametrize("write", [store.write_atomic, store.write_new])
def test_a_new_file_is_written_with_the_users_umask(tmp_path, write):
    before = os.umask(0o027)
    try:
        write(tmp_path / "a", b"new")
    finally:
        os.umask(before)
    assert files(tmp_path) == {"a": b"new"}
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_write_atomic_replaces_and_write_new_refuses(tmp_path):
    target = tmp_path / "a"
    target.write_bytes(b"old")
    with pytest.raises(UsageError, match="exists already"):
        store.write_new(target, b"new")
    assert files(tmp_path) == {"a": b"old"}
    store.write_atomic(target, b"new")
    assert files(tmp_path) == {"a": b"new"}


@pytest.mark.parametrize("links", [True, False], ids=["links", "no-links"])
def test_write_new_never_overwrites_what_appears_meanwhile(tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr(Path, "hardlink_to", raising(errno.EOPNOTSUPP))
    with (
        pytest.raises(UsageError, match="exists already"),
        store.writing(tmp_path / "a", overwrite=False) as file,
    ):
        file.write(b"ours")
        (tmp_path / "a").write_bytes(b"theirs")
    assert files(tmp_path) == {"a": b"theirs"}
    store.write_new(tmp_path / "b", b"ours")
    assert files(tmp_path) == {"a": b"theirs", "b": b"ours"}


@pytest.mark.parametrize("place", ["none", "file"])
def test_a_folder_that_is_not_there_is_said(tmp_path, place):
    (tmp_path / "file").write_bytes(b"text")
    for write in (store.write_atomic, store.write_new):
        with pytest.raises(EnvironmentProblem, match=f"there is no folder {tmp_path / place}") as caught:
            write(tmp_path / place / "a.csv", b"new")
        assert "create it" in caught.value.fix and "writable" not in caught.value.fix


def raising(number):
    def fail(*arguments, **options):
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize(
    "number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO, errno.EMFILE]
)
@pytest.mark.parametrize("where", ["open", "fsync", "rename"])
def test_a_failed_write_leaves_the_old_file_and_names_the_path(tmp_path, monkeypatch, number, where):
    target = tmp_path / "a"
    target.write_bytes(b"old")
    if where == "open":
        monkeypatch.setattr(Path, "open", raising(number))
    elif where == "fsync":
        monkeypatch.setattr(os, "fsync", raising(number))
    else:
        monkeypatch.setattr(Path, "replace", raising(number))
    with pytest.raises(EnvironmentProblem) as caught:
        store.write_atomic(target, b"new")
    monkeypatch.undo()
    assert (
        str(target) in caught.value.cause and os.strerror(number) in caught.value.cause and caught.value.fix
    )
    assert files(tmp_path) == {"a": b"old"}


def test_an_interrupt_leaves_the_old_file(tmp_path):
    target = tmp_path / "a"
    target.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), store.writing(target) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert files(tmp_path) == {"a": b"old"}


def test_folders_that_cannot_be_synced_are_fine(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "open", raising(errno.EACCES))
    store.write_atomic(tmp_path / "a", b"new")
    assert files(tmp_path) == {"a": b"new"}


# Stored arrays


def test_arrays_come_back_with_equal_bytes_and_numpy_reads_them(tmp_path):
    arrays = {**ARRAYS, "empty": np.zeros((0, 3)), "none": np.array(True), "f": np.asfortranarray(np.eye(3))}
    with begun(tmp_path / "a") as run, begun(tmp_path / "b") as other:
        run.put_arrays("predictions", arrays)
        back = run.get_arrays("predictions")
        other.put_arrays("predictions", back)
        assert run.warnings == []
    assert list(back) == list(arrays)
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype and np.array_equal(back[name], array)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    with np.load(tmp_path / "a" / "predictions.npz") as stored:
        assert np.array_equal(stored["probs"], arrays["probs"])
    assert list(store.read_arrays(tmp_path / "a" / "predictions.npz")) == list(arrays)


def test_nothing_stored_is_none_without_a_warning(tmp_path):
    with begun(tmp_path / "run") as run:
        assert run.get_arrays("fold-0") is None and run.warnings == []
        run.put_arrays("fold-0", ARRAYS)
        run.put_arrays("predictions", ARRAYS)
        assert run.checkpoints() == ("fold-0",)
        run.delete("fold-0")
        run.delete("fold-0")
        assert run.checkpoints() == () and run.get_arrays("predictions")


@pytest.mark.parametrize("name", ["../fold-0", "mine", "", "fold-0/x", "Fold-0"])
def test_only_names_that_restart_knows(tmp_path, name):
    with begun(tmp_path / "run") as run:
        with pytest.raises(ValueError, match="restart"):
            run.put_arrays(name, ARRAYS)
        with pytest.raises(ValueError, match="restart"):
            run.put_bytes(name, b"")


def test_objects_are_not_pickled(tmp_path):
    with begun(tmp_path / "run") as run:
        with pytest.raises(ValueError, match="allow_pickle"):
            run.put_arrays("fold-0", {"a": np.array([{}], object)})
        assert set(files(run.path)) == {"state.json"}


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A run with one stored file, and that file's bytes."""
    folder = tmp_path_factory.mktemp("stored") / "run"
    with begun(folder) as run:
        run.put_arrays("fold-0", ARRAYS)
        yield run, (folder / "fold-0.npz").read_bytes()


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_any_damage_is_noticed(stored, data):
    run, good = stored
    at = data.draw(st.integers(0, len(good) - 1), label="at")
    how = data.draw(st.sampled_from(["flip", "cut", "append", "zeros"]), label="how")
    bit = 1 << data.draw(st.integers(0, 7), label="bit")
    bad = {
        "flip": good[:at] + bytes([good[at] ^ bit]) + good[at + 1 :],
        "cut": good[:at],
        "append": good + bytes([bit]),
        "zeros": good[:at] + bytes(len(good) - at),
    }[how]
    (run.path / "fold-0.npz").write_bytes(bad)
    run.warnings.clear()
    assert run.get_arrays("fold-0") is None
    assert len(run.warnings) == 1 and "fold-0.npz" in run.warnings[0] and "computed again" in run.warnings[0]


def test_arrays_of_another_run_are_not_taken(tmp_path):
    with begun(tmp_path / "a", {"seed": 1}) as run:
        run.put_arrays("fold-0", ARRAYS)
    with begun(tmp_path / "b", {"seed": 2}) as run:
        shutil.copy(tmp_path / "a" / "fold-0.npz", run.path)
        assert run.get_arrays("fold-0") is None
        assert "another run" in run.warnings[0]


def test_unreadable_arrays_are_computed_again(tmp_path):
    with begun(tmp_path / "run") as run:
        (run.path / "fold-0.npz").mkdir()
        assert run.get_arrays("fold-0") is None and "Is a directory" in run.warnings[0]
        with pytest.raises(DataError, match="No such file"):
            store.read_arrays(run.path / "predictions.npz")


# Begin, go on, refuse, restart


def test_the_same_command_goes_on(tmp_path):
    with begun(tmp_path / "new" / "run") as run:
        run.put_arrays("fold-0", ARRAYS)
    before = files(run.path)
    with begun(tmp_path / "new" / "run") as run:
        assert run.get_arrays("fold-0") is not None
    assert files(run.path) == before
    assert json.loads(before["state.json"])["format"] == store.FORMAT


def test_another_command_is_refused_with_what_differs(tmp_path):
    other = {"seed": 2, "data": "91bc" * 16, "training": {"loss": "ce", "gamma": None, "shape": [4, 4]}}
    with begun(tmp_path / "run") as run:
        run.put_arrays("fold-0", ARRAYS)
    before = files(tmp_path / "run")
    with pytest.raises(UsageError) as caught, begun(tmp_path / "run", other):
        pass
    assert caught.value.cause.splitlines()[1:] == [
        "  data: 3f2a3f2a.. -> 91bc91bc..",
        "  seed: 1 -> 2",
        "  training.loss: pz -> ce",
        "  training.gamma: (none) -> null",
    ]
    assert "--restart" in caught.value.fix and "--out" in caught.value.fix
    assert files(tmp_path / "run") == before


def test_part_of_another_command_is_refused_early(tmp_path):
    with begun(tmp_path / "run"):
        pass
    with store.RunDirectory.open(tmp_path / "run") as run:
        run.expect({"seed": 1})
        with pytest.raises(UsageError, match="seed: 1 -> 2"):
            run.expect({"seed": 2})
    with store.RunDirectory.open(tmp_path / "run", restart=True) as run:
        run.expect({"seed": 2})
    with store.RunDirectory.open(tmp_path / "new") as run:
        run.expect({"seed": 2})


def test_restart_removes_the_run_and_nothing_else(tmp_path):
    path = tmp_path / "run"
    with begun(path) as run:
        run.put_arrays("fold-0", ARRAYS)
        finish(run)
    (path / "decisions.jsonl").write_text("mine")
    (path / "my.npz").write_text("mine")
    (path / "pruned.csv").write_text("mine")
    (path / "cache").mkdir()
    (path / "report.html").mkdir()  # not a file of ours, whatever its name
    with RunDirectory.open(path, restart=True) as run:
        assert (path / "fold-0.npz").exists()  # until it is clear that there will be a new run
        run.begin({"seed": 9})
        assert run.get_arrays("fold-0") is None and run.warnings == []
    names = {p.name for p in path.iterdir()}
    assert names == {"state.json", "lock", "decisions.jsonl", "my.npz", "pruned.csv", "cache", "report.html"}


def test_restart_removes_a_link_not_what_it_points_to(tmp_path):
    (tmp_path / "mine.csv").write_text("mine")
    with begun(tmp_path / "run"):
        (tmp_path / "run" / "clean.csv").symlink_to(tmp_path / "mine.csv")
    with begun(tmp_path / "run", {"seed": 2}, restart=True) as run:
        assert not os.path.lexists(run.path / "clean.csv")
    assert (tmp_path / "mine.csv").read_text() == "mine"


@pytest.mark.parametrize(
    "state",
    [
        b"",
        b"\0" * 50,
        b"{",
        b"[]",
        b'{"format": "x"}',
        b'{"format": 0, "fingerprint": {}}',
        b'{"format": 1}',
        None,
    ],
)
def test_a_broken_or_older_state_needs_restart(tmp_path, state):
    path = tmp_path / "run"
    with begun(path) as run:
        run.put_arrays("fold-0", ARRAYS)
    if state is None:
        (path / "state.json").unlink()
    else:
        (path / "state.json").write_bytes(state)
    with pytest.raises(UsageError, match=r"state\.json.*damaged") as caught, begun(path):
        pass
    assert "--restart" in caught.value.fix
    with begun(path, restart=True) as run:
        assert run.get_arrays("fold-0") is None
    with begun(path):
        pass


@pytest.mark.parametrize("restart", [False, True])
def test_a_newer_labelscrubs_run_is_refused(tmp_path, restart):
    with begun(tmp_path / "run"):
        pass
    state = tmp_path / "run" / "state.json"
    state.write_bytes(state.read_bytes().replace(b'"format": 1', b'"format": 2'))
    before = files(tmp_path / "run")
    with pytest.raises(UsageError, match="newer"), begun(tmp_path / "run", restart=restart):
        pass
    assert files(tmp_path / "run") == before


def test_a_start_that_was_cut_short_can_be_made_again(tmp_path):
    path = tmp_path / "run"
    path.mkdir()
    (path / "lock").touch()
    (path / ".labelscrub-0123.tmp").write_bytes(b"half")
    with begun(path):
        pass
    assert set(files(path)) == {"state.json"}
    with RunDirectory.open(tmp_path / "other"):  # killed before `begin`
        pass
    with begun(tmp_path / "other", {"seed": 5}):
        pass


# Places that are not for runs


@pytest.mark.parametrize(
    "place", ["root", "home", "file", "below a file", "foreign", "dangling link", "their state"]
)
def test_other_peoples_places_are_refused(tmp_path, monkeypatch, place):
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "photo.jpg").write_bytes(b"photo")
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "state.json").write_text("{}")
    (tmp_path / "file").write_bytes(b"text")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    path = {
        "root": Path("/"),
        "home": tmp_path / "home",
        "file": tmp_path / "file",
        "below a file": tmp_path / "file" / "run",
        "foreign": tmp_path / "foreign",
        "dangling link": tmp_path / "link",
        "their state": tmp_path / "theirs",
    }[place]
    before = sorted(tmp_path.rglob("*"))
    for restart in (False, True):
        with pytest.raises(UsageError) as caught, begun(path, restart=restart):
            pass
        assert str(path) in caught.value.cause and "--out" in caught.value.fix
    assert sorted(tmp_path.rglob("*")) == before


def test_the_run_directory_is_not_in_the_images(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (tmp_path / "alias").symlink_to(data)
    for out in (data, data / "out", data / "a" / "b", tmp_path / "alias" / "out", data / ".." / "data"):
        with pytest.raises(UsageError, match="the source"):
            store.check_not_inside(out, data)
    for out in (tmp_path / "out", tmp_path / "data-out", data / ".." / "out"):
        store.check_not_inside(out, data)


@pytest.mark.parametrize("failing", ["mkdir", "state"])
def test_an_unwritable_folder_shows_before_the_run(tmp_path, monkeypatch, failing):
    if failing == "mkdir":
        monkeypatch.setattr(Path, "mkdir", raising(errno.EROFS))
    else:
        with begun(tmp_path / "run"):
            pass
        monkeypatch.setattr(Path, "replace", raising(errno.EROFS))
    with pytest.raises(EnvironmentProblem, match="Read-only"), RunDirectory.open(tmp_path / "run"):
        pytest.fail("opened")


# What a finished run is checked by


def test_a_finished_run_is_whole(tmp_path):
    with begun(tmp_path / "run") as run:
        finish(run)
    with RunDirectory.open(tmp_path / "run", finished=True) as run:
        stored = json.loads(store.read_run(run.path))
        assert list(stored["files"]) == ["report.parquet", "clean.csv"]
        run.verify_outputs(stored)
    assert (
        subprocess.run(["sha256sum", "--check", "--quiet", "run.json.sha256"], cwd=run.path).returncode == 0
    )


@pytest.mark.parametrize(
    ("name", "change", "refused"),
    [
        ("report.parquet", "edit", True),
        ("report.parquet", "remove", True),
        ("clean.csv", "edit", True),
        ("clean.csv", "remove", False),
    ],
)
def test_edited_outputs_are_refused(tmp_path, name, change, refused):
    with begun(tmp_path / "run") as run:
        finish(run)
    path = run.path / name
    path.unlink() if change == "remove" else path.write_bytes(path.read_bytes() + b" ")
    with RunDirectory.open(run.path, finished=True) as run:
        expected = pytest.raises(UsageError, match=name) if refused else contextlib.nullcontext()
        with expected:
            run.verify_outputs(json.loads(store.read_run(run.path)))
        with pytest.raises(DataError, match="which files"):
            run.verify_outputs({})


def test_an_edited_run_json_is_refused(tmp_path):
    with begun(tmp_path / "run") as run:
        finish(run)
    path = run.path / "run.json"
    path.write_bytes(path.read_bytes().replace(b"0.1", b"0.2"))
    with pytest.raises(DataError, match="edited"):
        store.read_run(run.path)


def test_an_unfinished_run_says_so(tmp_path):
    with begun(tmp_path / "run"):
        pass
    for path, message in ((tmp_path / "run", "not finished"), (tmp_path / "none", "no run")):
        for read in (store.read_run, lambda path: RunDirectory.open(path, finished=True).__enter__()):
            with pytest.raises(UsageError, match=message):
                read(path)
    assert not (tmp_path / "none").exists()
    with pytest.raises(UsageError, match=r"or it ended without a verdict \(exit code 5\)") as caught:
        store.read_run(tmp_path / "run")
    assert "detect command again tells which" in caught.value.fix


@pytest.mark.parametrize("name", ["file", "foreign", "theirs"])
def test_what_holds_no_run_is_refused_without_naming_an_option_that_writes(tmp_path, name):
    (tmp_path / "file").write_bytes(b"text")
    for folder in ("foreign", "theirs"):
        (tmp_path / folder).mkdir()
    (tmp_path / "theirs" / "run.json").write_text("{}")
    (tmp_path / "theirs" / "state.json").write_text("{}")
    (tmp_path / "foreign" / "photo.jpg").write_bytes(b"photo")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError) as caught, RunDirectory.open(tmp_path / name, finished=True):
        pass
    assert str(tmp_path / name) in caught.value.cause
    assert "name the run directory" in caught.value.fix and "--out" not in caught.value.fix
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_in_use_is_no_reason_to_name_another_out_to_a_reader(tmp_path):
    with begun(tmp_path / "run") as run:
        finish(run)
        with (
            pytest.raises(EnvironmentProblem, match="another labelscrub") as caught,
            RunDirectory.open(tmp_path / "run", finished=True),
        ):
            pass
    assert caught.value.fix == "wait for it to end"


# One run at a time


def test_a_second_run_is_refused_within_two_seconds(tmp_path):
    code = "import sys, pathlib, time; from labelscrub.store import RunDirectory\n"
    code += "with RunDirectory.open(pathlib.Path(sys.argv[1])): print('in', flush=True); time.sleep(60)"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "run")], stdout=subprocess.PIPE
    ) as first:
        try:
            assert first.stdout.readline() == b"in\n"
            for finished in (False, True):
                if finished:
                    (tmp_path / "run" / "run.json").write_text("{}")
                began = time.monotonic()
                with (
                    pytest.raises(EnvironmentProblem) as caught,
                    RunDirectory.open(tmp_path / "run", finished=finished),
                ):
                    pass
                assert time.monotonic() - began < 2
                assert (
                    f"PID {first.pid}," in caught.value.cause and str(tmp_path / "run") in caught.value.cause
                )
        finally:
            first.send_signal(signal.SIGKILL)
    with begun(tmp_path / "run"):  # the kernel let go of a killed run's lock
        pass


def test_a_forked_worker_holds_no_lock(tmp_path):
    with begun(tmp_path / "run"):
        child = os.fork()
        if child == 0:
            time.sleep(60)
            os._exit(0)
    try:
        with begun(tmp_path / "run"):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_without_flock_a_file_is_the_lock(tmp_path, monkeypatch):
    monkeypatch.setattr(store_lock.fcntl, "flock", raising(errno.ENOLCK))
    with begun(tmp_path / "run"):
        held = tmp_path / "run" / "lock.held"
        assert held.exists()
        with pytest.raises(EnvironmentProblem, match=f"PID {os.getpid()}") as caught, begun(tmp_path / "run"):
            pass
        assert str(held) in caught.value.fix
        assert held.exists()
    assert not held.exists()
    with subprocess.Popen(["true"]) as gone:
        pass
    for line, stale in (
        (f"labelscrub {gone.pid} {store_lock._host().decode()} 2026-01-01T00:00:00Z", True),
        ("", False),
    ):
        held.write_text(line)
        with (
            contextlib.nullcontext() if stale else pytest.raises(EnvironmentProblem),
            begun(tmp_path / "run"),
        ):
            pass


def test_errors_in_the_block_are_not_the_locks(tmp_path):
    with pytest.raises(FileNotFoundError), store_lock.locked(tmp_path):
        raise FileNotFoundError


# With the kernel's help: kills at system calls, full disks, lost permissions

WRITER = """
import sys, pathlib, numpy as np
from labelscrub.store import RunDirectory
with RunDirectory.open(pathlib.Path(sys.argv[1])) as run:
    run.begin({"seed": 1})
    value = int(sys.argv[2])
    run.put_arrays("fold-0", {"a": np.full(200_000, value, np.uint8)})
    run.put_bytes("suspects.csv", b"%d\\n" % value * 50_000)
    run.put_bytes("run.json", b'{"labelscrub": %d}' % value)
"""


def write(path, value, *before):
    command = [*before, sys.executable, "-c", WRITER, str(path), str(value)]
    return subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    )


def old_or_new(path):
    """The values in the run's files, each file whole."""
    with begun(path, {"seed": 1}) as run:
        arrays = run.get_arrays("fold-0")
        assert run.warnings == []
        values = {int(value) for value in np.unique(arrays["a"])} if arrays else set()
        assert len(values) <= 1
    lines = set((path / "suspects.csv").read_bytes().splitlines())
    assert len(lines) == 1
    values.add(int(lines.pop()))
    values.add(json.loads(store.read_run(path))["labelscrub"])
    assert not list(path.glob(".labelscrub-*"))
    return values


@pytest.mark.parametrize("call", range(1, 20, 2))
def test_a_kill_leaves_old_or_new(tmp_path, call):
    """SIGKILL at every second of the calls that change the folder, by the child's own hand."""
    killing = f"""
import os, pathlib
left = {call}
def deadly(function):
    def call(*arguments, **options):
        global left
        left -= 1
        if not left:
            os.kill(os.getpid(), 9)
        return function(*arguments, **options)
    return call
os.fsync = deadly(os.fsync)
pathlib.Path.replace = deadly(pathlib.Path.replace)
pathlib.Path.unlink = deadly(pathlib.Path.unlink)
"""
    path = tmp_path / "run"
    with begun(path, {"seed": 1}) as run:
        run.put_arrays("fold-0", {"a": np.full(200_000, 1, np.uint8)})
        run.put_bytes("suspects.csv", b"1\n" * 50_000)
        run.put_bytes("run.json", b'{"labelscrub": 1}')
    done = subprocess.run([sys.executable, "-c", killing + WRITER, str(path), "2"], capture_output=True)
    assert done.returncode == -signal.SIGKILL
    assert old_or_new(path) <= {1, 2}


def strace_works():
    if not shutil.which("strace"):
        return False
    return subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True).returncode == 0


needs_strace = pytest.mark.skipif(not strace_works(), reason="needs strace and the right to trace")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@needs_strace
@pytest.mark.parametrize(
    "calls", ["fsync:when=3", "fsync:when=7", "rename:when=3", "ftruncate,unlink:when=1"]
)
def test_a_kill_at_a_system_call_leaves_old_or_new(tmp_path, calls):
    path = tmp_path / "run"
    assert write(path, 1).returncode == 0
    names, when = calls.split(":")
    strace = [
        "strace",
        "-f",
        "-o",
        "/dev/null",
        "-e",
        f"trace={names}",
        "-e",
        f"inject={names}:signal=KILL:{when}",
    ]
    assert write(path, 2, *strace).returncode in (-signal.SIGKILL, 128 + signal.SIGKILL)
    assert old_or_new(path) <= {1, 2}


@needs_strace
@pytest.mark.parametrize("name", ["ENOSPC", "EDQUOT", "EIO"])
def test_a_failing_disk_leaves_the_old_files(tmp_path, name):
    path = tmp_path / "run"
    assert write(path, 1).returncode == 0
    strace = [
        "strace",
        "-f",
        "-o",
        "/dev/null",
        "-e",
        "trace=fsync",
        "-e",
        f"inject=fsync:error={name}:when=5+",
    ]
    done = write(path, 2, *strace)
    assert "EnvironmentProblem: cannot write" in done.stderr
    assert old_or_new(path) == {1}


@needs_root
@pytest.mark.parametrize("limit", ["size=160k", "size=1m,nr_inodes=6"])
def test_a_full_disk_is_said_and_the_run_goes_on_after(tmp_path, limit):
    """The old run fits; new bytes beside old ones, or one more file, do not."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", limit, "none", str(disk)], capture_output=True
    ).returncode:
        pytest.skip("needs the right to mount")
    try:
        path = disk / "run"
        with begun(path, {"seed": 1}) as run:
            run.put_bytes("suspects.csv", b"1" * 1000)
            if "inodes" in limit:
                (path / "filler").touch()
            with pytest.raises(EnvironmentProblem, match=r"suspects.csv: No space"):
                for _ in range(2):
                    run.put_bytes("suspects.csv", b"2" * 170_000)
                    (path / "another").touch()
            kept = (path / "suspects.csv").read_bytes()
            assert kept in (b"1" * 1000, b"2" * 170_000) and not list(path.glob(".labelscrub-*"))
            for name in ("filler", "another"):
                (path / name).unlink(missing_ok=True)
            run.put_bytes("suspects.csv", b"3" * 500)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@needs_root
@pytest.mark.skipif(not shutil.which("setpriv"), reason="needs setpriv")
def test_lost_write_permission_is_said_at_once():
    with tempfile.TemporaryDirectory() as folder:  # pytest's own is closed to others
        Path(folder).chmod(0o755)
        check_lost_write_permission(Path(folder) / "run")


def check_lost_write_permission(path):
    with begun(path) as run:
        finish(run)
    nobody = ["setpriv", "--reuid=65534", "--clear-groups", "--"]
    for folder in (path, *path.parents):
        if subprocess.run([*nobody, "test", "-x", str(folder)]).returncode:
            pytest.skip("nobody can't enter the temporary folder")
    code = "import sys, pathlib; from labelscrub.store import RunDirectory\n"
    code += "with RunDirectory.open(pathlib.Path(sys.argv[1]), finished=len(sys.argv) > 2): pass"
    done = subprocess.run([*nobody, sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert "EnvironmentProblem: cannot lock" in done.stderr and "Permission denied" in done.stderr
    done = subprocess.run(
        [*nobody, sys.executable, "-c", code, str(path), "r"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_the_quick_path_needs_no_numpy():
    code = "import sys, labelscrub.store; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_few_open_files_are_enough(tmp_path):
    code = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))\n" + WRITER
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "run"), "1"], capture_output=True)
    assert done.returncode == 0, done.stderr
    assert store_files.sha256_file(tmp_path / "run" / "run.json")
