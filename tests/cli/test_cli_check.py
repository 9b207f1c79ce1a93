"""`labelscrub check --max-noise-rate`: exit codes, forms, and that a stored run is judged quickly."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from pictures import write_folder

from labelscrub.cli.app import main
from labelscrub.reporting import run_json

sys.path.insert(0, str(Path(__file__).parent.parent / "reporting"))
from reports import calibration, make_report


@pytest.fixture
def run(tmp_path):
    def write(calibrated):
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "run.json").write_bytes(run_json(make_report(calibrated=calibrated), {}))
        return str(tmp_path / "run")

    return write


@pytest.mark.parametrize(
    ("calibrated", "limit", "code"),
    [
        (calibration(), "0.1874", 0),
        (calibration(), "0.1873", 1),
        (calibration(), "1.5", 2),
        (calibration(), "nan", 2),
        (None, "0.1", 2),
        (calibration(noise_rate=float("nan")), "1", 5),
        (calibration(low=0.3, high=0.1), "1", 5),
    ],
)
def test_exit_codes(run, capsys, calibrated, limit, code):
    assert main(["check", run(calibrated), "--max-noise-rate", limit]) == code
    shown = capsys.readouterr()
    assert ("FAILED" in shown.out) == (code == 1)
    assert bool(shown.err) == (code > 1) and len(shown.err.splitlines()) <= 2


def test_a_run_of_another_method_is_told_what_to_do(run, capsys):
    main(["check", run(None), "--max-noise-rate", "0.02"])
    cause, fix = capsys.readouterr().err.splitlines()
    assert "this run was not made with --method calibrated, whose interval --max-noise-rate needs" in cause
    assert "run `labelscrub detect` on the source with --method calibrated" in fix


def test_the_forms_carry_the_interval(run, capsys):
    where = run(calibration())
    main(["check", where, "--max-noise-rate", "0.1", "--format", "json"])
    document = json.loads(capsys.readouterr().out)
    assert (document["passed"], document["calibration"]["low"]) == (False, 0.1874)
    main(["check", where, "--max-noise-rate", "0.1", "--format", "markdown"])
    assert "18.7 % (lower end)" in capsys.readouterr().out


@pytest.mark.parametrize("method", [[], ["--method", "aum"]])
def test_a_source_that_would_be_judged_without_an_interval_is_refused_before_training(
    tmp_path, monkeypatch, capsys, method
):
    write_folder(tmp_path / "images")
    monkeypatch.setattr("labelscrub.pipeline.finding.detect", lambda *_, **__: pytest.fail("trained"))
    words = ["check", str(tmp_path / "images"), "--out", str(tmp_path / "run"), "--max-noise-rate", "0.02"]
    assert main([*words, *method]) == 2
    assert "--method calibrated" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_stored_run_is_judged_without_anything_heavy(run):
    code = (
        "import sys\nfrom labelscrub.cli.app import main\n"
        f"assert main(['check', {run(calibration())!r}, '--max-noise-rate', '0.5']) == 0\n"
        "print(*{'numpy', 'pyarrow', 'torch', 'rich', 'PIL', 'cleanlab'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == ""
