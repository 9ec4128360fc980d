"""Which weights an attack on values may change, layer by layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from ticket_sig.attacks.scene import stolen
from ticket_sig.errors import bad_input
from ticket_sig.mask import memory_of
from ticket_sig.ticket import Ticket, retie

LAYER = "This layer's weights alone; those of all layers by default."  # an option


def changed(ticket: Ticket, layer: str | None, change: Callable[[Tensor], Tensor]) -> Ticket:
    """The ticket as a thief has it, with other values of its weights; pruned ones stay zero.

    Weights are those of convolutions and linear layers, prunable or not: biases and batch norms are left.
    Tied weights are changed once.

    Args:
        layer: name of one layer's weights; None: all.
        change: of a layer's kept weights, 1-D float64; gives as many new values.

    Raises:
        InputError: no layer of that name, or a new value is not finite in the weights' precision.
    """
    layers = weight_layers(ticket)
    if layer is not None and layer not in layers:
        raise bad_input("", "layer", f"one of the model's ({', '.join(layers)})", layer)
    weights = dict(ticket.weights)
    for name, kept in layers.items():
        if layer in (None, name) and kept.any():
            exact = weights[name].double()  # a copy; 8-bit floats have no arithmetic of their own
            exact = exact.masked_scatter(kept, change(exact[kept]))
            weights[name] = exact.to(weights[name].dtype)
    return replace(stolen(ticket), weights=retie(ticket.weights, weights))


def weight_layers(ticket: Ticket) -> dict[str, Tensor]:
    """The kept weights of each layer, boolean: in the mask's layers those it keeps, in the others all."""
    layers = dict(ticket.mask)
    known = {memory_of(ticket.weights[name]) for name in layers}
    for name, weights in ticket.weights.items():
        if weights.ndim >= 2 and weights.is_floating_point() and memory_of(weights) not in known:
            known.add(memory_of(weights))
            layers[name] = torch.ones(weights.shape, dtype=torch.bool)
    return layers
