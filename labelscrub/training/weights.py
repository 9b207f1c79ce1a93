"""Starting weights: torchvision's ImageNet ones from its own cache, or the user's file."""

from __future__ import annotations

import hashlib
import http.client
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from labelscrub.errors import DataError, EnvironmentProblem, UsageError
from labelscrub.training.networks import RESNETS, architecture

DOWNLOAD_FIX = (
    "on a machine with internet access, run once; or get the file yourself and give it as --weights FILE"
)


@dataclass(frozen=True)
class StartingWeights:
    """A weights file that exists, and what its bytes were."""

    path: Path
    sha256: str
    imagenet: bool
    """torchvision's own, whose images are normalised by ImageNet's mean and deviation."""


def find_weights(
    weights: str,  # none, default or a file
    network: str,
) -> tuple[StartingWeights | None, tuple[str, ...]]:
    """The file to start from, None for a start from scratch, and notes for the user."""
    if weights == "none":
        return None, ()
    if weights == "default":
        return _default_weights(network)
    path = Path(weights).expanduser()
    if not path.is_file():
        raise UsageError(
            f"--weights '{weights}' is not a file", "give none, default, or a .safetensors or .pt file"
        )
    note = (
        f"Starting from {path.name}: if it was trained on these very labels, it has learnt the wrong ones "
        "too, and out-of-fold predictions are no longer blind."
    )
    return StartingWeights(path, _sha256(path), imagenet=False), (note,)


def load_weights(network: nn.Module, start: StartingWeights) -> None:
    """Copy a file's weights into a network, in place.

    The classifier stays fresh, and so does a ResNet's stem where small images have a 3x3 one, the file a 7x7.
    """
    own = network.state_dict()
    state = _read_state(start.path)
    head = [name for name in own if name.endswith(".weight")][-1].removesuffix("weight")
    fresh = {name for name in own if name.startswith(head)}
    if (
        "conv1.weight" in state
        and state["conv1.weight"].shape[2:] != own.get("conv1.weight", torch.empty(0)).shape[2:]
    ):
        fresh.add("conv1.weight")
    fresh |= {name for name in own if name.endswith("num_batches_tracked") and name not in state}
    needed = [name for name in own if name not in fresh]
    wrong = [name for name in needed if name not in state or state[name].shape != own[name].shape]
    if wrong:
        found = f"has {tuple(state[wrong[0]].shape)}" if wrong[0] in state else "does not have it"
        raise DataError(
            f"the weights in '{start.path}' don't fit the network: "
            f"'{wrong[0]}' is {tuple(own[wrong[0]].shape)}, the file {found}",
            "choose the --network that the file was made for, or leave --weights out",
        )
    network.load_state_dict({name: state[name] for name in needed}, strict=False)


def _default_weights(network: str) -> tuple[StartingWeights | None, tuple[str, ...]]:
    """torchvision's ImageNet weights, from its cache or downloaded to it; a note where they can't be had."""
    if network not in RESNETS:
        raise UsageError(
            f"--weights default: there are no published weights for the network '{network}'",
            f"choose --network {', '.join(RESNETS)}, or --weights none",
        )
    from torchvision.models import get_model_weights

    url: str = get_model_weights(architecture(network)).DEFAULT.url
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[1]
    prefix = path.stem.rsplit("-", 1)[1]  # torch.hub's convention: NAME-SHA256PREFIX.pth
    if not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), hash_prefix=prefix, progress=False)
        except (OSError, http.client.HTTPException, RuntimeError) as error:  # RuntimeError: the hash is wrong
            reason = getattr(error, "reason", None) or error
            return None, (
                f"NO PRETRAINED WEIGHTS: {url} could not be had ({reason}); training starts from scratch, "
                f"which finds fewer errors in few photos. {DOWNLOAD_FIX[0].upper()}{DOWNLOAD_FIX[1:]}.",
            )
    digest = _sha256(path)
    if not digest.startswith(prefix):
        raise EnvironmentProblem(
            f"the cached weights '{path}' are damaged", "delete the file; it is downloaded again"
        )
    return StartingWeights(path, digest, imagenet=True), ()


def _read_state(path: Path) -> Mapping[str, Tensor]:
    """A state dict from .safetensors, or from a torch file without running any code in it."""
    try:
        state: Any
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # pickle, zip, safetensors and torch each raise their own
        raise DataError(
            f"'{path}' can't be read as weights ({type(error).__name__})",
            "give a .safetensors file, or a state dict saved with torch.save",
        ) from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise DataError(
            f"'{path}' holds no state dict (names to tensors)",
            "save it with torch.save(model.state_dict(), FILE)",
        )
    return {str(name).removeprefix("module."): value for name, value in state.items()}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
