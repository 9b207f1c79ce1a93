"""The arrows of the architecture, kept: who may import whom, and what stays out of a quick start."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import labelscrub

PACKAGE = Path(labelscrub.__file__).parent
STAGES = {"data", "training", "detection", "reporting", "curation"}
BASE = {
    "errors",
    "config",
    "config_files",
    "config_limits",
    "records",
    "review_records",
    "",
}  # "" is the package itself: its version
MAY_IMPORT = {
    "errors": {""},
    "config": BASE,
    "config_files": BASE,
    "config_limits": BASE,
    "records": BASE,
    "review_records": BASE,
    "store": BASE | {"store_files", "store_lock", "store_pictures", "store_syncing"},
    "store_files": BASE,
    "store_lock": BASE,
    "store_pictures": BASE | {"store_files", "store_syncing"},
    "store_syncing": BASE | {"store_files"},
    "processes": set(),
    **{stage: BASE | {"store", "processes", stage} for stage in STAGES},
    "pipeline": BASE | STAGES | {"store", "processes", "pipeline"},
    "evaluation": BASE | STAGES | {"store", "processes", "pipeline", "evaluation"},
}
ONLY_IN = {
    "cleanlab": {"evaluation"},
    "torch": {"training", "evaluation"},
    "torchvision": {"training", "evaluation"},
    "PIL": {"data", "reporting", "store", "curation", "evaluation"},
    "pyarrow": {"data", "reporting", "store", "curation"},
    "matplotlib": {"evaluation"},
    "jinja2": {"reporting"},
    "starlette": {"curation"},
    "uvicorn": {"curation", "cli"},
    "typer": {"cli"},
    "rich": {"cli"},
}


def imports(path: Path) -> set[str]:
    """Absolute names a module imports at run time, also inside functions."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8")))
    return found


MODULES = sorted(p.relative_to(PACKAGE) for p in PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_arrows_point_one_way(module):
    layer = module.parts[0].removesuffix(".py")
    names = imports(PACKAGE / module)
    for package, layers in ONLY_IN.items():
        if any(name.split(".")[0] == package for name in names):
            assert layer in layers, f"{module} imports {package}"
    if layer in MAY_IMPORT:
        ours = {
            name.split(".")[1] if "." in name else "" for name in names if name.split(".")[0] == "labelscrub"
        }
        ours = {
            name if (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file() else "" for name in ours
        }
        assert ours <= MAY_IMPORT[layer], f"{module} imports {ours - MAY_IMPORT[layer]}"


HEAVY = ("torch", "cleanlab", "pandas", "pyarrow", "PIL", "sklearn", "scipy", "matplotlib")


def loaded_by(code: str) -> set[str]:
    """Top-level packages that a fresh interpreter holds after running `code`."""
    script = f"{code}\nimport sys; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "code",
    [
        "import labelscrub; [getattr(labelscrub, name) for name in labelscrub.__all__ if name != 'Report']",
        "from labelscrub.cli.app import main; main(['--version'])",
        "from labelscrub.cli.app import main; main(['--help'])",
        "from labelscrub.cli.app import main; main(['detect', '--help'])",
        "from labelscrub.cli.app import main; main(['bench', '--help'])",
        "from labelscrub.cli.app import main; main(['corrupt', '--help'])",
        "from labelscrub.cli.app import main; main(['score', '--help'])",
        "from labelscrub.cli.app import main; main(['lint', '--help'])",
        "from labelscrub.cli.app import main; main(['config', 'show'])",
        "from labelscrub.pipeline import doctor; doctor._probe = lambda: {'ended': ''}; doctor.examine()",
        "from labelscrub.reporting import verdict, run_json",
    ],
)
def test_a_quick_start_loads_nothing_heavy(code):
    assert loaded_by(code).isdisjoint(HEAVY)


def test_modules_stay_readable():
    long = {
        str(m): n for m in MODULES if (n := len((PACKAGE / m).read_text(encoding="utf-8").splitlines())) > 400
    }
    assert not long
