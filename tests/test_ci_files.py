"""The action, the example workflow and the pre-commit hooks: what they name exists, and runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
import yaml
from pictures import picture

import labelscrub
from labelscrub.cli.app import app
from labelscrub.pipeline.publishing import FORMS

ROOT = Path(labelscrub.__file__).parent.parent
ACTION_FILE = ROOT / ".github" / "actions" / "labelscrub" / "action.yml"
if not ACTION_FILE.is_file():
    pytest.skip("installed without its repository", allow_module_level=True)
ACTION = yaml.safe_load(ACTION_FILE.read_text())
WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows-example" / "labels.yml").read_text())
HOOKS = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
STEPS = ACTION["runs"]["steps"]
SCRIPTS = [step for step in STEPS if "run" in step]
INPUT = re.compile(r"\$\{\{ inputs\.([a-z-]+) \}\}")


def options(command):
    """Every option of a command, "--no-" forms too."""
    found = typer.main.get_command(app).commands[command]
    return {name for parameter in found.params for name in (*parameter.opts, *parameter.secondary_opts)}


def test_the_action_is_composite_and_documented():
    assert ACTION["runs"]["using"] == "composite"
    assert ACTION["name"] == "labelscrub" and ACTION["description"]
    for name, value in ACTION["inputs"].items():
        assert value["description"] and value["required"] is False and isinstance(value["default"], str), name
    for value in ACTION["outputs"].values():
        assert value["description"]
        assert re.fullmatch(r"\$\{\{ steps\.check\.outputs\.[a-z]+ \}\}", value["value"])
    wanted = {"source", "max-rate", "max-noise-rate", "max-per-class", "baseline", "version", "extra"}
    assert wanted | {"python-version", "sarif-file"} <= set(ACTION["inputs"])
    assert {"passed", "report"} <= set(ACTION["outputs"])


def test_inputs_reach_scripts_through_env_alone():
    for step in SCRIPTS:
        assert "${{" not in step["run"], step["name"]
        assert step["shell"] == "bash"
        for variable, value in step["env"].items():
            assert INPUT.fullmatch(value), value
            assert variable == "INPUT_" + INPUT.fullmatch(value)[1].upper().replace("-", "_")
            assert f"${variable}" in step["run"] or f"${{{variable}:" in step["run"], variable
        assert set(re.findall(r"INPUT_\w+", step["run"])) == set(step["env"])


def test_every_input_is_used_and_every_one_used_is_declared():
    parts = [value for step in STEPS for part in ("env", "with") for value in step.get(part, {}).values()]
    used = set(re.findall(r"inputs\.([a-z-]+)", " ".join([*parts, *(step.get("if", "") for step in STEPS)])))
    assert used == set(ACTION["inputs"])


def test_every_output_is_given():
    script = next(step["run"] for step in SCRIPTS if step.get("id") == "check")
    assert set(re.findall(r"give ([a-z]+) ", script)) == set(ACTION["outputs"])


def test_what_the_script_asks_for_exists():
    script = next(step["run"] for step in SCRIPTS if step.get("id") == "check")
    flags = set(re.findall(r"(?<=[ (])--[a-z][a-z-]+", script))
    assert "--max-rate" in flags and "--no-train" in flags
    assert flags <= options("check")
    forms = set(re.findall(r'--format "?([a-z]+)', script))
    assert {"text", "markdown", "github", "sarif", "junit"} == forms <= set(FORMS)


def test_the_actions_gates_are_all_of_check():
    """A limit that `check` learns must not be forgotten here."""
    from labelscrub.config_limits import all_limits

    assert {name.replace("_", "-") for name in all_limits()} <= set(ACTION["inputs"])


def pinned(text):
    return re.fullmatch(r"[\w./-]+@(v\d+(\.\d+)*|[0-9a-f]{40})", text)


def test_others_actions_are_pinned():
    uses = [step["uses"] for step in STEPS if "uses" in step]
    uses += [step["uses"] for job in WORKFLOW["jobs"].values() for step in job["steps"] if "uses" in step]
    assert len(uses) >= 5
    assert all(pinned(text) for text in uses), uses


def test_the_example_is_not_active_and_gives_the_action_what_it_takes():
    assert not (ROOT / ".github" / "workflows" / "labels.yml").exists()
    assert WORKFLOW["permissions"] == {"contents": "read"}
    (job,) = WORKFLOW["jobs"].values()
    ours = next(step for step in job["steps"] if "/actions/labelscrub@" in step.get("uses", ""))
    assert set(ours["with"]) <= set(ACTION["inputs"])
    text = (ROOT / ".github" / "workflows-example" / "labels.yml").read_text()
    used = set(re.findall(rf"steps\.{ours['id']}\.outputs\.([a-z]+)", text))
    assert used == {"report", "sarif", "out"} <= set(ACTION["outputs"])
    from labelscrub.config import all_settings

    assert {name.removeprefix("LABELSCRUB_").lower() for name in job["env"]} <= set(all_settings())
    assert all("run" not in step for step in job["steps"])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A manifest of 40 pictures with two wrong labels, and a finished run of it, without training."""
    folder = tmp_path_factory.mktemp("ci data")
    lines, probabilities = ["path,label"], []
    for index in range(40):
        kind = ("left", "right")[index % 2]
        picture(kind, index).save(folder / f"{index:02d}.png")
        given = kind if index not in (4, 9) else ("right", "left")[index % 2]
        lines.append(f"{index:02d}.png,{given}")
        probabilities.append([0.95, 0.05] if kind == "left" else [0.05, 0.95])
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    np.save(folder / "probs.npy", np.array(probabilities))
    labelscrub.detect(
        folder / "labels.csv", pred_probs=folder / "probs.npy", out=folder / "my run", workers=0
    )
    return folder


