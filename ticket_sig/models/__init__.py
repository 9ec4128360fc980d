"""The networks of the papers in their CIFAR form, by name; a new one is one file and one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from ticket_sig.errors import bad_input
from ticket_sig.formats.layouts import weights_for
from ticket_sig.models.freezenet import FreezeNet
from ticket_sig.models.prunable import ends, prunable_names
from ticket_sig.models.resnet import resnet18, resnet20, resnet20_proj, resnet50
from ticket_sig.models.vgg import VGG16
from ticket_sig.options import one_named

MODELS: dict[str, Callable[[int, int], nn.Module]] = {
    "resnet20": resnet20,
    "resnet20-proj": resnet20_proj,
    "resnet18": resnet18,
    "resnet50": resnet50,
    "vgg16": VGG16,
    "freezenet": FreezeNet,
}


def build(arch: str, classes: int, channels: int = 3, seed: int | None = None) -> nn.Module:
    """Returns a network for images [batch, channels, height, width], 8x8 and larger.

    Args:
        seed: of the initial weights; PyTorch's own random state is left as it is.

    Raises:
        InputError: no network of that name, or a seed that PyTorch does not take.
    """
    network = one_named(MODELS, "arch", arch)
    if seed is not None and not -(2**63) <= seed < 2**64:
        raise bad_input("", "seed", "a number of 64 bits", str(seed))
    with torch.random.fork_rng(devices=[]):
        if seed is not None:
            torch.manual_seed(seed)
        return network(classes, channels)


def build_for(arch: str, weights: Mapping[str, Tensor]) -> nn.Module:
    """Returns a network with these weights; channels and classes are those of its first and last layer.

    Raises:
        InputError: no network of that name, or the weights do not fit it; the first differences are listed.
    """
    probe = build(arch, classes=2)
    first, last = ends(probe)
    if missing := [name for name in (first, last) if name not in weights or weights[name].ndim < 2]:
        raise bad_input("model", "layers", f"those of {arch}", f"none of the name {' or '.join(missing)}")
    model = build(arch, weights[last].shape[0], weights[first].shape[1])
    model.load_state_dict(weights_for(model.state_dict(), weights, arch))
    return model


__all__ = ["MODELS", "build", "build_for", "ends", "prunable_names"]
