"""Batch norms where there were none."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from ticket_sig.attacks.free.fused import behind, per_output
from ticket_sig.attacks.free.network import DoesNotApply, Network, Strength, some_of
from ticket_sig.models.operations import LAYERS

_NORMS = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}


def split_norms(network: Network, strength: Strength, draw: torch.Generator) -> Network:
    """Splits half of the layers without a batch norm into a layer and a batch norm of random statistics."""
    network = network.with_module(copy.deepcopy(network.module))
    norms = {node for node, _ in network.layers(nn.modules.batchnorm._BatchNorm)}
    layers = [(node, layer) for node, layer in network.layers(*LAYERS) if norms.isdisjoint(node.users)]
    if not layers:
        raise DoesNotApply("no layer without a batch norm behind it")
    for node, layer in (layers[n] for n in some_of(len(layers), 0.5, draw)):
        behind(network.module, node, network.free_path(f"{node.target}_norm"), _split(layer, draw))
    network.module.recompile()
    return network.with_module(network.module)


def _split(layer: nn.Module, draw: torch.Generator) -> nn.Module:
    """Takes a random norm out of a layer, and with it its bias."""
    weight, bias = layer._parameters["weight"], layer._parameters["bias"]
    assert weight is not None
    norm = _NORMS[weight.ndim](int(getattr(layer, "out_channels", 0) or getattr(layer, "out_features", 0)))
    width = norm.num_features

    def between(low: float, high: float) -> Tensor:
        return (low + (high - low) * torch.rand(width, generator=draw, dtype=torch.float64)).to(weight.dtype)

    norm.to(weight.dtype)
    norm.weight.data, norm.running_var, norm.running_mean = between(0.5, 1.5), between(0.5, 2), between(-1, 1)
    factor = norm.weight.detach().double() / (norm.running_var.double() + norm.eps).sqrt()
    shift = norm.running_mean.double() * factor
    norm.bias.data = (shift if bias is None else shift + bias.detach().double()).to(weight.dtype)
    weight.data = (weight.detach().double() / per_output(layer, factor, weight)).to(weight.dtype)
    layer.register_parameter("bias", None)
    return norm.eval()
