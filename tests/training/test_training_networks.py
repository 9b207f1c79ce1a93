"""Networks, starting weights, recipes."""

from __future__ import annotations

import hashlib
import http.client
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from labelscrub.config import NETWORKS
from labelscrub.errors import DataError, EnvironmentProblem, UsageError
from labelscrub.training import weights as weights_module
from labelscrub.training.networks import build_network, choose_network
from labelscrub.training.recipes import RECIPES, Recipe, learning_rate, recipe_for
from labelscrub.training.weights import StartingWeights, find_weights, load_weights


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("name", ["fast", "mnist-cnn"])
@pytest.mark.parametrize("side", [8, 9, 13, 28, 32, 33, 64])
@pytest.mark.parametrize(("channels", "outputs", "images"), [(1, 2, 2), (3, 11, 3)])
def test_small_networks_take_any_size(name: str, side: int, channels: int, outputs: int, images: int) -> None:
    network = build_network(name, side=side, channels=channels, outputs=outputs)
    logits = network(torch.rand(images, channels, side, side))
    assert logits.shape == (images, outputs)
    assert torch.isfinite(logits).all()
    assert network.eval()(torch.rand(1, channels, side, side)).shape == (1, outputs)


def test_mnist_cnn_is_the_papers() -> None:
    # METHOD.md: the PyTorch MNIST example has exactly 1,199,882; the paper (A.1): "approximately 1.2 million"
    assert parameters(build_network("mnist-cnn", side=28, channels=1, outputs=10)) == 1_199_882


