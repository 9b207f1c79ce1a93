"""README.md is a test: its commands run from top to bottom in one folder, on small data, as they stand."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import typer
from pictures import CLASSES, QUICK, write_folder

from labelscrub.cli.app import app, main
from labelscrub.curation.decisions import decision_line
from labelscrub.reporting import read_suspects
from labelscrub.review_records import Decision

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
ELSEWHERE = {
    "labelscrub bench table1": "an hour of training; tests/cli/test_cli_bench.py runs it in small",
    "labelscrub review": "waits for Ctrl-C; tests/cli/test_cli_review.py runs it",
}
SETUP = ("python3 -m venv", "pip install")
DIGITS = 450  # of the demo's 1,797


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    """Every line of the bash blocks that is no set-up, without its comment, continued lines as one."""
    lines = "\n".join(blocks("bash")).replace("\\\n", " ").splitlines()
    plain = (" ".join(shlex.split(line, comments=True)) and line for line in lines)
    return [line for line in plain if line and not line.startswith(SETUP)]


@pytest.fixture
def data(tmp_path, monkeypatch):
    """The working directory of a reader who has ./images, ./train, ./test, labels.csv and probs.npy."""
    monkeypatch.chdir(tmp_path)
    for name, value in QUICK.items():
        monkeypatch.setenv(f"LABELSCRUB_{name.upper()}", str(value))
    write_folder(Path("images"), each=40, wrong=4)
    write_folder(Path("train"))
    write_folder(Path("test"), each=10, wrong=1)
    files = sorted(path.relative_to("images").as_posix() for path in Path("images").rglob("*.png"))
    rows = [f"images/{name},{name.partition('/')[0]}" for name in files]
    Path("labels.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    true = [CLASSES.index(name.partition("/")[2].partition("-")[0]) for name in files]
    np.save("probs.npy", np.eye(3, dtype=np.float32)[true] * 0.9 + np.float32(0.1 / 3))
    import sklearn.datasets

    digits = sklearn.datasets.load_digits()
    for name in ("data", "images", "target"):
        digits[name] = digits[name][:DIGITS]
    monkeypatch.setattr(sklearn.datasets, "load_digits", lambda: digits)
    return tmp_path


def decide(run: Path) -> None:
    """What a person at `labelscrub review` does: the first suspects get a decision each, of every kind."""
    choices = ("relabel", "remove", "keep")
    lines = [
        decision_line(
            Decision(
                s.row, choice, s.suggested_label * (choice == "relabel"), s.given_label, s.path, s.sha256
            )
        )
        for s, choice in zip(read_suspects(run / "report.parquet"), choices, strict=False)
    ]
    assert lines
    (run / "decisions.jsonl").write_text("".join(lines))


def test_the_commands_run_from_top_to_bottom(data, capsys):
    run = []
    for line in commands():
        assert line.startswith("labelscrub "), f"not a command of ours: {line}"
        arguments = shlex.split(line, comments=True)[1:]
        if arguments[0] == "review":
            decide(Path(arguments[1] if len(arguments) > 1 else "labelscrub-out"))
        if any(line.startswith(prefix) for prefix in ELSEWHERE):
            continue
        code = main([*arguments])
        told = capsys.readouterr()
        gate = arguments[0] in ("check", "lint")
        assert code in ((0, 1) if gate else (0,)), f"{line}\n{told.out}\n{told.err}"
        run.append(arguments[0])
    assert {"detect", "prune", "check", "corrupt", "score", "undo", "lint", "export"} <= set(run)


def test_the_python_examples_run(data):
    (example,) = blocks("python")
    scope: dict[str, object] = {}
    exec(example, scope)
    import torch

    losses = scope["loss"](torch.zeros(4, 3), torch.tensor([0, 1, 2, 0]))
    assert losses.shape == (4,)


@pytest.mark.parametrize("prefix", ELSEWHERE)
def test_what_runs_elsewhere_is_in_the_readme(prefix):
    assert any(line.startswith(prefix) for line in commands())


def help_texts() -> dict[str, tuple[str, set[str]]]:
    """ "labelscrub config show" -> its help, and the options it has; groups are not commands."""
    found = {}

    def visit(name: str, command) -> None:
        if subcommands := getattr(command, "commands", None):
            for word, subcommand in subcommands.items():
                visit(f"{name} {word}", subcommand)
            return
        options = {option for p in command.params for option in (*p.opts, *p.secondary_opts)}
        found[name] = " ".join(command.help.split()), options

    visit("labelscrub", typer.main.get_command(app))
    return found


@pytest.mark.parametrize(("name", "text", "options"), [(name, *of) for name, of in help_texts().items()])
def test_each_command_has_an_example_whose_options_exist(name, text, options):
    examples = re.findall(rf"{name}\b.*?(?=[:.] |$)", text.partition("Example")[2])
    assert examples
    for example in examples:
        assert set(re.findall(r" (--?[a-z][a-z-]*)", example)) <= options
