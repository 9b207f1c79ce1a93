"""Which packages are there, and whether torch and torchvision load, belong together and compute."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Literal

PACKAGES = ("numpy", "pillow", "pyarrow", "scikit-learn", "scipy", "safetensors", "jinja2", "typer", "rich")
"""Of ours that nothing more is said about; torch, torchvision and simplejpeg have lines of their own."""
EXTRAS = {
    "plots": (("matplotlib",), "pictures of score, tune and bench"),
    "review": (("starlette", "uvicorn"), "labelscrub review"),
    "bench": (("cleanlab",), "bench speed and bench scale"),
}
"""Each extra's packages, and what it is for."""
GIB = 1 << 30
LITTLE_MEMORY = 2 * GIB  # detect with five folds side by side takes 1.7 GB

State = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Check:
    """One line of the screen."""

    name: str
    state: State
    text: str
    """What was found."""
    fix: str = ""
    """What to do, where it is not ok."""


def packages(probe: dict[str, Any]) -> Iterator[Check]:
    """A line for those that are there, one for each that is not, is too old, or does not load."""
    found = []
    for name in PACKAGES:
        version = _version(name)
        if (problem := _unmet(name, version) or _broken(name, version, probe)) is not None:
            yield problem
        else:
            found.append(f"{name} {version}")
    if "torchvision" in probe and "broken" not in probe:  # all of torch came, and then the process ended
        fix = "install them anew: pip install --force-reinstall labelscrub"
        yield Check("packages", "problem", f"one of them does not load: {probe['ended']}", fix)
    else:
        yield Check("packages", "ok", ", ".join(found))
    version = _version("simplejpeg")
    if version is None:
        yield Check("simplejpeg", "warning", "not installed: JPEGs decode slower", "pip install simplejpeg")
    else:
        problem = _unmet("simplejpeg", version) or _broken("simplejpeg", version, probe)
        yield problem or Check("simplejpeg", "ok", version)


def _broken(name: str, version: str | None, probe: dict[str, Any]) -> Check | None:
    """The problem of a package that does not load; None where it does, or where that was not tried."""
    reason = probe.get("broken", {}).get(name)
    if reason is None:
        return None
    fix = f"install it anew: pip install --force-reinstall '{name}'"
    return Check(name, "problem", f"{version} does not load: {reason}", fix)


def _unmet(name: str, version: str | None) -> Check | None:
    """The problem of a package that is missing or older than we ask for; None where there is none."""
    least = _least(name)
    if version is not None and _numbers(version) >= _numbers(least):
        return None
    asked = f"{name}>={least}" if least else name
    text = "not installed" if version is None else f"{version} is too old"
    return Check(name, "problem", text, f"pip install '{asked}'")


def torch_and_device(probe: dict[str, Any]) -> Iterator[Check]:
    """torch, torchvision, device and bf16, as far as the probing process came."""
    facts = probe.get("facts")
    version = facts["torch"] if facts else _version("torch")
    if (problem := _unmet("torch", version)) is not None:
        yield problem
    elif facts is None:
        fix = f"install it anew: pip install --force-reinstall {_pair(version)}"
        yield Check("torch", "problem", f"{version} does not load: {probe['ended']}", fix)
    else:
        build = facts["cuda_build"] or facts["hip_build"]
        built = f"built for {'CUDA' if facts['cuda_build'] else 'ROCm'} {build}" if build else "CPU build"
        yield Check("torch", "ok", f"{version}, {built}")
    yield _torchvision(probe, facts)
    if facts is None:
        return
    yield _device(facts, probe)
    yield from _gpus(facts)
    yield _bf16(facts)


def _torchvision(probe: dict[str, Any], facts: dict[str, Any] | None) -> Check:
    torch, version = facts["torch"] if facts else _version("torch"), _version("torchvision")
    if version is None:
        return Check("torchvision", "problem", "not installed", f"pip install {_pair(torch)}")
    fix = f"install it anew: pip install --force-reinstall {_pair(torch)}"
    wanted = _wanted_torch()
    if torch is not None and wanted and not _fits(torch, wanted):
        together = f"install what belongs together: pip install {_pair(torch)}"
        return Check(
            "torchvision", "problem", f"{version} belongs to torch{wanted}, not to {torch}", together
        )
    if facts is None:
        return Check("torchvision", "warning", f"{version}, not tried: torch does not load", "see torch")
    if "device" not in probe:
        return Check(
            "torchvision", "warning", f"{version}, not tried: the device ended the process", "see device"
        )
    if "torchvision" not in probe:
        return Check("torchvision", "problem", f"{version} does not load: {probe['ended']}", fix)
    found = probe["torchvision"]
    if found["problem"]:
        return Check("torchvision", "problem", f"{version} does not load: {found['problem']}", fix)
    ours, theirs = (text.partition("+")[2] for text in (found["version"], facts["torch"]))
    if ours and theirs and ours != theirs:
        index = f"{fix}, from the index that has torch's {theirs} builds (--index-url)"
        return Check("torchvision", "warning", f"{found['version']}, but torch is {facts['torch']}", index)
    return _unmet("torchvision", version) or Check("torchvision", "ok", found["version"])


