"""Doctor: what is broken is found, said with what to do, and survived."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from collections import namedtuple
from importlib import metadata
from pathlib import Path

import pytest

import labelscrub
from labelscrub.pipeline import doctor, installed, machine
from labelscrub.pipeline.installed import Check, torch_and_device
from labelscrub.training import environment

GIB = 1 << 30
CPU = {
    "torch": "2.15.0+cpu",
    "cuda_build": None,
    "hip_build": None,
    "cuda": [],
    "cuda_problem": "",
    "gpu_driver": False,
    "mps": False,
    "device": "cpu",
    "device_name": "x86_64 AVX512",
    "precision": "float32",
    "cpu_bf16": "",
    "threads": 2,
}
H100 = {"name": "NVIDIA H100", "capability": "9.0", "free": 70 * GIB, "total": 79 * GIB}
CUDA = CPU | {
    "torch": "2.15.0+cu132",
    "cuda_build": "13.2",
    "cuda": [H100],
    "device": "cuda:0",
    "device_name": "NVIDIA H100",
    "precision": "bf16",
}
FINE = {"device": "", "torchvision": {"version": "0.29.2", "problem": ""}, "ended": ""}


@pytest.fixture
def versions(monkeypatch):
    """Versions and torchvision's requirement as told, instead of those installed."""

    def tell(torchvision_needs=("torch (>=2.14.0)",), **found):
        found = {"torch": "2.15.0", "torchvision": "0.29.2"} | found

        def version(name):
            if found.get(name) is None:
                raise metadata.PackageNotFoundError(name)
            return found[name]

        needs = {
            "torchvision": ["numpy", *torchvision_needs],
            "labelscrub": ["torch>=2.6", "torchvision>=0.21"],
        }
        monkeypatch.setattr(installed.metadata, "version", version)
        monkeypatch.setattr(installed.metadata, "requires", needs.__getitem__)

    tell()
    return tell


def named(checks):
    found = {}
    for check in checks:
        found.setdefault(check.name, []).append(check)
    return {name: several[0] if len(several) == 1 else several for name, several in found.items()}


def probed(facts=CPU, **more):
    return named(torch_and_device({"facts": facts, **FINE, **more}))


