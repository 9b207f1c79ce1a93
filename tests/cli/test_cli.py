"""The command line as a user meets it: exit codes, streams, words."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from pictures import QUICK, write_folder

from labelscrub.cli.app import main
from labelscrub.config import all_settings, flag
from labelscrub.errors import ModelError

OPTIONS = [part for name, value in QUICK.items() for part in (flag(name), str(value))]


def labelscrub(*arguments, cwd=None, **environ):
    """Run the command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "labelscrub", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, **environ},
        check=False,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    write_folder(folder / "images")
    done = labelscrub("detect", folder / "images", "--out", folder / "run", *OPTIONS)
    return folder, done


def test_detect_prints_the_finding_to_stdout_and_progress_to_stderr(finished):
    folder, done = finished
    assert done.returncode == 0, done.stderr
    assert "6 of 72 labels look wrong (8.3%)" in done.stdout
    assert "72 listed = 72 used + 0 unreadable + 0 missing + 0 skipped" in done.stdout
    assert str(folder / "run" / "report.html") in done.stdout
    assert "Training ..." in done.stderr and "fold 3/3" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr


def test_json_alone_on_stdout(finished):
    folder, _ = finished
    done = labelscrub("detect", folder / "images", "--out", folder / "run", *OPTIONS, "--format", "json")
    assert json.loads(done.stdout)["summary"]["suspects"] == 6


def test_quiet_is_one_line(finished):
    folder, _ = finished
    done = labelscrub("detect", folder / "images", "--out", folder / "run", *OPTIONS, "-q")
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1


@pytest.mark.parametrize(("limit", "code"), [("6", 0), ("5", 1)])
def test_check_exits_with_the_verdict(finished, limit, code):
    folder, _ = finished
    done = labelscrub("check", folder / "run", "--max-suspects", limit)
    assert done.returncode == code
    assert ("FAILED" in done.stdout) == bool(code)


@pytest.mark.parametrize("form", ["json", "markdown"])
def test_check_in_other_forms(finished, form):
    folder, _ = finished
    done = labelscrub("check", folder / "run", "--max-rate", "0.01", "--format", form)
    assert done.returncode == 1
    if form == "json":
        assert json.loads(done.stdout)["passed"] is False
    else:
        assert done.stdout.startswith("#")


def test_prune_says_what_it_wrote(finished, tmp_path):
    folder, _ = finished
    done = labelscrub("prune", folder / "run", "--to", tmp_path / "clean.csv", "--top", "2")
    assert done.returncode == 0, done.stderr
    assert "70 of 72 rows kept; 2 suspects" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cutof", "0.1"], "--cutoff"),
        (["--folds", "one"], "--folds"),
        (["--folds", "1"], "--folds must be at least 2"),
        (["--folds", "-5"], "--folds must be at least 2"),
        (["--epochs", "0"], "--epochs must be at least 1"),
        (["--lr", "nan"], "--lr must be a finite number"),
        (["--seed", str(2**64)], "--seed must be at least 0"),
        (["--loss", "pzz"], "did you mean 'pz'"),
        (["--gamma", "0.3"], "--gamma has no effect with --loss pz"),
        (["--config", "nowhere.toml"], "nowhere.toml does not exist"),
    ],
)
def test_a_wrong_option_is_exit_code_2_in_two_lines(tmp_path, capsys, arguments, message):
    assert main(["detect", str(tmp_path), *arguments]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) <= 2


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["detect", "nowhere"], 2),
        (["detect", "empty"], 3),
        (["check", "nowhere", "--max-rate", "0.1"], 2),
        (["check", "empty"], 2),
        (["prune", "nowhere"], 2),
        (["nonsense"], 2),
        (["--version"], 0),
        (["--help"], 0),
    ],
)
def test_exit_codes(tmp_path, monkeypatch, arguments, code):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == code


def test_a_bug_is_told_apart_from_a_failed_gate(monkeypatch, capsys, tmp_path):
    def broken(*arguments, **more):
        raise ZeroDivisionError("no such luck")

    monkeypatch.setattr("labelscrub.pipeline.detect", broken)
    assert main(["detect", str(tmp_path)]) == 70
    err = capsys.readouterr().err
    assert "internal error: ZeroDivisionError" in err and "Traceback" not in err


@pytest.mark.parametrize(
    ("error", "code"),
    [(ZeroDivisionError("no such luck"), 70), (ModelError("no verdict"), 5), (MemoryError(), 4)],
)
def test_debug_adds_the_traceback_and_keeps_the_exit_code(monkeypatch, capsys, tmp_path, error, code):
    def broken(*arguments, **more):
        raise error

    monkeypatch.setattr("labelscrub.pipeline.detect", broken)
    assert main(["detect", str(tmp_path), "--debug"]) == code
    assert "Traceback" in capsys.readouterr().err


def test_settings_come_from_command_line_then_environment_then_file(tmp_path, monkeypatch):
    seen = {}

    class EnoughError(Exception):
        pass

    def capture(source, *, settings, **more):
        seen.update(settings.flat())
        raise EnoughError

    monkeypatch.setattr("labelscrub.pipeline.detect", capture)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "labelscrub.toml").write_text('folds = 7\nseed = 7\nepochs = 7\nlabel-column = "y"\n')
    monkeypatch.setenv("LABELSCRUB_SEED", "8")
    monkeypatch.setenv("LABELSCRUB_EPOCHS", "8")
    assert main(["detect", "x", "--epochs", "9"]) == 70
    assert (seen["folds"], seen["seed"], seen["epochs"], seen["label_column"]) == (7, 8, 9, "y")


