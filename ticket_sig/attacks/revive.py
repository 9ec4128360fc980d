"""Putting weights back at pruned positions: what add-on, noise and forged keys have in common."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ticket_sig.errors import bad_input
from ticket_sig.mask import Mask
from ticket_sig.ticket import Ticket, put_back, retie

SCALE = "Standard deviation of the new weights, in those of their layer's kept weights."  # an option


def draw_positions(candidates: Mapping[str, Tensor], count: int, draw: torch.Generator) -> dict[str, Tensor]:
    """Draws `count` of the True positions, all with the same chance whatever their layer.

    Args:
        candidates: boolean, by layer; at least `count` are True. What is drawn has the same form.
    """
    free = torch.cat([c.flatten() for c in candidates.values()])
    where = free.nonzero().flatten()
    drawn = torch.zeros_like(free)
    drawn[where[torch.randperm(len(where), generator=draw)[:count]]] = True
    parts = torch.split(drawn, [c.numel() for c in candidates.values()])
    return {name: part.view(c.shape) for (name, c), part in zip(candidates.items(), parts, strict=True)}


def revive(
    ticket: Ticket, where: Mapping[str, Tensor], spread: Mapping[str, float], draw: torch.Generator
) -> Ticket:
    """Returns the ticket with Gaussian weights at pruned positions; its rewind weights get the same ones.

    Args:
        where: boolean, by layer: the positions to put back.
        spread: by layer, the standard deviation of what is put back.
    """
    back = {name: w for name, w in where.items() if w.any()}
    values = {name: _gaussian(int(w.sum()), spread[name], draw) for name, w in back.items()}
    weights = retie(ticket.weights, put_back(ticket.weights, back, values))
    rewind = ticket.rewind and retie(ticket.rewind, put_back(ticket.rewind, back, values))
    mask = Mask({name: kept | back[name] if name in back else kept for name, kept in ticket.mask.items()})
    return replace(ticket, weights=weights, mask=mask, rewind=rewind)


def kept_spread(ticket: Ticket, scale: float) -> dict[str, float]:
    """`scale` standard deviations of every layer's kept weights; of all where a layer keeps fewer than two.

    Raises:
        InputError: the whole ticket does.
    """
    kept = {name: ticket.weights[name][k].double() for name, k in ticket.mask.items()}
    everything = torch.cat([*kept.values(), torch.empty(0, dtype=torch.float64)])
    overall = float(everything.std(correction=0)) if len(everything) > 1 else 0.0
    if not overall:
        raise bad_input("ticket", "kept weights", "two that differ, or more", "fewer")
    own = {n: float(k.std(correction=0)) if len(k) > 1 else 0.0 for n, k in kept.items()}
    return {n: scale * (std or overall) for n, std in own.items()}


def initial_spread(ticket: Ticket) -> dict[str, float]:
    """Standard deviation of every layer's initial weights (He et al., 2015, as in `models`)."""
    return {name: math.sqrt(2 / max(1, kept[0].numel())) for name, kept in ticket.mask.items()}


def _gaussian(count: int, spread: float, draw: torch.Generator) -> Tensor:
    values = torch.randn(count, generator=draw, dtype=torch.float64)
    # Kept means not zero, also after rounding to the weights' precision.
    return spread * torch.where(values.abs() < 1e-3, 1e-3, values)
