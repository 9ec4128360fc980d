"""Channels with the other sign, where that is invariant (arXiv 2205.00199)."""

from __future__ import annotations

import torch

from ticket_sig.attacks.free.network import Network, Strength
from ticket_sig.attacks.free.rescaled import in_units
from ticket_sig.models.channels import streams, unflipped
from ticket_sig.models.graph import kernel_graph


def flipped_signs(network: Network, strength: Strength, draw: torch.Generator) -> Network:
    """Flips the signs of channels before batch norms and odd functions, and of what reads them."""
    graph, state = kernel_graph(network.module, norms=True), network.module.state_dict()
    stream = streams(graph)
    signs = 1 - 2 * torch.randint(2, (graph.nodes,), generator=draw).double()
    bare = [link.tails.flatten() for link in graph.links if link.norm and link.name not in state]
    signs[stream[torch.cat([unflipped(graph, state.keys()), *bare])]] = 1
    return in_units(network, graph, signs[stream])
