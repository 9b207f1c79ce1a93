"""The baseline to beat: what a competent user writes today to find wrong labels with PyTorch and cleanlab.

    python -m labelscrub.evaluation.baseline labels.csv --image-root images --out results

Nothing clever and nothing stupid: a Dataset of files, a DataLoader with two workers, the paper's network from
torch's own layers in float32, the usual loop, one model a fold, cleanlab on the held-out probabilities. On
purpose it uses nothing of labelscrub. `labels.csv` has the columns path, label and fold.

Writes suspects.csv and result.json: seconds a stage, rows of the suspects, device.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision import transforms

WORKERS = 2
LOG_EVERY = 100  # steps


class ImageFiles(Dataset[tuple[Tensor, int]]):
    """Image files with their labels."""

    def __init__(
        self, files: list[Path], labels: NDArray[np.int64], mode: str, transform: transforms.Compose
    ) -> None:
        self.files, self.labels, self.mode, self.transform = files, labels, mode, transform

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        with Image.open(self.files[index]) as image:
            return self.transform(image.convert(self.mode)), int(self.labels[index])


class Net(nn.Module):
    """The network of the PyTorch MNIST example, which is the paper's, for any side, channels and classes."""

    def __init__(self, side: int, channels: int, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 32, 3, 1)
        self.conv2 = nn.Conv2d(32, 64, 3, 1)
        self.dropout1 = nn.Dropout(0.25)
        self.dropout2 = nn.Dropout(0.5)
        self.fc1 = nn.Linear(64 * ((side - 4) // 2) ** 2, 128)
        self.fc2 = nn.Linear(128, classes)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, S, S) -> (B, K)
        x = F.relu(self.conv1(x))
        x = F.relu(self.conv2(x))
        x = F.max_pool2d(x, 2)
        x = self.dropout1(x)
        x = torch.flatten(x, 1)
        x = F.relu(self.fc1(x))
        x = self.dropout2(x)
        logits: Tensor = self.fc2(x)
        return logits


def make_network(name: str, side: int, channels: int, classes: int) -> nn.Module:
    """The MNIST example's network, or torchvision's ResNet-34 with the stem usual for CIFAR."""
    if name == "mnist-cnn":
        return Net(side, channels, classes)
    from torchvision.models import resnet34

    network: nn.Module = resnet34(num_classes=classes)
    network.conv1 = nn.Conv2d(3, 64, 3, stride=1, padding=1, bias=False)
    network.maxpool = nn.Identity()
    return network


def train(network: nn.Module, loader: DataLoader[Any], device: str, options: argparse.Namespace) -> None:
    """The usual loop."""
    optimizer = torch.optim.Adam(network.parameters(), lr=options.lr)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, max(options.epochs // 2, 1), options.lr_drop)
    network.train()
    for epoch in range(options.epochs):
        running = 0.0
        for step, (images, labels) in enumerate(loader):
            images, labels = images.to(device), labels.to(device)
            optimizer.zero_grad()
            loss = F.cross_entropy(network(images), labels)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            running += loss.item()
            if (step + 1) % LOG_EVERY == 0:
                print(f"epoch {epoch + 1} step {step + 1} loss {running / LOG_EVERY:.4f}")  # noqa: T201
                running = 0.0
        scheduler.step()


def predict(network: nn.Module, loader: DataLoader[Any], device: str) -> NDArray[np.float32]:
    """(M, K) softmax of held-out images."""
    network.eval()
    found = []
    with torch.no_grad():
        for images, _ in loader:
            found.append(F.softmax(network(images.to(device)), dim=1).cpu().numpy())
    return np.concatenate(found)


def main() -> None:
    """From labelled files to the list of suspects."""
    options = _options()
    torch.manual_seed(options.seed)
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    seconds = {}

    began = time.perf_counter()
    with options.labels.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    classes = sorted({row["label"] for row in rows})
    labels = np.array([classes.index(row["label"]) for row in rows])
    folds = np.array([int(row["fold"]) for row in rows])
    files = [options.image_root / row["path"] for row in rows]
    seconds["read"] = time.perf_counter() - began

    channels = 3 if options.mode == "RGB" else 1
    plain = [transforms.ToTensor(), transforms.Normalize((0.5,) * channels, (0.5,) * channels)]
    resize = [transforms.Resize((options.side, options.side))] if options.resize else []
    augment = []
    if options.network == "cifar-resnet34":
        augment = [transforms.RandomCrop(options.side, padding=4), transforms.RandomHorizontalFlip()]
    training = ImageFiles(files, labels, options.mode, transforms.Compose([*resize, *augment, *plain]))
    held_out = ImageFiles(files, labels, options.mode, transforms.Compose([*resize, *plain]))

    pred_probs = np.zeros((len(rows), len(classes)), np.float32)
    seconds["train"] = seconds["predict"] = 0.0
    for fold in np.unique(folds):
        inside, outside = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        loader = DataLoader(
            Subset(training, inside.tolist()),
            options.batch_size,
            shuffle=True,
            num_workers=WORKERS,
            pin_memory=device.startswith("cuda"),
        )
        network = make_network(options.network, options.side, channels, len(classes)).to(device)
        began = time.perf_counter()
        train(network, loader, device, options)
        seconds["train"] += time.perf_counter() - began
        began = time.perf_counter()
        loader = DataLoader(Subset(held_out, outside.tolist()), options.batch_size, num_workers=WORKERS)
        pred_probs[outside] = predict(network, loader, device)
        seconds["predict"] += time.perf_counter() - began

    from cleanlab.filter import find_label_issues

    began = time.perf_counter()
    issues = find_label_issues(
        labels, pred_probs, filter_by="both", return_indices_ranked_by="self_confidence"
    )
    seconds["detect"] = time.perf_counter() - began

    began = time.perf_counter()
    options.out.mkdir(parents=True, exist_ok=True)
    with (options.out / "suspects.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "suggested", "p_label"])
        for row in issues:
            suggested = classes[pred_probs[row].argmax()]
            writer.writerow([rows[row]["path"], rows[row]["label"], suggested, pred_probs[row, labels[row]]])
    seconds["report"] = time.perf_counter() - began
    name = torch.cuda.get_device_name() if device.startswith("cuda") else "cpu"
    result = {
        "suspects": sorted(map(int, issues)),
        "accuracy": float((pred_probs.argmax(axis=1) == labels).mean()),
        "seconds": seconds,
        "device": name,
        "threads": torch.get_num_threads(),
    }
    (options.out / "result.json").write_text(json.dumps(result))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Find wrong labels with PyTorch and cleanlab.")
    parser.add_argument("labels", type=Path)
    parser.add_argument("--image-root", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--side", type=int, required=True)
    parser.add_argument("--mode", choices=["L", "RGB"], required=True)
    parser.add_argument("--resize", action="store_true")
    parser.add_argument("--network", choices=["mnist-cnn", "cifar-resnet34"], default="mnist-cnn")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--lr-drop", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device")
    return parser.parse_args()


if __name__ == "__main__":
    main()
