"""Dense networks for digits, as files."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ticket_sig import Mask, Ticket, save
from ticket_sig.models import build
from ticket_sig.training import preset

TASK = ("--arch", "resnet20", "--dataset", "digits")


def resnet20(seed: int = 0) -> dict[str, Tensor]:
    """Tensors of an untrained ResNet-20 for digits."""
    return {name: t.detach() for name, t in build("resnet20", 10, 1, seed=seed).state_dict().items()}


def dense_bundle(path: Path) -> Path:
    """It as a bundle, with the recipe of the demo."""
    weights = resnet20()
    mask = Mask.full({name: w for name, w in weights.items() if w.ndim >= 2})
    recipe = preset("demo", arch="resnet20", dataset="digits", precision="float32").to_json()
    return save(Ticket(weights=weights, mask=mask, recipe=recipe), path)


def torch_file(path: Path, seed: int = 0) -> Path:
    """It as `torch.save` writes a state dict."""
    torch.save(resnet20(seed), path)
    return path
