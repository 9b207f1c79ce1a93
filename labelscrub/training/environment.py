"""What torch and torchvision say of this machine; run in a process of its own, which a crash may end.

It answers a JSON line after each step, so that whoever reads them knows what the crash came of.
"""

from __future__ import annotations

import importlib
import json
import os
from importlib import metadata
from typing import Any

import torch

from labelscrub import processes
from labelscrub.training.plan import choose_device, choose_precision, name_device

# Package -> a module of it that holds compiled code, which is what breaks.
COMPILED = {
    "numpy": "numpy.linalg",
    "pillow": "PIL.Image",
    "pyarrow": "pyarrow.parquet",
    "scikit-learn": "sklearn",
    "scipy": "scipy.special",
    "safetensors": "safetensors",
    "simplejpeg": "simplejpeg",
}
_GPU_FILES = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")  # NVIDIA's driver, WSL's, AMD's


def facts() -> dict[str, Any]:
    """Versions, the device that `--device auto` takes, its arithmetic, and torch's threads; JSON-ready."""
    device = choose_device("auto")
    return {
        "torch": str(torch.__version__),
        "cuda_build": torch.version.cuda,
        "hip_build": torch.version.hip,
        "cuda": _cuda_devices(),
        "cuda_problem": _why_no_cuda(),
        "gpu_driver": any(map(os.path.exists, _GPU_FILES)),
        "mps": torch.backends.mps.is_available(),
        "device": str(device),
        "device_name": name_device(device),
        "precision": choose_precision("auto", device),
        "cpu_bf16": _cpu_bf16(),
        "threads": torch.get_num_threads(),
    }


def _cuda_devices() -> list[dict[str, Any]]:
    devices = []
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        major, minor = torch.cuda.get_device_capability(index)
        free, total = torch.cuda.mem_get_info(index)
        devices.append(
            {
                "name": torch.cuda.get_device_name(index),
                "capability": f"{major}.{minor}",
                "free": free,
                "total": total,
            }
        )
    return devices


def _why_no_cuda() -> str:
    """The first sentence of what torch says, "" where CUDA is there or torch has none."""
    if torch.cuda.is_available() or torch.version.cuda is None:
        return ""
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except Exception as error:  # RuntimeError, AssertionError: whatever the build raises
        return str(error).strip().partition("\n")[0].partition(". ")[0].rstrip(".")
    return "no device"


def _cpu_bf16() -> str:
    """The processor's instructions for bf16: "AMX", "AVX512-BF16" or ""."""
    found = [
        ("_is_amx_tile_supported", "AMX"),
        ("_is_avx512_bf16_supported", "AVX512-BF16"),
    ]  # private, so perhaps gone in another torch
    return next((name for attribute, name in found if getattr(torch.cpu, attribute, lambda: False)()), "")


def try_device() -> str:
    """Why the device that `--device auto` takes can't compute; "" where it can.

    A GPU that is too old or too new for this build is found, but has no kernels in it.
    """
    device = choose_device("auto")
    try:
        dtype = torch.bfloat16 if choose_precision("auto", device) == "bf16" else torch.float32
        images = torch.ones(2, 3, 8, 8, device=device, dtype=dtype)
        weights = torch.ones(4, 3, 3, 3, device=device, dtype=dtype)
        result = torch.nn.functional.conv2d(images, weights).float().sum().item()
    except Exception as error:  # RuntimeError, AcceleratorError ...
        return f"{type(error).__name__}: {error}".partition("\n")[0]
    return "" if result == 2 * 4 * 6 * 6 * 27 else f"computed {result:g} where {2 * 4 * 6 * 6 * 27} is right"


def try_torchvision() -> dict[str, str]:
    """Its version, and why it can't be used: with another torch than its own it has no operators."""
    try:
        import torchvision

        torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    except Exception as error:  # ImportError, RuntimeError, OSError ...
        return {"problem": f"{type(error).__name__}: {error}".partition("\n")[0]}
    return {"version": str(torchvision.__version__), "problem": ""}


def try_packages() -> dict[str, str]:
    """Each of COMPILED that is installed and does not load, and why."""
    broken = {}
    for package, module in COMPILED.items():
        try:
            metadata.version(package)
            importlib.import_module(module)
        except metadata.PackageNotFoundError:
            continue  # told by whoever knows whether it is needed
        except Exception as error:  # ImportError, ValueError of another numpy, OSError ...
            broken[package] = f"{type(error).__name__}: {error}".partition("\n")[0]
    return broken


def main() -> None:
    """The child: {"facts"}, {"device"}, {"torchvision"}, {"broken"}, a line each."""
    _, stdout = processes.attach()
    steps = (
        (facts, "facts"),
        (try_device, "device"),
        (try_torchvision, "torchvision"),
        (try_packages, "broken"),
    )
    for step, name in steps:
        stdout.write(json.dumps({name: step()}).encode() + b"\n")
        stdout.flush()
