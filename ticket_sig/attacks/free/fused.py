"""Batch norms fused into the layers before them, as for deployment."""

from __future__ import annotations

import copy

import torch
from torch import fx, nn

from ticket_sig.attacks.free.network import DoesNotApply, Network, Strength
from ticket_sig.models.operations import LAYERS, TRANSPOSED


def fused(network: Network, strength: Strength, draw: torch.Generator) -> Network:
    """Takes every batch norm that reads nothing but a layer's output into that layer's weight and bias."""
    network = network.with_module(copy.deepcopy(network.module))
    norms = dict(network.layers(nn.modules.batchnorm._BatchNorm))
    pairs = [
        (node, layer, user)
        for node, layer in network.layers(*LAYERS)
        if len(node.users) == 1
        and (user := next(iter(node.users))) in norms
        and norms[user].running_var is not None
    ]
    if not pairs:
        raise DoesNotApply("no batch norm behind a layer")
    module = network.module
    for node, layer, user in pairs:
        _fuse(layer, norms[user])
        user.replace_all_uses_with(node)
        module.graph.erase_node(user)
        module.delete_submodule(str(user.target))
    module.recompile()
    return network.with_module(module)


def _fuse(layer: nn.Module, norm: nn.Module) -> None:
    """Puts what a norm does behind a layer into the layer."""
    tensors = {name: t.double() for name, t in norm.state_dict().items()}
    mean = tensors["running_mean"]
    factor = tensors.get("weight", torch.ones_like(mean)) / (tensors["running_var"] + norm.eps).sqrt()
    weight, bias = layer._parameters["weight"], layer._parameters["bias"]
    assert weight is not None
    old = 0.0 if bias is None else bias.detach().double()
    new = (old - mean) * factor + tensors.get("bias", torch.zeros_like(mean))
    layer.register_parameter("bias", nn.Parameter(new.to(weight.dtype)))
    weight.data = (weight.detach().double() * per_output(layer, factor, weight)).to(weight.dtype)


def per_output(layer: nn.Module, values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """A value for each output of a layer, in a shape that multiplies its weight."""
    if not isinstance(layer, TRANSPOSED):
        return values.reshape(-1, *[1] * (weight.ndim - 1))
    each = weight.shape[1]  # outputs of a group
    rows = values.reshape(-1, each).repeat_interleave(weight.shape[0] * each // len(values), 0)
    return rows.reshape(*rows.shape, *[1] * (weight.ndim - 2))


def behind(module: fx.GraphModule, node: fx.Node, path: str, what: nn.Module) -> None:
    """Calls a module, which gets this path, on what comes out of a node, and hands on what it returns."""
    module.add_submodule(path, what)
    with module.graph.inserting_after(node):
        new = module.graph.call_module(path, (node,))
    node.replace_all_uses_with(new, lambda user: user is not new)