def _pair(torch: str | None) -> str:
    """pip's words for this torch and the torchvision that belongs to it."""
    if torch is None:
        return f"'torch>={_least('torch')}' torchvision"
    plain = torch.partition("+")[0]
    major, minor = (*_numbers(plain), 0, 0)[:2]
    if major == 2 and minor <= 13:  # torch 2.0 goes with torchvision 0.15, and so on until they came apart
        return f"'torch=={plain}' 'torchvision==0.{minor + 15}.*'"
    return f"'torch=={plain}' torchvision"  # pip finds it: each names the torch it wants


def _wanted_torch() -> str:
    """What the installed torchvision says it needs: "==2.9.0", ">=2.14.0", or ""."""
    for line in metadata.requires("torchvision") or ():
        if match := re.match(r"torch\b\s*\(?\s*((?:==|>=)[\w.+]+)\s*\)?\s*(?:;|$)", line):
            return match.group(1)
    return ""


def _fits(torch: str, wanted: str) -> bool:
    have, need = _numbers(torch), _numbers(wanted[2:])
    return have >= need if wanted.startswith(">=") else have[: len(need)] == need


def _device(facts: dict[str, Any], probe: dict[str, Any]) -> Check:
    """What `--device auto` takes, why, and whether it computes."""
    name = f"auto takes {facts['device']} ({facts['device_name']})"
    if "device" not in probe or probe["device"]:
        reason = probe.get("device") or probe["ended"]
        fix = "install a torch built for this device, or run with --device cpu"
        return Check("device", "problem", f"{name}, which does not compute: {reason}", fix)
    if facts["device"].startswith("cuda"):
        return Check("device", "ok", f"{name}: {len(facts['cuda'])} found, the first is taken")
    if facts["device"] == "mps":
        return Check("device", "ok", f"{name}: Apple's MPS is there, CUDA is not")
    if facts["cuda_build"] is None and facts["hip_build"] is None:
        why = "this torch is a CPU build"
        fix = "install a CUDA build of torch and torchvision"
    else:
        why = facts["cuda_problem"] or "no GPU was found"
        fix = "update the GPU's driver, or install an older CUDA build"
    if facts["gpu_driver"]:
        return Check("device", "warning", f"{name} though there is a GPU driver: {why}", fix)
    return Check("device", "ok", f"{name}: {why}")


def _gpus(facts: dict[str, Any]) -> Iterator[Check]:
    for number, gpu in enumerate(facts["cuda"]):
        room = f"{size(gpu['free'])} of {size(gpu['total'])} free"
        text = f"{gpu['name']}, capability {gpu['capability']}, {room}"
        low = gpu["free"] < LITTLE_MEMORY
        fix = "see with nvidia-smi what else runs there, or choose another --device" if low else ""
        yield Check(f"cuda:{number}", "warning" if low else "ok", text, fix)


def _bf16(facts: dict[str, Any]) -> Check:
    """Whether the device that is taken has instructions for it, and whether `--precision auto` uses them."""
    if facts["device"].startswith("cuda"):
        native = int(facts["cuda"][0]["capability"].partition(".")[0]) >= 8
        has = "native to this GPU" if native else "emulated by this GPU"
    elif facts["device"] == "cpu":
        has = f"this processor has {facts['cpu_bf16']}" if facts["cpu_bf16"] else "this processor has none"
    else:
        has = "not measured on this device"
    why = "" if facts["precision"] == "bf16" else ", which is faster here"
    return Check("bf16", "ok", f"{has}; --precision auto takes {facts['precision']}{why}")


def extras() -> Iterator[Check]:
    for extra, (packages, purpose) in EXTRAS.items():
        versions = {name: _version(name) for name in packages}
        missing = [name for name, version in versions.items() if version is None]
        if missing:
            text = f"not installed (only for {purpose}): pip install 'labelscrub[{extra}]'"
        else:
            text = ", ".join(f"{name} {version}" for name, version in versions.items())
        yield Check(f"[{extra}]", "ok", text)


def _version(name: str) -> str | None:
    """A package's version without loading it; None where it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _least(name: str) -> str:
    """The oldest version that labelscrub asks for; "" where it does not say."""
    try:
        lines = metadata.requires("labelscrub") or []
    except metadata.PackageNotFoundError:  # run from its sources
        lines = []
    found = (re.match(rf"{re.escape(name)}\s*>=\s*([\d.]+)\s*$", line) for line in lines)
    return next((match.group(1) for match in found if match), "")


def _numbers(version: str) -> tuple[int, ...]:
    """2.15.0+cu132 -> (2, 15, 0)."""
    match = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(map(int, match.group().split("."))) if match else ()


def size(count: int) -> str:
    """Bytes as people say them: "1.7 GiB", "310 MiB"."""
    return f"{count / GIB:,.1f} GiB" if count >= GIB else f"{count >> 20:,} MiB"