@pytest.mark.parametrize(
    ("name", "side", "small"),
    [
        ("resnet18", 16, True),
        ("resnet18", 64, False),
        ("cifar-resnet34", 64, True),
        ("aum-resnet34", 64, True),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_resnets_keep_small_images_large(name: str, side: int, small: bool, channels: int) -> None:
    network = build_network(name, side=side, channels=channels, outputs=4)
    seen: list[torch.Size] = []
    network.layer1.register_forward_hook(lambda m, i, o: seen.append(o.shape))
    with torch.inference_mode():
        assert network.eval()(torch.rand(1, channels, side, side)).shape == (1, 4)
    assert seen[0][-1] == (side if small else side // 4)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_resnets_are_torchvisions(name: str) -> None:
    own = build_network(name, side=64, channels=3, outputs=7).state_dict()
    theirs = getattr(torchvision.models, name)(num_classes=7).state_dict()
    assert {k: v.shape for k, v in own.items()} == {k: v.shape for k, v in theirs.items()}


def test_grey_is_repeated_for_a_resnet() -> None:
    network = build_network("resnet18", side=32, channels=1, outputs=3).eval()
    grey = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(network(grey), network(grey.repeat(1, 3, 1, 1)))


def test_auto_goes_by_size_and_weights() -> None:
    assert choose_network("auto", side=64, weights="none") == "fast"
    assert choose_network("auto", side=65, weights="none") == "resnet18"
    assert choose_network("auto", side=32, weights="default") == "resnet18"
    assert choose_network("mnist-cnn", side=224, weights="none") == "mnist-cnn"


def test_every_network_has_a_recipe() -> None:
    assert set(RECIPES) == set(NETWORKS) - {"auto"} | {"fast-colour"}
    for network in set(NETWORKS) - {"auto"}:
        large = {"images": 50_000, "side": 32}
        assert recipe_for(network, channels=1, **large) == RECIPES[network]
        colour = "fast-colour" if network == "fast" else network
        assert recipe_for(network, channels=3, **large) == RECIPES[colour]


@pytest.mark.parametrize(("images", "epochs"), [(50_000, 6), (3_200, 6), (1_797, 11), (640, 30), (30, 30)])
def test_small_sets_get_more_epochs_up_to_a_limit(images: int, epochs: int) -> None:
    assert recipe_for("fast", images=images, side=28, channels=1).epochs == epochs
    assert recipe_for("mnist-cnn", images=images, side=28, channels=1).epochs == 10


def test_tiny_images_are_not_shifted() -> None:
    assert recipe_for("fast", images=10_000, side=19, channels=1).views == ((0, 0),)
    assert len(recipe_for("fast", images=10_000, side=20, channels=1).views) == 5


def test_papers_schedules() -> None:
    """A.1: Adam 1e-4, x0.1 at epoch 5 of 10."""
    recipe = RECIPES["cifar-resnet34"]
    rates = [learning_rate(recipe, step, 100) for step in range(100)]  # ten steps an epoch
    assert rates[:50] == [1e-4] * 50
    assert rates[50:] == pytest.approx([1e-5] * 50)
    mnist = RECIPES["mnist-cnn"]
    assert {learning_rate(mnist, step, 10) for step in range(10)} == {mnist.lr}
    aum = RECIPES["aum-resnet34"]  # section 5: 150 epochs, 0.1, weight decay 1e-4
    assert (aum.epochs, aum.lr, aum.weight_decay, aum.optimizer) == (150, 0.1, 1e-4, "sgd")
    assert {learning_rate(aum, step, 10) for step in range(10)} == {0.1}


@pytest.mark.parametrize("steps", [1, 2, 7, 1000])
def test_one_cycle_rises_and_falls(steps: int) -> None:
    recipe = Recipe(epochs=1, batch_size=2, lr=0.5, schedule="one-cycle")
    rates = [learning_rate(recipe, step, steps) for step in range(steps)]
    peak = int(np.argmax(rates))
    assert all(0 < rate <= 0.5 for rate in rates)
    assert all(a < b for a, b in itertools.pairwise(rates[: peak + 1]))
    assert all(a > b for a, b in itertools.pairwise(rates[peak:]))
    if steps == 1000:
        assert peak == pytest.approx(200, abs=1) and rates[-1] < 0.001


def weights_file(path: Path, state: dict[str, Any]) -> StartingWeights:
    if path.suffix == ".safetensors":
        save_file({name: value.contiguous() for name, value in state.items()}, path)
    else:
        torch.save(state, path)
    start, notes = find_weights(str(path), "fast")
    assert start is not None
    assert start.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert "trained on these very labels" in notes[0]
    return start


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
def test_weights_fit_but_for_the_classifier(tmp_path: Path, name: str) -> None:
    source = build_network("fast", side=16, channels=1, outputs=10)
    target = build_network("fast", side=16, channels=1, outputs=3)
    fresh = target.state_dict()["fc.weight"].clone()
    load_weights(target, weights_file(tmp_path / name, dict(source.state_dict())))
    for key, value in target.state_dict().items():
        if key == "fc.weight":
            assert torch.equal(value, fresh)
        elif not key.startswith("fc."):
            assert torch.equal(value, source.state_dict()[key])


def test_wrapped_state_dicts_are_read(tmp_path: Path) -> None:
    source = build_network("mnist-cnn", side=8, channels=1, outputs=10)
    target = build_network("mnist-cnn", side=8, channels=1, outputs=2)
    wrapped = {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in source.state_dict().items()}}
    load_weights(target, weights_file(tmp_path / "checkpoint.pth", wrapped))
    assert torch.equal(target.state_dict()["conv1.weight"], source.state_dict()["conv1.weight"])


def test_a_7x7_stem_is_left_out_for_small_images(tmp_path: Path) -> None:
    source = build_network("resnet18", side=64, channels=3, outputs=1000)
    target = build_network("resnet18", side=32, channels=3, outputs=3)
    stem = target.state_dict()["conv1.weight"].clone()
    state = {k: v for k, v in source.state_dict().items() if not k.endswith("num_batches_tracked")}
    load_weights(target, weights_file(tmp_path / "w.pt", state))
    assert torch.equal(target.state_dict()["conv1.weight"], stem)
    assert torch.equal(target.state_dict()["layer4.1.conv2.weight"], state["layer4.1.conv2.weight"])


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    state = dict(build_network("fast", side=16, channels=3, outputs=10).state_dict())
    with pytest.raises(DataError, match=r"'conv0.weight' is \(32, 1, 3, 3\), the file has \(32, 3, 3, 3\)"):
        load_weights(
            build_network("fast", side=16, channels=1, outputs=10), weights_file(tmp_path / "a.pt", state)
        )
    del state["norm1.running_mean"]
    with pytest.raises(DataError, match=r"'norm1.running_mean' is \(64,\), the file does not have it"):
        load_weights(
            build_network("fast", side=16, channels=3, outputs=10), weights_file(tmp_path / "b.pt", state)
        )


class Hostile:
    """Creates a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return (Path.touch, (self.file,))


@pytest.mark.parametrize("content", [b"", b"not weights", "pickle", "list", "safetensors"])
def test_unreadable_weights(tmp_path: Path, content: bytes | str) -> None:
    path = tmp_path / ("w.safetensors" if content == "safetensors" else "w.pt")
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "safetensors":
        path.write_bytes(b"\xff" * 64)
    else:
        torch.save(Hostile(tmp_path / "was-here") if content == "pickle" else [1, 2], path)
    start, _ = find_weights(str(path), "fast")
    assert start is not None
    with pytest.raises(DataError, match=str(path)):
        load_weights(build_network("fast", side=8, channels=1, outputs=2), start)
    assert not (tmp_path / "was-here").exists()


def test_weights_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a file"):
        find_weights(str(tmp_path / "none.pt"), "fast")
    with pytest.raises(UsageError, match="no published weights for the network 'fast'"):
        find_weights("default", "fast")
    assert find_weights("none", "fast") == (None, ())


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty torch.hub cache, with a download that can't reach anything."""

    def offline(*args: object, **kwargs: object) -> None:
        raise OSError("Network is unreachable")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    return tmp_path / "hub" / "checkpoints"


def test_default_weights_offline(hub: Path) -> None:
    start, notes = find_weights("default", "cifar-resnet34")
    assert start is None
    assert notes[0].startswith("NO PRETRAINED WEIGHTS: https://download.pytorch.org/models/resnet34-")
    assert "Network is unreachable" in notes[0] and "from scratch" in notes[0]


def test_a_download_that_breaks_off_is_a_note(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise http.client.IncompleteRead(b"half")  # neither an OSError nor a RuntimeError

    monkeypatch.setattr(torch.hub, "download_url_to_file", broken)
    start, notes = find_weights("default", "resnet18")
    assert start is None and "IncompleteRead" in notes[0]


def test_default_weights_in_the_cache(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = torchvision.models.get_model_weights("resnet18").DEFAULT.url
    path = hub / url.rsplit("/", 1)[1]
    path.parent.mkdir(parents=True)
    path.write_bytes(b"half a download")
    with pytest.raises(EnvironmentProblem, match="are damaged"):
        find_weights("default", "resnet18")
    prefix = path.stem.rsplit("-", 1)[1]
    monkeypatch.setattr(weights_module, "_sha256", lambda path: prefix + "0" * 56)
    assert find_weights("default", "resnet18") == (
        StartingWeights(path, prefix + "0" * 56, imagenet=True),
        (),
    )
