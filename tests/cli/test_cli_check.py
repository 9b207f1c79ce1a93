"""`labelscrub check`: exit codes, forms, baselines and settings, and that a stored run is judged quickly."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from pictures import CLASSES, write_folder

from labelscrub.cli.app import main

sys.path.insert(0, str(Path(__file__).parent.parent / "reporting"))
from listings import write_run
from reports import calibration


@pytest.fixture
def run(tmp_path, monkeypatch):
    for name in ("GITHUB_STEP_SUMMARY", "LABELSCRUB_MAX_RATE"):
        monkeypatch.delenv(name, raising=False)
    return lambda calibrated=None, **report: write_run(tmp_path / "run", calibrated=calibrated, **report)


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
        (calibration(aim="nothing"), "1", 5),
    ],
)
def test_exit_codes(run, capsys, calibrated, limit, code):
    assert main(["check", run(calibrated), "--max-noise-rate", limit]) == code
    shown = capsys.readouterr()
    assert ("FAILED" in shown.out) == (code == 1)
    assert bool(shown.err) == (code > 1) and len(shown.err.splitlines()) <= 2


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        (["--max-per-class", "0.5"], 0),
        (["--max-per-class", "0.49"], 1),
        (["--fail-on-conflicting-duplicates"], 1),
        (["--fail-on-unreadable"], 1),
        (["--fail-on-unreadable", "--no-fail-on-unreadable"], 2),
        (["--max-per-class", "nan"], 2),
        (["--baseline", "missing.json"], 2),
        (["--update-baseline"], 2),
        (["--max-rate", "1", "--decisions", "x"], 2),
        (["--max-rate", "1", "--format", "xml"], 2),
        (["--max-rate", "1", "--no-train"], 0),
    ],
)
def test_each_limit(run, capsys, limits, code):
    assert main(["check", run(), *limits]) == code
    assert ("FAILED" in capsys.readouterr().out) == (code == 1)


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


def test_several_forms_in_one_call(run, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    forms = ["json", "sarif=out.sarif", "junit=out.xml", "markdown=out.md", "github=out.txt"]
    words = [word for form in forms for word in ("--format", form)]
    assert main(["check", run(), "--max-suspects", "4", *words]) == 1
    assert json.loads(capsys.readouterr().out)["passed"] is False
    assert json.loads(Path("out.sarif").read_text())["version"] == "2.1.0"
    assert ElementTree.parse("out.xml").getroot().tag == "testsuites"
    assert Path("out.md").read_text().startswith("## labelscrub check failed")
    assert Path("out.txt").read_text().startswith("::error title=labelscrub --max-suspects::")
    Path("labels.csv").write_text("path,label\n")
    assert main(["check", run(), "--max-suspects", "4", "--format", "sarif=labels.csv"]) == 2
    assert Path("labels.csv").read_text() == "path,label\n"
    assert "not overwritten" in capsys.readouterr().err


def test_a_baseline_from_its_making_to_a_new_suspect(run, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["check", run(), "--baseline", "known.json"]) == 2
    assert "--baseline known.json --update-baseline" in capsys.readouterr().err
    assert main(["check", "run", "--baseline", "known.json", "--update-baseline"]) == 0
    assert "5 suspects known, 0 new; updated: 5 came in, 0 went out." in capsys.readouterr().out
    Path("labelscrub.toml").write_text('baseline = "known.json"\n')
    assert main(["check", run(suspects=6)]) == 1
    assert "5 suspects known, 1 new" in capsys.readouterr().out
    assert main(["check", "run", "--max-suspects", "1"]) == 0
    Path("known.json").write_text("{}")
    assert main(["check", "run", "--update-baseline"]) == 3
    assert Path("known.json").read_text() == "{}"


def test_limits_come_from_files_and_variables_too(run, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    where = run()
    Path("labelscrub.toml").write_text("max-rate = 0.1\nfail_on_unreadable = true\n")
    assert main(["check", where]) == 1
    monkeypatch.setenv("LABELSCRUB_MAX_RATE", "0.9")
    assert main(["check", where]) == 1
    assert main(["check", where, "--no-fail-on-unreadable"]) == 0
    assert main(["check", where, "--no-fail-on-unreadable", "--max-rate", "0"]) == 1
    capsys.readouterr()
    Path("labelscrub.toml").write_text("max-rte = 0.1\n")
    assert main(["check", where]) == 2
    assert "did you mean 'max_rate'" in capsys.readouterr().err


def test_a_limit_in_a_misspelled_variable_is_warned_about(run, capsys, monkeypatch):
    monkeypatch.setenv("LABELSCRUB_MAX_RATES", "0")
    assert main(["check", run(), "--max-suspects", "5"]) == 0
    warned = "warning: LABELSCRUB_MAX_RATES sets nothing: did you mean LABELSCRUB_MAX_RATE?\n"
    assert capsys.readouterr().err == warned


def test_a_mistake_in_a_settings_file_names_the_file(run, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("labelscrub.toml").write_text('epochs = "ten"\n')
    for words in (["check", run(), "--max-rate", "1"], ["detect", "images"]):
        assert main(words) == 2
        assert capsys.readouterr().err.startswith("labelscrub: labelscrub.toml: --epochs must be")


def test_from_a_manifest_to_its_rows(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    write_folder(Path("images"))
    files = sorted(Path("images").rglob("*.png"))
    lines = [f'"two\nlines";{file.as_posix()};"{file.parent.name}"' for file in files]
    Path("labels.csv").write_text("\n".join(["note;path;label", *lines]) + "\n")
    probs = [[0.02 + 0.94 * file.name.startswith(name) for name in CLASSES] for file in files]
    np.save("probs.npy", np.array(probs, np.float32))
    assert main(["detect", "labels.csv", "--delimiter", ";", "--pred-probs", "probs.npy", "-q"]) == 0
    words = [
        "check",
        "--no-train",
        "--max-suspects",
        "0",
        "--format",
        "sarif=out.sarif",
        "--format",
        "github",
    ]
    capsys.readouterr()
    assert main(words) == 1
    assert capsys.readouterr().out.count(",file=labels.csv,line=") == 6
    (document,) = json.loads(Path("out.sarif").read_text())["runs"]
    assert len(document["results"]) == 6, "two of each class were filed wrongly"
    text = Path("labels.csv").read_text().split("\n")
    for result in document["results"]:
        place = result["locations"][0]["physicalLocation"]
        assert place["artifactLocation"] == {"uri": "labels.csv", "uriBaseId": "%SRCROOT%"}
        line, column = place["region"]["startLine"], place["region"]["startColumn"]
        found = result["properties"]
        assert text[line - 1][column - 1 :] == f'"{found["givenLabel"]}"' and found["path"] in text[line - 1]


@pytest.mark.parametrize("method", [[], ["--method", "aum"]])
def test_a_source_that_would_be_judged_without_an_interval_is_refused_before_training(
    tmp_path, monkeypatch, capsys, method
):
    write_folder(tmp_path / "images")
    monkeypatch.setattr("labelscrub.pipeline.finding.detect", lambda *_, **__: pytest.fail("trained"))
    words = ["check", str(tmp_path / "images"), "--out", str(tmp_path / "run"), "--max-noise-rate", "0.02"]
    assert main([*words, *method]) == 2
    assert "--method calibrated" in capsys.readouterr().err
    words = ["check", str(tmp_path / "images"), "--max-rate", "1", "--no-train"]
    assert main(words) == 2 and not (tmp_path / "run").exists()


def test_a_stored_run_is_judged_without_anything_heavy(run):
    words = ["--max-noise-rate", "0.5", "--max-per-class", "1", "--format", "junit"]
    code = (
        "import sys\nfrom labelscrub.cli.app import main\n"
        f"assert main(['check', {run(calibration())!r}, *{words!r}]) == 0\n"
        "print(*{'numpy', 'pyarrow', 'torch', 'rich', 'PIL', 'cleanlab'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == ""


def test_help_names_every_format_and_limit(capsys):
    assert main(["check", "--help"]) == 0
    shown = capsys.readouterr().out
    for word in ("sarif", "junit", "github", "--max-per-class", "--update-baseline", "--no-train", "Example"):
        assert word in shown