class Runner:
    """Runs a step's script as GitHub's runner does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = {
            f"GITHUB_{name}": folder / f"runner {name}" for name in ("OUTPUT", "STEP_SUMMARY", "PATH")
        }
        (folder / "bin").mkdir()
        self.program("labelscrub", f'exec "{sys.executable}" -m labelscrub "$@"')
        for file in self.files.values():
            file.touch()

    def program(self, name, script):
        (self.folder / "bin" / name).write_text(f"#!/bin/bash\n{script}\n")
        (self.folder / "bin" / name).chmod(0o755)

    def run(self, step, cwd, **inputs):
        given = {name: value["default"] for name, value in ACTION["inputs"].items()}
        given |= {name.replace("_", "-"): str(value) for name, value in inputs.items()}
        assert set(given) == set(ACTION["inputs"])
        (self.folder / "script.sh").write_text(step["run"])
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", self.folder / "script.sh"],
            cwd=cwd,
            env={
                **os.environ,
                **{
                    name: INPUT.sub(lambda found: given[found[1]], text) for name, text in step["env"].items()
                },
                **{name: str(file) for name, file in self.files.items()},
                "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
                "PYTHONPATH": str(ROOT),
                "RUNNER_TEMP": str(self.folder),
                "GITHUB_ACTION_PATH": str(ACTION_FILE.parent),
                "GITHUB_ACTIONS": "true",
                "CI": "true",
            },
            capture_output=True,
            text=True,
            check=False,
        )

    def outputs(self):
        text = self.files["GITHUB_OUTPUT"].read_text()
        found = re.findall(r"^(\w+)<<(\S+)\n(.*?)\n\2$", text, re.MULTILINE | re.DOTALL)
        assert text == "".join(f"{name}<<{mark}\n{value}\n{mark}\n" for name, mark, value in found)
        return {name: value for name, _, value in found}


@pytest.fixture
def runner(tmp_path):
    (tmp_path / "runner").mkdir()
    return Runner(tmp_path / "runner")


CHECK = next(step for step in SCRIPTS if step.get("id") == "check")
INSTALL = next(step for step in SCRIPTS if step.get("id") != "check")


def commands(log):
    """Lines that the runner takes for commands, those within stop-commands left out."""
    match = re.search(r"^::stop-commands::(\S+)$(.*?)^::\1::$", log, re.MULTILINE | re.DOTALL)
    assert match
    return [line for line in log.replace(match[0], "").splitlines() if line.lstrip().startswith("::")]


def test_a_stored_run_that_passes(data, runner):
    done = runner.run(CHECK, data, source="my run", train="false", max_rate="0.5", python_version="")
    assert done.returncode == 0, done.stderr
    assert runner.outputs() == {"out": "my run", "report": "my run/report.html", "passed": "true"}
    assert runner.files["GITHUB_STEP_SUMMARY"].read_text().startswith("## labelscrub check passed")
    assert [line.split(" ")[0] for line in commands(done.stdout)][-1] == "::notice"
    assert "\x1b" not in done.stdout


def test_a_stored_run_that_fails_still_gives_everything(data, runner):
    done = runner.run(
        CHECK,
        data,
        source="my run",
        train="false",
        max_rate="0.01",
        max_suspects="1",
        max_per_class="0.02",
        fail_on_unreadable="true",
        fail_on_conflicting_duplicates="true",
        sarif_file=runner.folder / "labels.sarif",
        junit_file=runner.folder / "labels.xml",
    )
    assert done.returncode == 1, done.stderr
    found = runner.outputs()
    assert (found["passed"], found["sarif"]) == ("false", str(runner.folder / "labels.sarif"))
    assert yaml.safe_load(Path(found["sarif"]).read_text())["version"] == "2.1.0"
    assert (runner.folder / "labels.xml").read_text().count("<failure") >= 3
    assert runner.files["GITHUB_STEP_SUMMARY"].read_text().count("## labelscrub check failed") == 1
    errors = [line for line in commands(done.stdout) if line.startswith("::error")]
    assert any("labels.csv" in line and "line=6" in line for line in errors), done.stdout


def test_no_annotations_where_none_are_asked_for(data, runner):
    done = runner.run(CHECK, data, source="my run", annotations="false", max_rate="0.01")
    assert done.returncode == 1 and commands(done.stdout) == []


@pytest.mark.parametrize(
    "name", ["fail_on_unreadable", "fail_on_conflicting_duplicates", "train", "annotations"]
)
@pytest.mark.parametrize("value", ["yes", "True", "$(touch pwned)"])
def test_a_switch_that_is_neither_on_nor_off_is_refused(data, runner, name, value):
    """Taken as off, a gate that somebody asked for would pass whatever is found."""
    done = runner.run(CHECK, data, **{"source": "my run", "max_rate": "0.5", name: value})
    assert done.returncode == 2 and "are true or false" in done.stderr
    assert runner.outputs() == {} and not (data / "pwned").exists()


def test_a_baseline_lets_known_suspects_pass(data, runner):
    baseline = runner.folder / "known labels.json"
    made = subprocess.run(
        [sys.executable, "-m", "labelscrub", "check", "my run", "--baseline", baseline, "--update-baseline"],
        cwd=data,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    done = runner.run(CHECK, data, source="my run", train="false", baseline=baseline)
    assert done.returncode == 0, done.stderr
    assert runner.outputs()["passed"] == "true"


def test_no_verdict_is_neither_true_nor_false(data, runner):
    """And what an earlier run has left where the results would be is not given for this one's."""
    sarif = runner.folder / "old.sarif"
    sarif.write_text("{}")
    done = runner.run(
        CHECK, data, source="labels.csv", train="false", max_rate="0.5", out="my run", sarif_file=sarif
    )
    assert done.returncode == 2 and runner.outputs() == {"out": "my run"}
    done = runner.run(CHECK, data, source="labels.csv", train="false", max_rate="0.5", out="nowhere")
    assert done.returncode == 2 and "--no-train" in done.stderr
    assert not (data / "nowhere").exists()


