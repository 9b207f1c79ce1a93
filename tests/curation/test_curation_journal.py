"""The journal: what was answered is on the disk, whole, once, whoever else writes and whatever breaks."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from labelscrub.curation import journal as journal_module
from labelscrub.curation.decisions import decision_line, read_decisions
from labelscrub.curation.journal import Journal
from labelscrub.errors import DataError, EnvironmentProblem
from labelscrub.review_records import Decision

KEEP = Decision(3, "keep", "", "cat", "images/3.png", "ab" * 32)
RELABEL = Decision(4, "relabel", "dog", "caf\\xe9 \u202e</script>", "=cmd\n.png", "cd" * 32)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "decisions.jsonl"


def test_what_is_appended_is_in_the_file_in_order(path):
    journal = Journal.open(path)
    assert not path.exists()  # looking at a run leaves nothing behind
    assert journal.since(0) == (0, [])
    assert [journal.append(KEEP), journal.append(RELABEL), journal.append(KEEP)] == [1, 2, 3]
    assert read_decisions(path) == [KEEP, RELABEL, KEEP]
    assert journal.since(1) == (3, [RELABEL, KEEP])
    assert journal.since(3) == (3, [])


def test_each_line_says_when(path):
    Journal.open(path).append(RELABEL)
    entry = json.loads(path.read_bytes())
    assert entry["time"].endswith("+00:00")
    assert entry["label"] == "dog"


def test_it_is_on_the_disk_before_the_answer(path, monkeypatch):
    """Every append ends with an fsync of the file, which then holds the line already."""
    synced = []
    real = os.fsync

    def watched(descriptor):
        synced.append(os.fstat(descriptor).st_size)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    journal = Journal.open(path)
    journal.append(KEEP)
    assert path.stat().st_size in synced
    journal.append(RELABEL)
    assert synced[-1] == path.stat().st_size


def test_two_journals_of_one_file_agree(path):
    one, two = Journal.open(path), Journal.open(path)
    assert one.append(KEEP) == 1
    assert two.append(RELABEL) == 2
    assert one.since(0) == two.since(0) == (2, [KEEP, RELABEL])


def append_many(path, row):
    journal = Journal.open(path)
    for number in range(200):
        journal.append(replace(KEEP, row=row, path=f"{row}-{number}" + "x" * (7 * number)))


def test_two_processes_lose_nothing(path):
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=append_many, args=(path, row)) for row in (1, 2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    found = read_decisions(path)
    assert len(found) == 400
    for row in (1, 2):
        mine = [decision.path.rstrip("x") for decision in found if decision.row == row]
        assert mine == [f"{row}-{number}" for number in range(200)]


def test_threads_get_different_counts(path):
    journal = Journal.open(path)
    counts = []
    threads = [threading.Thread(target=lambda: counts.append(journal.append(KEEP))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(counts) == list(range(1, 21))


@pytest.mark.parametrize("length", [1, 5, 9, 40, len(decision_line(RELABEL)) - 2])
@pytest.mark.parametrize("running", [True, False])
def test_a_torn_last_line_swallows_nothing(path, length, running):
    """A server that was killed, this one's forerunner or another beside it, leaves the start of a line."""
    journal = Journal.open(path)
    journal.append(KEEP)
    with path.open("ab") as file:
        file.write(decision_line(RELABEL).encode()[:length])
    if not running:
        journal = Journal.open(path)
        assert "line 2" in journal.mended
    assert journal.since(0) == (1, [KEEP])
    assert journal.append(RELABEL) == 2
    assert read_decisions(path) == [KEEP, RELABEL]


def test_a_torn_first_line_is_no_journal_lost(path):
    path.write_bytes(b'{"row": 3, "pa')
    assert Journal.open(path).append(KEEP) == 1
    assert read_decisions(path) == [KEEP]


def test_zeros_that_a_power_cut_left_go(path):
    path.write_bytes(decision_line(KEEP).encode() + b"\0" * 4096)
    assert Journal.open(path).append(RELABEL) == 2
    assert read_decisions(path) == [KEEP, RELABEL]


def test_a_whole_last_line_without_its_end_stays(path):
    """As an editor may leave it: a decision all the same."""
    path.write_text(decision_line(KEEP).rstrip("\n"))
    journal = Journal.open(path)
    assert journal.mended == ""
    assert journal.append(RELABEL) == 2
    assert read_decisions(path) == [KEEP, RELABEL]


@pytest.mark.parametrize("text", ["my notes", '{"mine": 1}', "\N{SNOWMAN}"])
def test_somebodys_text_is_not_cut_off(path, text):
    before = decision_line(KEEP) + text
    path.write_text(before, encoding="utf-8")
    with pytest.raises(DataError, match="line 2"):
        Journal.open(path)
    assert path.read_text(encoding="utf-8") == before


@pytest.mark.parametrize(
    "damage", [b"{}", b'{"row": 1, "ch', b"\xff\xfe", b'{"row": -1, "choice": "keep"}', b"[" * 100_000]
)
def test_damage_in_the_middle_is_named_by_line(path, damage):
    lines = [decision_line(KEEP).encode()] * 3
    path.write_bytes(b"".join([*lines, b"\n", damage + b"\n", *lines]))
    before = path.read_bytes()
    with pytest.raises(DataError, match=r"decisions\.jsonl, line 5"):
        Journal.open(path)
    assert path.read_bytes() == before