def test_help_names_every_setting_with_its_default(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERMINAL_WIDTH", "200")
    assert main(["detect", "--help"]) == 0
    shown = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    words = " ".join(shown.replace("│", " ").split())
    for name, field in all_settings().items():
        assert flag(name) in shown
        if field.metadata["shown"]:
            assert f"({field.metadata['shown']})" in words


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_run_and_the_same_command_goes_on(tmp_path, finished, signum, code):
    folder, _ = finished
    write_folder(tmp_path / "images")
    command = [sys.executable, "-m", "labelscrub", "detect", str(tmp_path / "images")]
    command += ["--out", str(tmp_path / "run"), *OPTIONS]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    for _ in range(600):
        if (tmp_path / "run" / "fold-0.npz").exists() or process.poll() is not None:
            break
        time.sleep(0.05)
    process.send_signal(signum)
    _, err = process.communicate(timeout=30)
    assert process.returncode == code
    assert "goes on where this one stopped" in err
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    for name in ("suspects.csv", "report.parquet", "clean.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (folder / "run" / name).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "job", "kept"),
    [
        (["detect", "x"], "pipeline.detect", "finished folds are kept"),
        (["check", "x", "--max-rate", "0"], "pipeline.check", "finished folds are kept"),
        (["prune", "x"], "pipeline.prune", "files that were being moved: `labelscrub undo`"),
        (["undo", "x"], "pipeline.undo", "the same command goes on"),
        (["corrupt", "--debug", "x"], "evaluation.corrupt.corrupt", ""),
        (["score", "x", "--truth", "y"], "evaluation.score.score_run", ""),
    ],
)
def test_only_what_is_kept_is_promised(monkeypatch, capsys, arguments, job, kept):
    monkeypatch.setattr(f"labelscrub.{job}", lambda *_, **__: signal.raise_signal(signal.SIGTERM))
    assert main(arguments) == 143
    told = capsys.readouterr().err.split("labelscrub: stopped by SIGTERM\n")[1]
    assert told.strip().startswith(kept) and bool(told) == bool(kept)


def test_a_signal_waits_for_the_import_under_way(tmp_path):
    (tmp_path / "slow.py").write_text(
        "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\ndone = True\n"
    )
    script = (
        "import time, sys\n"
        "from labelscrub.cli import app\n"
        "app._stop_on_signals()\n"
        "try:\n"
        "    import slow\n"
        "    time.sleep(10)\n"
        "except app.Interrupted as stop:\n"
        "    print(stop.signum, sys.modules['slow'].done)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=True, timeout=20
    )
    assert done.stdout.split() == [str(int(signal.SIGTERM)), "True"]


def test_missing_probabilities_are_noticed_before_anything_is_decoded(finished, tmp_path):
    folder, _ = finished
    done = labelscrub(
        "detect", folder / "images", "--out", tmp_path / "run", "--pred-probs", tmp_path / "p.npy"
    )
    assert done.returncode == 2 and "there is no file" in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_terminal_without_unicode_gets_escapes_and_json_stays_utf_8(tmp_path):
    write_folder(tmp_path / "images")
    (tmp_path / "images" / "dark").rename(tmp_path / "images" / "d\u00e4rk")
    arguments = ("detect", tmp_path / "images", "--out", tmp_path / "run", *OPTIONS)
    done = labelscrub(*arguments, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert "d\\xe4rk" in done.stdout
    again = labelscrub(*arguments, "--format", "json", PYTHONIOENCODING="ascii")
    assert "d\u00e4rk" in {c["label"] for c in json.loads(again.stdout)["summary"]["classes"]}


@pytest.mark.parametrize("arguments", ["detect --help", "check RUN --max-rate 0.5 --format markdown"])
def test_whoever_reads_our_output_may_leave(finished, arguments):
    command = f"{sys.executable} -m labelscrub {arguments} | true; exit ${{PIPESTATUS[0]}}"
    command = command.replace("RUN", str(finished[0] / "run"))
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode in (0, 141) and done.stderr == ""


def test_without_stdout_and_stderr_the_run_goes_on(finished):
    command = f"{sys.executable} -m labelscrub check {finished[0] / 'run'} --max-rate 0.5 >&- 2>&-"
    assert subprocess.run(["bash", "-c", command], check=False).returncode == 0


def test_the_locale_has_no_say_in_file_names(tmp_path):
    """bad_inputs E14."""
    write_folder(tmp_path / "images")
    (tmp_path / "images" / "dark").rename(tmp_path / "images" / "d\u00e4rk")
    outputs = []
    for locale in ({}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}):
        run = tmp_path / f"run{len(outputs)}"
        done = labelscrub("detect", tmp_path / "images", "--out", run, *OPTIONS, **locale)
        assert done.returncode == 0, done.stderr
        outputs.append(
            [(run / name).read_bytes() for name in ("suspects.csv", "report.parquet", "clean.csv")]
        )
    assert outputs[0] == outputs[1]
