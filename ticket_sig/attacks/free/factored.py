"""A layer as two: W as M (M^-1 W), without anything between them."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, fx, nn

from ticket_sig.attacks.free.fused import behind
from ticket_sig.attacks.free.network import DoesNotApply, Network, Strength, one_of, some_of
from ticket_sig.models.operations import CONVOLUTIONS

_WIDEST = 1024  # channels of a factor, which has as many rows as columns


def factored(network: Network, strength: Strength, draw: torch.Generator) -> Network:
    """Writes a share of the layers as two, one of them a dense 1x1 layer, before the other or behind it."""
    network = network.with_module(copy.deepcopy(network.module))
    layers = [
        (node, layer)
        for node, layer in network.layers(*CONVOLUTIONS, nn.Linear)
        if getattr(layer, "groups", 1) == 1 and max(layer.weight.shape[:2]) <= _WIDEST
    ]
    if not layers:
        raise DoesNotApply("no layer that can be written as two")
    masked, new = set(network.masked), []
    for node, layer in (layers[n] for n in some_of(len(layers), strength.share, draw)):
        path = network.free_path(f"{node.target}_factor")
        _factor(network.module, node, layer, path, bool(one_of(2, draw)), draw)
        new += [f"{path}.weight"] if f"{node.target}.weight" in masked else []
    network.module.recompile()
    return network.with_module(network.module, also_masked=new)


def _factor(
    module: fx.GraphModule, node: fx.Node, layer: Any, path: str, first: bool, draw: torch.Generator
) -> None:
    """Takes a factor out of a layer, and calls it before (`first`) or behind what is left."""
    weight: Tensor = layer.weight
    width = weight.shape[1] if first else weight.shape[0]
    factor = torch.linalg.qr(torch.randn(width, width, generator=draw, dtype=torch.float64))[0]
    factor = factor * (0.5 + torch.rand(width, generator=draw, dtype=torch.float64))
    back = torch.linalg.inv(factor)
    old = weight.detach().double()
    new = torch.einsum("oi...,ij->oj...", old, back) if first else torch.einsum("po,oi...->pi...", back, old)
    extra = _pointwise(layer, width, bias=not first and layer.bias is not None).to(weight.dtype)
    extra.weight.data = factor.reshape(extra.weight.shape).to(weight.dtype)
    weight.data = new.contiguous().to(weight.dtype)
    if not first:
        extra.register_parameter("bias", layer.bias)
        layer.register_parameter("bias", None)
        behind(module, node, path, extra)
        return
    module.add_submodule(path, extra)
    with module.graph.inserting_before(node):
        node.args = (module.graph.call_module(path, node.args), *node.args[1:])


def _pointwise(layer: nn.Module, width: int, bias: bool) -> Any:
    """A linear layer or a 1x1 convolution of as many dimensions as a layer has."""
    if isinstance(layer, nn.Linear):
        return nn.Linear(width, width, bias=bias)
    return next(kind for kind in CONVOLUTIONS if isinstance(layer, kind))(width, width, 1, bias=bias)