def test_this_machine_is_fine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = doctor.examine(environ={})
    assert [check for check in found if check.state == "problem"] == []
    names = [check.name for check in found]
    for name in ("torch", "torchvision", "device", "bf16", "cores", "memory", "disk, --out", "settings"):
        assert names.count(name) == 1
    assert named(found)["labelscrub"].text == labelscrub.__version__
    assert named(found)["torchvision"].text.startswith(metadata.version("torchvision"))
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A package of this name and code comes before the real one, in the process that loads torch."""

    def write(name, code):
        (tmp_path / "fake" / name).mkdir(parents=True)
        (tmp_path / "fake" / name / "__init__.py").write_text(code)
        monkeypatch.syspath_prepend(tmp_path / "fake")

    return write


def test_a_torchvision_that_crashes(fake):
    fake("torchvision", "import os; os.abort()")
    found = named(torch_and_device(doctor._probe()))
    assert (found["torch"].state, found["device"].state) == ("ok", "ok")
    assert found["torchvision"].state == "problem"
    assert "ended by SIGABRT" in found["torchvision"].text
    assert f"'torch=={metadata.version('torch')}'" in found["torchvision"].fix


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            "raise ImportError('libcudart.so.13: cannot open shared object file')",
            "libcudart.so.13: cannot open",
        ),
        ("import os; os.kill(os.getpid(), 11)", "ended by SIGSEGV"),
        ("import os; os._exit(3)", "ended with code 3"),
        ("print('1\\n{\"facts\": {}}')\nraise SystemExit('stop\\n  here')", "here"),
    ],
)
def test_a_torch_that_does_not_load(fake, code, said):
    fake("torch", code)
    found = named(torch_and_device(doctor._probe()))
    assert set(found) == {"torch", "torchvision"}
    assert found["torch"].state == "problem" and said in found["torch"].text
    assert "--force-reinstall" in found["torch"].fix
    assert found["torchvision"].state == "warning" and "not tried" in found["torchvision"].text


def test_a_package_that_is_there_and_does_not_load(fake):
    fake("pyarrow", "raise ImportError('libarrow.so.2600: cannot open shared object file\\nmore')")
    probe = doctor._probe()
    found = named(installed.packages(probe))
    assert found["pyarrow"] == Check(
        "pyarrow",
        "problem",
        f"{metadata.version('pyarrow')} does not load: ImportError: libarrow.so.2600: cannot open shared "
        "object file",
        "install it anew: pip install --force-reinstall 'pyarrow'",
    )
    assert found["packages"].state == "ok" and "pyarrow" not in found["packages"].text
    assert named(torch_and_device(probe))["torchvision"].state == "ok"


def test_a_package_that_ends_the_process(fake):
    fake("scipy", "import os; os.abort()")
    found = named(installed.packages(doctor._probe()))
    assert found["packages"].state == "problem" and "ended by SIGABRT" in found["packages"].text


def test_every_compiled_package_is_one_that_is_looked_at():
    assert set(environment.COMPILED) == {*installed.PACKAGES, "simplejpeg"} - {"jinja2", "typer", "rich"}


def test_a_torch_that_never_answers(fake, monkeypatch):
    fake("torch", "import time; time.sleep(60)")
    monkeypatch.setattr(doctor, "SECONDS", 1.5)
    assert doctor._probe() == {"ended": "no answer within 1.5 s"}


def test_no_process_can_be_started(monkeypatch):
    def fail(*arguments, **options):
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "run", fail)
    assert doctor._probe()["ended"] == "no process could be started: Resource temporarily unavailable"


def test_no_torch_at_all(versions):
    versions(torch=None, torchvision=None)
    found = named(torch_and_device({"ended": "ModuleNotFoundError: No module named 'torch'"}))
    assert found["torch"] == Check("torch", "problem", "not installed", "pip install 'torch>=2.6'")
    assert found["torchvision"].fix == "pip install 'torch>=2.6' torchvision"


def test_a_torch_older_than_we_ask_for(versions):
    versions(torch="2.5.1", torchvision="0.20.1", torchvision_needs=["torch==2.5.1"])
    found = named(torch_and_device({"ended": "ImportError"}))
    assert found["torch"] == Check("torch", "problem", "2.5.1 is too old", "pip install 'torch>=2.6'")


@pytest.mark.parametrize(
    ("torch", "needs", "fits"),
    [
        ("2.9.0", "torch==2.9.0", True),
        ("2.9.0+cu128", "torch (==2.9.0)", True),
        ("2.9.1", "torch==2.9.0", False),
        ("2.15.0", "torch (>=2.14.0)", True),
        ("2.13.2", "torch>=2.14.0", False),
        ("2.9.0", "torch", True),
    ],
)
def test_versions_that_belong_together(versions, torch, needs, fits):
    versions(torch=torch, torchvision="0.24.0", torchvision_needs=[needs])
    found = probed(CPU | {"torch": torch})["torchvision"]
    assert (found.state == "ok") == fits
    if not fits:
        assert f"belongs to {needs}, not to {torch}" in found.text


# The pairs of https://github.com/pytorch/vision#installation
@pytest.mark.parametrize(
    ("torch", "pair"),
    [
        ("2.6.0", "'torch==2.6.0' 'torchvision==0.21.*'"),
        ("2.8.0+cu126", "'torch==2.8.0' 'torchvision==0.23.*'"),
        ("2.9.1", "'torch==2.9.1' 'torchvision==0.24.*'"),
        ("2.15.0", "'torch==2.15.0' torchvision"),
        (None, "'torch>=2.6' torchvision"),
    ],
)
def test_the_pair_to_install(versions, torch, pair):
    assert installed._pair(torch) == pair


def test_builds_for_different_devices(versions):
    other = {"version": "0.29.2+cpu", "problem": ""}
    found = probed(CUDA, torchvision=other)["torchvision"]
    assert found.state == "warning" and found.text == "0.29.2+cpu, but torch is 2.15.0+cu132"
    assert found.fix.endswith("from the index that has torch's cu132 builds (--index-url)")


@pytest.mark.parametrize(
    ("facts", "device", "state", "text"),
    [
        (CPU, "", "ok", "auto takes cpu (x86_64 AVX512): this torch is a CPU build"),
        (
            CPU | {"gpu_driver": True},
            "",
            "warning",
            "though there is a GPU driver: this torch is a CPU build",
        ),
        (
            CPU | {"cuda_build": "13.2", "cuda_problem": "Found no NVIDIA driver on your system"},
            "",
            "ok",
            "auto takes cpu (x86_64 AVX512): Found no NVIDIA driver on your system",
        ),
        (
            CPU | {"cuda_build": "13.2", "cuda_problem": "The NVIDIA driver is too old", "gpu_driver": True},
            "",
            "warning",
            "GPU driver: The NVIDIA driver is too old",
        ),
        (CUDA, "", "ok", "auto takes cuda:0 (NVIDIA H100): 1 found, the first is taken"),
        (
            CUDA,
            "AcceleratorError: no kernel image",
            "problem",
            "does not compute: AcceleratorError: no kernel image",
        ),
        (CPU | {"device": "mps", "mps": True}, "", "ok", "MPS is there"),
    ],
)
def test_the_device_and_why(versions, facts, device, state, text):
    found = probed(facts, device=device)["device"]
    assert found.state == state and text in found.text
    assert bool(found.fix) == (state != "ok")


def test_a_device_whose_trial_ends_the_process(versions):
    found = named(torch_and_device({"facts": CUDA, "ended": "its process was ended by SIGSEGV"}))
    assert found["device"].state == "problem" and "SIGSEGV" in found["device"].text
    assert found["torchvision"].state == "warning" and "not tried" in found["torchvision"].text


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        (CUDA, "native to this GPU; --precision auto takes bf16"),
        (
            CUDA | {"cuda": [H100 | {"capability": "7.5"}], "precision": "float32"},
            "emulated by this GPU; --precision auto takes float32, which is faster here",
        ),
        (CPU, "this processor has none; --precision auto takes float32, which is faster here"),
        (
            CPU | {"cpu_bf16": "AMX", "precision": "bf16"},
            "this processor has AMX; --precision auto takes bf16",
        ),
    ],
)
def test_bf16(versions, facts, text):
    assert probed(facts)["bf16"] == Check("bf16", "ok", text)


def test_a_gpu_that_others_fill(versions):
    found = probed(CUDA | {"cuda": [H100, H100 | {"free": 300 << 20}]})
    assert found["cuda:0"] == Check("cuda:0", "ok", "NVIDIA H100, capability 9.0, 70.0 GiB of 79.0 GiB free")
    assert found["cuda:1"].state == "warning" and "300 MiB of 79.0 GiB free" in found["cuda:1"].text


def test_packages_missing_or_too_old(monkeypatch):
    found = dict.fromkeys((*installed.PACKAGES, "simplejpeg"), "99.0") | {"pillow": "10.4.0"}
    del found["pyarrow"], found["simplejpeg"]

    def version(name):
        if name not in found:
            raise metadata.PackageNotFoundError(name)
        return found[name]

    monkeypatch.setattr(installed.metadata, "version", version)
    monkeypatch.setattr(installed.metadata, "requires", lambda name: ["pillow>=11", "pyarrow>=17"])
    checks = named(installed.packages({}))
    assert checks["pillow"] == Check("pillow", "problem", "10.4.0 is too old", "pip install 'pillow>=11'")
    assert checks["pyarrow"] == Check("pyarrow", "problem", "not installed", "pip install 'pyarrow>=17'")
    assert checks["simplejpeg"].state == "warning"
    assert "pillow" not in checks["packages"].text and "numpy 99.0" in checks["packages"].text


def test_the_packages_looked_at_are_those_of_pyproject():
    project = tomllib.loads((Path(labelscrub.__file__).parent.parent / "pyproject.toml").read_text())[
        "project"
    ]

    def names(requirements):
        return {re.match(r"[\w-]+", line).group() for line in requirements}

    assert names(project["dependencies"]) == {*installed.PACKAGES, "torch", "torchvision", "simplejpeg"}
    extras = project["optional-dependencies"]
    assert {extra: names(extras[extra]) for extra in installed.EXTRAS} == {
        extra: set(packages) for extra, (packages, _) in installed.EXTRAS.items()
    }
    assert set(extras) - {"test", "dev"} == set(installed.EXTRAS)


def test_a_missing_extra_is_no_fault(versions):
    versions(starlette="1.0")
    review = named(installed.extras())["[review]"]
    assert review.state == "ok" and "pip install 'labelscrub[review]'" in review.text


@pytest.mark.parametrize(
    ("quota", "facts", "environ", "state"),
    [
        (None, {"threads": 4}, {}, "ok"),
        (4.0, {"threads": 4}, {}, "ok"),
        (1.5, {"threads": 4}, {}, "warning"),
        (1.5, {"threads": 2}, {"OMP_NUM_THREADS": "2"}, "ok"),
        (0.5, None, {}, "warning"),
    ],
)
def test_cores_and_the_containers_share(monkeypatch, quota, facts, environ, state):
    monkeypatch.setattr(doctor, "count_cores", lambda: machine.Cores(16, 4, quota))
    found = doctor._cores(facts, environ)
    assert found.state == state and "4 of 16 usable" in found.text
    assert ("(OMP_NUM_THREADS)" in found.text) == bool(environ)
    if state == "warning":
        assert "OMP_NUM_THREADS=1 and --workers 1" in found.fix


@pytest.mark.parametrize(
    ("memory", "state", "text"),
    [
        (machine.Memory(8 * GIB, 5 * GIB, None, None), "ok", "5.0 GiB of 8.0 GiB available"),
        (machine.Memory(8 * GIB, GIB, None, None), "warning", "1.0 GiB of 8.0 GiB available"),
        (
            machine.Memory(8 * GIB, 5 * GIB, GIB, GIB // 2),
            "warning",
            "may have 1.0 GiB, 512 MiB of it in use",
        ),
        (machine.Memory(None, None, None, None), "ok", "does not say"),
    ],
)
def test_memory(monkeypatch, memory, state, text):
    monkeypatch.setattr(doctor, "measure_memory", lambda: memory)
    assert doctor._memory().state == state and text in doctor._memory().text


USAGE = namedtuple("USAGE", "total used free")


@pytest.mark.parametrize(("free", "state"), [(10 * GIB, "ok"), (GIB // 2, "warning"), (1 << 20, "problem")])
def test_a_full_disk(monkeypatch, tmp_path, free, state):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: USAGE(100 * GIB, 100 * GIB - free, free))
    found = doctor._disk("disk, --out", tmp_path / "not" / "there")
    assert found.state == state and bool(found.fix) == (state != "ok")
    assert not (tmp_path / "not").exists()


def test_a_place_that_can_not_be_written_to(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("x")
    assert "a file is in its place" in doctor._disk("disk, --out", tmp_path / "file").text
    monkeypatch.setattr(machine.os, "access", lambda folder, mode: False)
    found = doctor._disk("disk, --out", tmp_path / "run")
    assert found.state == "problem" and f"{tmp_path} can't be written to" in found.text


def test_settings_that_can_not_be_read_and_variables_that_set_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert list(doctor._settings(None, {})) == [Check("settings", "ok", "all at their defaults")]
    (tmp_path / "labelscrub.toml").write_text("epochs = 3\nmax-rate = 0.1\n")
    first, second = doctor._settings(None, {"LABELSCRUB_SEED": "4", "LABELSCRUB_SEAD": "4", "SECRET": "x"})
    assert first.text.startswith("2 from labelscrub.toml, 1 from LABELSCRUB_* variables")
    assert (second.state, second.fix) == ("warning", "did you mean LABELSCRUB_SEED?")
    (tmp_path / "labelscrub.toml").write_text("epochs = 0\n")
    (broken,) = doctor._settings(None, {})
    assert broken.state == "problem"
    assert broken.text.startswith("labelscrub.toml: --epochs must be at least 1")


def test_another_locale(monkeypatch):
    monkeypatch.setattr(doctor.locale, "getencoding", lambda: "ISO-8859-1")
    assert doctor._encoding().state == "warning"
    monkeypatch.setattr(doctor.locale, "getencoding", lambda: "utf-8")
    assert doctor._encoding().state == "ok"
