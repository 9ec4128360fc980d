"""Channels in other units (arXiv 2205.00199)."""

from __future__ import annotations

import torch
from torch import Tensor

from ticket_sig.attacks.free.network import DoesNotApply, Network, Strength
from ticket_sig.models.channels import eps_in, scaled, streams, unscaled
from ticket_sig.models.graph import KernelGraph, kernel_graph


def rescaled(network: Network, strength: Strength, draw: torch.Generator) -> Network:
    """Scales channels before ReLUs and batch norms, and what reads them the other way."""
    graph, state = kernel_graph(network.module, norms=True), network.module.state_dict()
    stream = streams(graph)
    logs = torch.rand(graph.nodes, generator=draw, dtype=torch.float64) * 2 - 1
    logs[stream[torch.cat([unscaled(graph, state.keys()), *_without_statistics(graph, state)])]] = 0
    scales = torch.as_tensor(strength.factor, dtype=torch.float64) ** logs[stream]
    return in_units(network, graph, torch.maximum(scales, _least(network, graph, stream)))


def in_units(network: Network, graph: KernelGraph, scales: Tensor) -> Network:
    """The network with its channels scaled.

    Args:
        scales: float64 [nodes], not zero.

    Raises:
        DoesNotApply: all scales are 1.
    """
    if bool((scales == 1).all()):
        raise DoesNotApply("no channel that may have another scale or sign")
    state, eps_of = network.module.state_dict(), eps_in(network.module)
    for link in graph.links:
        for part, name in link.parts(state).items():
            values = scaled(link, part, state[name].double(), scales, eps_of(str(link.name)))
            state[name] = values.to(state[name].dtype)
    return network.with_tensors(state)


def _without_statistics(graph: KernelGraph, state: dict[str, Tensor]) -> list[Tensor]:
    """What batch norms read that take mean and variance of the batch: eps is not scaled along."""
    return [k.tails.flatten() for k in graph.links if k.norm and "running_var" not in k.parts(state)]


def _least(network: Network, graph: KernelGraph, stream: Tensor) -> Tensor:
    """The least scales, float64 [nodes], by which no variance of a batch norm falls below zero."""
    state, least = network.module.state_dict(), torch.zeros(graph.nodes, dtype=torch.float64)
    eps_of = eps_in(network.module)
    for link in graph.links:
        if (name := link.parts(state).get("running_var")) is not None:
            eps, width = eps_of(str(link.name)), link.tails.numel()
            each = (eps / (state[name].double().clamp(min=0) + eps)).sqrt().reshape(width, -1).amax(1)
            each = (each * (1 + 1e-6)).clamp(max=1)  # more than rounding takes away
            least.scatter_reduce_(0, stream[link.tails.flatten()], each, "amax")
    return least[stream]