def test_damage_while_it_is_open_is_named_by_line(path):
    journal = Journal.open(path)
    journal.append(KEEP)
    with path.open("a") as file:
        file.write("junk\n")
    for use in (lambda: journal.append(KEEP), lambda: journal.since(0)):
        with pytest.raises(DataError, match="line 2"):
            use()
    path.write_text(decision_line(KEEP))
    assert journal.append(RELABEL) == 2


def test_a_journal_moved_away_is_noticed(path):
    """No decision goes into a file without a name, and what was moved away is no longer told."""
    journal = Journal.open(path)
    journal.append(KEEP)
    journal.append(KEEP)
    path.rename(path.with_name("old.jsonl"))
    assert journal.since(2) == (0, [])
    assert journal.append(RELABEL) == 1
    assert read_decisions(path) == [RELABEL]
    path.with_name("old.jsonl").replace(path)
    assert journal.since(0) == (2, [KEEP, KEEP])


def test_a_shorter_file_is_told_from_its_start(path):
    journal = Journal.open(path)
    for _ in range(3):
        journal.append(KEEP)
    path.write_text(decision_line(RELABEL))
    assert journal.since(3) == (1, [RELABEL])


class Disk:
    """os.write on a disk with `room` bytes left."""

    def __init__(self, room):
        self.room, self.real = room, os.write

    def write(self, descriptor, data):
        if self.room == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = self.real(descriptor, data[: self.room])
        self.room -= written
        return written


@pytest.mark.parametrize("room", [0, 1, 50])
def test_a_full_disk_leaves_no_half_entry(path, monkeypatch, room):
    journal = Journal.open(path)
    journal.append(KEEP)
    before = path.read_bytes()
    with monkeypatch.context() as full:
        full.setattr(os, "write", Disk(room).write)
        with pytest.raises(EnvironmentProblem, match="No space left") as caught:
            journal.append(RELABEL)
    assert "free some space" in caught.value.fix
    assert path.read_bytes() == before
    assert journal.append(RELABEL) == 2


def test_what_could_not_be_forced_to_the_disk_is_taken_back(path, monkeypatch):
    journal = Journal.open(path)
    journal.append(KEEP)
    before = path.read_bytes()

    def failing(descriptor):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", failing)
        with pytest.raises(EnvironmentProblem):
            journal.append(RELABEL)
    assert path.read_bytes() == before


def test_without_file_locks_it_works_all_the_same(path, monkeypatch):
    def unsupported(descriptor, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(journal_module.fcntl, "flock", unsupported)
    journal = Journal.open(path)
    assert [journal.append(KEEP), journal.append(RELABEL)] == [1, 2]


def test_a_lock_that_nobody_gives_back_is_no_hang(path, monkeypatch):
    monkeypatch.setattr(journal_module, "WAIT", 0.02)
    journal = Journal.open(path)
    journal.append(KEEP)
    with path.open("ab") as holder:
        journal_module.fcntl.flock(holder, journal_module.fcntl.LOCK_EX)
        with pytest.raises(EnvironmentProblem, match="locked"):
            journal.append(RELABEL)
    assert journal.append(RELABEL) == 2


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_what_is_no_file_is_refused(path, kind):
    path.mkdir() if kind == "folder" else os.mkfifo(path)
    with pytest.raises(EnvironmentProblem, match=r"decisions\.jsonl"):
        Journal.open(path)


KILLED = """
import sys
from pathlib import Path
from labelscrub.curation.journal import Journal
from labelscrub.review_records import Decision
journal = Journal.open(Path(sys.argv[1]))
for row in range(4):
    print(journal.append(Decision(row, "keep", "", "cat", str(row), "")), flush=True)
"""


def traceable():
    strace = shutil.which("strace")
    if strace is None:
        return False
    done = subprocess.run([strace, "-f", "-o", os.devnull, "true"], capture_output=True, check=False)
    return done.returncode == 0


@pytest.mark.skipif(not traceable(), reason="needs strace, and the right to use it")
@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_kill_at_any_append_loses_no_answered_decision(tmp_path, path, call):
    """Killed at the third append's write, or its fsync: what was answered is there, and one can go on."""
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    when = "when=3"
    command = ["strace", "-f", "-o", os.devnull, "-P", str(path), "-e", f"trace={call}"]
    command += ["-e", f"inject={call}:signal=KILL:{when}", sys.executable, str(script), str(path)]
    path.touch()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL), done.stderr
    answered = len(done.stdout.split())
    assert answered == 2
    journal = Journal.open(path)
    count, entries = journal.since(0)
    assert answered <= count <= answered + 1
    assert [entry.row for entry in entries] == list(range(count))
    assert journal.append(KEEP) == count + 1
    assert len(read_decisions(path)) == count + 1
    assert Path(path).read_bytes().endswith(b"\n")
