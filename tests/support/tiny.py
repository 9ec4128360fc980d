"""A network, a recipe and data that train in a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ticket_sig.datasets import Dataset
from ticket_sig.datasets.data import Split
from ticket_sig.training import Recipe, Steps


def tiny_data(images: int = 96, size: int = 8, channels: int = 1, classes: int = 4, seed: int = 0) -> Dataset:
    """Images whose brightness tells their class, so that a network learns them in a few steps."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (images,), generator=draw)
    noise = torch.randint(0, 60, (images, size, size, channels), generator=draw)
    pixels = (noise + 180 * labels.view(-1, 1, 1, 1) // max(1, classes - 1)).to(torch.uint8)
    cut = images * 3 // 4
    train, test = Split(pixels[:cut], labels[:cut]), Split(pixels[cut:], labels[cut:])
    return Dataset("tiny", train, test, classes, (0.5,) * channels, (0.5,) * channels)


class TinyNet(nn.Module):
    """A user's own network for `tiny_data`; `c2.weight` and `f1.weight` are prunable."""

    def __init__(self, seed: int = 0, channels: int = 1, classes: int = 4, dropout: float = 0.0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.c1 = nn.Conv2d(channels, 4, 3, padding=1, bias=False)
            self.bn = nn.BatchNorm2d(4)
            self.c2 = nn.Conv2d(4, 8, 3, padding=1)
            self.drop = nn.Dropout(dropout)
            self.f1 = nn.Linear(8, 12)
            self.f2 = nn.Linear(12, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.c2(torch.relu(self.bn(self.c1(x)))))
        return self.f2(torch.relu(self.f1(self.drop(x.mean((2, 3))))))


def tiny_recipe(**changes: Any) -> Recipe:
    """Three epochs of four iterations on `tiny_data`, with everything that SGD has switched on."""
    fields: dict[str, Any] = {
        "arch": "own",
        "dataset": "tiny",
        "length": Steps(3),
        "batch_size": 16,
        "lr": 0.1,
        "nesterov": True,
        "weight_decay": 1e-2,
        "label_smoothing": 0.1,
        "schedule": "one-cycle",
        "milestones": (),
        "warmup": 0.25,
        "crop": 1,
        "validation": 0.2,
        "rewind": Steps(2, "it"),
        "rounds": 1,
    }
    return Recipe(**{**fields, **changes})


def write_images(
    folder: Path, classes: tuple[str, ...] = ("cat", "dog"), each: int = 3, size: int = 8
) -> Path:
    """An image folder with train/ and test/, its pixels drawn at random."""
    draw = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in classes:
            (folder / split / name).mkdir(parents=True)
            for index in range(each):
                pixels = draw.integers(0, 256, (size, size, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{index}.png")
    return folder
