"""Permuting channels: a network that computes the same, its layers' rows and columns in another order.

Source: Yan et al., 2023 (arXiv 2205.00199): permuting and rescaling break white-box watermarks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ticket_sig.attacks.attack import Attack, Attacked
from ticket_sig.attacks.scene import Scene, stolen
from ticket_sig.formats.layouts import weights_for
from ticket_sig.mask import Mask
from ticket_sig.models import build_for
from ticket_sig.models.channels import eps_in, interchangeable, moved, scaled, streams, unscaled
from ticket_sig.models.graph import KernelGraph, kernel_graph
from ticket_sig.options import option, within
from ticket_sig.ticket import Ticket, retie


@dataclass(frozen=True, kw_only=True)
class PermuteChannels(Attack):
    """Puts the channels of every layer, and of residual streams, in another order; every answer stays.

    Channels of the network's inputs and outputs stay, and those that something works on which does not move
    along (group norms, weights shared by two layers).
    """

    rescale: float = option(
        "Channels are scaled by up to this factor, up or down, what reads them the other way; 1: not at all.",
        default=1.0,
        check=within(1, 1e6),
    )

    def attacked(self, ticket: Ticket, scene: Scene) -> Attacked:
        """Returns the ticket in another order.

        Raises:
            InputError: no recipe, weights that do not fit its network, or one that cannot be followed.
        """
        model = scene.model or build_for(scene.recipe_for(ticket).arch, ticket.weights)
        weights_for(model.state_dict(), ticket.weights)
        graph, draw = kernel_graph(model, norms=True), scene.draw("permute channels")
        order = _order(graph, draw)
        scales = _scales(graph, ticket, self.rescale, draw)
        weights, masks, eps_of = dict(ticket.weights), dict(ticket.mask), eps_in(model)
        for link in graph.links:
            if link.name in masks:
                masks[link.name] = moved(link, masks[link.name], order)
            for part, name in link.parts(weights).items():
                values = moved(link, weights[name].double(), order)
                values = scaled(link, part, values, scales, eps_of(str(link.name)))
                weights[name] = values.to(weights[name].dtype)
        return Attacked(replace(stolen(ticket), weights=retie(ticket.weights, weights), mask=Mask(masks)))


def _order(graph: KernelGraph, draw: torch.Generator) -> Tensor:
    """Which channel comes to each place, int64 [nodes]."""
    order = torch.arange(graph.nodes)
    for places in interchangeable(graph):
        order[places] = places[torch.randperm(len(places), generator=draw)]
    return order


def _scales(graph: KernelGraph, ticket: Ticket, most: float, draw: torch.Generator) -> Tensor:
    """By how much what each channel holds is scaled, float64 [nodes]: 1 where that would show."""
    stream = streams(graph)
    logs = torch.rand(graph.nodes, generator=draw, dtype=torch.float64) * 2 - 1
    logs[stream[unscaled(graph, ticket.weights)]] = 0
    return torch.as_tensor(most, dtype=torch.float64) ** logs[stream]
