"""Kernels with a ring of zeros: 3x3 stored as 5x5."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ticket_sig.attacks.free.network import DoesNotApply, Network, Strength, some_of
from ticket_sig.models.operations import CONVOLUTIONS
from ticket_sig.models.resized import resized


def larger_kernels(network: Network, strength: Strength, draw: torch.Generator) -> Network:
    """Stores the kernels of half of the convolutions in a ring of zeros, 3x3 as 5x5."""
    layers = [
        (node, layer)
        for node, layer in network.layers(*CONVOLUTIONS)
        if layer.padding_mode == "zeros" and max(layer.kernel_size) > 1
    ]
    if not layers:
        raise DoesNotApply("no convolution with more than one tap")
    state = network.module.state_dict()
    for node, layer in (layers[n] for n in some_of(len(layers), 0.5, draw)):
        name = f"{node.target}.weight"
        state[name] = F.pad(state[name], [1] * 2 * len(layer.kernel_size))
    return network.with_module(resized(network.module, state))
