"""Evening out: a thief who knows how the mirror code works takes the imbalance away that it lies in.

A pattern of kept taps and its mirror image become equally frequent in each layer. He needs no secret; what he
pays is accuracy.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ticket_sig.attacks.attack import Attack, Attacked
from ticket_sig.attacks.scene import Scene, stolen
from ticket_sig.errors import bad_input
from ticket_sig.mask import Mask
from ticket_sig.ticket import Ticket, retie


@dataclass(frozen=True, kw_only=True)
class EvenOut(Attack):
    """Mirrors kernels, left to right, with their weights: those that change least first.

    Of a pattern and its image that stand in an odd number of kernels one is left over: a coin says which.
    """

    def attacked(self, ticket: Ticket, scene: Scene) -> Attacked:
        """Returns the ticket with as many weights kept; InputError where no kernel has a width."""
        wide = [name for name, kept in ticket.mask.items() if kept.ndim > 2 and kept.shape[-1] > 1]
        if not wide:
            raise bad_input("model", "layers", "kernels with a width", "none that can be mirrored")
        weights, mask, draw = dict(ticket.weights), dict(ticket.mask), scene.draw("even out")
        for name in wide:
            chosen = _to_mirror(mask[name], weights[name], draw)
            mask[name] = torch.where(chosen, mask[name].flip(-1), mask[name])
            exact = weights[name].double()  # 8-bit floats know no `where`
            weights[name] = torch.where(chosen, exact.flip(-1), exact).to(weights[name].dtype)
        return Attacked(replace(stolen(ticket), weights=retie(ticket.weights, weights), mask=Mask(mask)))


def _to_mirror(kept: Tensor, weights: Tensor, draw: torch.Generator) -> Tensor:
    """Which kernels of a layer to mirror, boolean, [outputs, inputs, 1, ...]."""
    taps = kept.flatten(0, 1)
    pattern, image = _numbered(torch.cat([taps, taps.flip(-1)]).flatten(1), draw).view(2, -1)
    pair, side = torch.minimum(pattern, image), torch.sign(pattern - image)
    surplus = torch.zeros(2 * len(taps), dtype=torch.int64).index_add(0, pair, side)
    coins = torch.randint(2, surplus.shape, generator=draw)
    many = surplus.abs() // 2 + coins * (surplus.abs() % 2)
    of_more = (side != 0) & (side == torch.sign(surplus)[pair])
    kernels = weights.double().flatten(0, 1)
    cost = (kernels - kernels.flip(-1)).square().flatten(1).sum(1)
    cost = torch.where(of_more, cost, torch.inf)
    ranked = cost.argsort(stable=True)
    ranked = ranked[pair[ranked].argsort(stable=True)]
    starts = torch.zeros(2 * len(taps), dtype=torch.int64).index_add(0, pair, torch.ones_like(pair)).cumsum(0)
    rank = torch.empty_like(pair)
    rank[ranked] = torch.arange(len(pair)) - torch.cat([starts.new_zeros(1), starts[:-1]])[pair[ranked]]
    chosen = of_more & (rank < many[pair])
    return chosen.view(*kept.shape[:2], *[1] * (kept.ndim - 2))


def _numbered(taps: Tensor, draw: torch.Generator) -> Tensor:
    """A number for each pattern, from 0, int64 [kernels]: by sums of random words, equal by no chance."""
    words = torch.randint(2**62, (taps.shape[1],), generator=draw)
    sums = torch.zeros(len(taps), dtype=torch.int64)
    for word, tap in zip(words, taps.T, strict=True):
        sums += word * tap  # wraps around
    numbers: Tensor = torch.unique(sums, return_inverse=True)[1]
    return numbers
