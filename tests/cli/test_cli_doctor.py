"""`labelscrub doctor`: exit code, one screen, JSON; broken things survived."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from labelscrub.cli.app import main
from labelscrub.pipeline import doctor
from labelscrub.pipeline.installed import Check

OK = Check("torch", "ok", "2.15.0")
WARNING = Check("memory", "warning", "1.0 GiB of 8.0 GiB available", "fewer --workers")
BROKEN = Check("torchvision", "problem", "does not load: bad \x1b[31m\nname caf\udce9", "install the pair")


@pytest.mark.parametrize(
    ("checks", "code", "last"),
    [
        ([OK], 0, "nothing is broken"),
        ([OK, WARNING], 0, "nothing is broken; 1 warning"),
        ([BROKEN, WARNING, WARNING], 4, "broken: torchvision; 2 warnings"),
    ],
)
def test_the_screen_and_the_exit_code(monkeypatch, capsys, checks, code, last):
    monkeypatch.setattr(doctor, "examine", lambda **arguments: tuple(checks))
    assert main(["doctor"]) == code
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    assert lines[-1] == last and shown.err == ""
    assert len(lines) == len(checks) + sum(bool(check.fix) for check in checks) + 1
    assert "\x1b" not in shown.out and "\udce9" not in shown.out
    assert ("PROBLEM" in shown.out) == (code == 4)


def test_json(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "examine", lambda **arguments: (OK, BROKEN))
    assert main(["doctor", "--format", "json"]) == 4
    found = json.loads(capsys.readouterr().out)
    assert found["passed"] is False
    assert found["checks"][0] == {"name": "torch", "state": "ok", "text": "2.15.0", "fix": ""}


def test_a_broken_pair_and_broken_settings_from_outside(tmp_path):
    (tmp_path / "fake" / "torchvision").mkdir(parents=True)
    (tmp_path / "fake" / "torchvision" / "__init__.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')"
    )
    (tmp_path / "labelscrub.toml").write_text("[oops")
    done = subprocess.run(
        [sys.executable, "-m", "labelscrub", "doctor"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "fake"), "SECRET_TOKEN": "hunter2"},
        check=False,
    )
    assert done.returncode == 4 and done.stderr == ""
    assert "operator torchvision::nms does not exist" in done.stdout
    assert "pip install --force-reinstall 'torch==" in done.stdout
    assert done.stdout.splitlines()[-1] == "broken: torchvision, settings"
    assert "hunter2" not in done.stdout and "Traceback" not in done.stdout
    assert not (tmp_path / "labelscrub-out").exists()
