"""Accuracy of a network on a split."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ticket_sig.datasets import Dataset
from ticket_sig.datasets.data import Split
from ticket_sig.formats.layouts import weights_for
from ticket_sig.models import build
from ticket_sig.models.own import logits_of
from ticket_sig.training.batches import Normaliser

BATCH = 500


def accuracy(model: nn.Module, split: Split, data: Dataset, device: torch.device, precision: str) -> float:
    """Share of the images that are classified right, in %."""
    labels = split.labels.to(device)
    return 100 * int((predicted(model, split, data, device, precision) == labels).sum()) / len(split)


@torch.no_grad()
def predicted(model: nn.Module, split: Split, data: Dataset, device: torch.device, precision: str) -> Tensor:
    """The class that the network, which is moved to the device, gives each image: int64 [n], there."""
    was_training = model.training
    model.to(device).eval()
    normalise = Normaliser(data, device)
    found = []
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        for start in range(0, len(split), BATCH):
            images = split.images[start : start + BATCH]
            answer = model(normalise(images.to(device).permute(0, 3, 1, 2)))
            found.append(logits_of(answer, len(images)).argmax(1))
    model.train(was_training)
    return torch.cat(found)


def weights_accuracy(
    weights: Mapping[str, Tensor],
    arch: str,
    data: Dataset,
    device: torch.device | None = None,
    precision: str = "float32",
) -> float:
    """Accuracy (%) of a network's weights on the test split.

    Raises:
        InputError: no network of that name, or the weights do not fit it; the first differences are listed.
    """
    model = build(arch, data.classes, data.channels)
    model.load_state_dict(weights_for(model.state_dict(), weights, arch))
    device = device or torch.device("cpu")
    return accuracy(model, data.test, data, device, precision)