@pytest.mark.parametrize(
    "harm", ['$(touch "$PWD"/pwned)', '"; touch pwned; "', "`touch pwned`", "--help", "a\nb"]
)
def test_inputs_are_never_run(data, runner, tmp_path, harm):
    (tmp_path / "cwd").mkdir()
    done = runner.run(
        CHECK,
        tmp_path / "cwd",
        source=harm,
        train="false",
        max_rate="0.5",
        baseline=harm,
        config="",
        out=harm,
    )
    assert done.returncode == 2, done.stdout
    assert list((tmp_path / "cwd").iterdir()) == []
    assert runner.outputs() == {"out": harm}


@pytest.mark.parametrize(
    ("inputs", "what"),
    [
        ({}, str(ROOT)),
        ({"extra": "plots,review"}, f"{ROOT}[plots,review]"),
        ({"version": "==1.2.3"}, "labelscrub==1.2.3"),
        ({"version": ">=1", "extra": "plots"}, "labelscrub[plots]>=1"),
        ({"version": "$(touch pwned)"}, "labelscrub$(touch pwned)"),
        ({"extra-index": "file:///wheels $(touch pwned)"}, str(ROOT)),
    ],
)
def test_what_is_installed(runner, tmp_path, inputs, what):
    pip = 'printf "%s\\n" "$PIP_EXTRA_INDEX_URL" "$@" > "$(dirname "$0")/said"'
    make = f"printf '%s\\n' '#!/bin/bash' '{pip}' > \"$3/bin/pip\""
    runner.program("python3", f'mkdir -p "$3/bin"; {make}; chmod +x "$3/bin/pip"')
    done = runner.run(INSTALL, tmp_path, **inputs)
    assert done.returncode == 0, done.stderr
    folder = runner.folder / "labelscrub-venv" / "bin"
    said = (folder / "said").read_text().splitlines()
    assert said[0] == inputs.get("extra-index", "") and said[1] == "install"
    assert said[-2:] == ["--", what]
    assert runner.files["GITHUB_PATH"].read_text() == f"{folder}\n"
    assert not (tmp_path / "pwned").exists()


def test_hooks():
    assert [hook["id"] for hook in HOOKS] == ["labelscrub-lint", "labelscrub-baseline"]
    for hook in HOOKS:
        assert hook["language"] == "python" and hook["pass_filenames"] is False
        assert hook["name"] and hook["description"]
        program, command, *flags = hook["entry"].split()
        assert program == "labelscrub"
        assert set(flags) <= options(command)
    assert "--no-train" in HOOKS[1]["entry"]
    assert HOOKS[1]["entry"].split()[1] == "check" and HOOKS[0]["entry"].split()[1] == "lint"


def test_the_lint_hook_wakes_for_images_and_manifests():
    wakes = re.compile(HOOKS[0]["files"])
    assert all(
        wakes.search(name) for name in ("a.csv", "x/b.JPG", "c.jpeg", "d.tif", "e.parquet", "f.ndjson")
    )
    assert not any(wakes.search(name) for name in ("a.py", "csv", "b.jpg.md", "README.md"))
    from labelscrub.data.filenames import IMAGE_EXTENSIONS
    from labelscrub.data.source import KINDS

    assert all(wakes.search(f"name{extension}") for extension in (*IMAGE_EXTENSIONS, *KINDS))
