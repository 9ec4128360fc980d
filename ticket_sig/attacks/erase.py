"""Erasing: an insider who knows the place of the code shuffles the kernels there.

Not in the paper, but the first thing its reader would try: fake3 with the place known, without a code.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from ticket_sig.attacks.attack import Attack, Attacked
from ticket_sig.attacks.scene import Scene, stolen
from ticket_sig.errors import bad_input
from ticket_sig.mask import Mask, kernel_map
from ticket_sig.options import option, share
from ticket_sig.ticket import Ticket, retie


@dataclass(frozen=True, kw_only=True)
class Erase(Attack):
    """Makes kept kernels of the code's region change places with pruned ones, drawn at random.

    As many kernels and weights stay kept as before. A kernel that need not move stays where it is: of a
    code that keeps half of its kernels, a quarter moves.
    """

    of_insiders: ClassVar[bool] = True

    share: float | None = option(
        "Share of the region's kernels to shuffle; all by default.", default=None, check=share
    )

    def attacked(self, ticket: Ticket, scene: Scene) -> Attacked:
        """Returns the ticket without the code; InputError where its place is not known, or not there."""
        if scene.place is None:
            hint = "only an insider can erase: --claim FILE --insider"
            raise bad_input("attack", "place of the code", "the owner's claim", "none", hint=hint)
        place, side, shape = scene.place.placement, scene.place.frame().side, scene.place.shape
        inside = 0 <= place.row <= shape[0] - side and 0 <= place.column <= shape[1] - side
        if place.layer not in ticket.mask or ticket.mask[place.layer].shape != shape or not inside:
            expected = f"{side}x{side} kernels from row {place.row}, column {place.column} of {place.layer}"
            raise bad_input("model", "place of the code", f"{expected}, of shape {list(shape)}", "none")
        kept, weights = ticket.mask[place.layer].clone(), ticket.weights[place.layer].clone()
        rows, columns = slice(place.row, place.row + side), slice(place.column, place.column + side)
        regions = kept[rows, columns], weights[rows, columns]
        source, target = self._moves(kernel_map(regions[0]), scene)
        for region in regions:
            region[target], region[source] = region[source], torch.zeros((), dtype=region.dtype)
        mask = Mask({**ticket.mask, place.layer: kept})
        changed = retie(ticket.weights, {**ticket.weights, place.layer: weights})
        return Attacked(replace(stolen(ticket), weights=changed, mask=mask))

    def _moves(self, light: Tensor, scene: Scene) -> tuple[Tensor, Tensor]:
        """Boolean [side, side] each: kept kernels that move away, pruned ones they move to."""
        draw, flat = scene.draw("erase"), light.flatten()
        count = len(flat) if self.share is None else round(self.share * len(flat))
        chosen = torch.randperm(len(flat), generator=draw)[:count]
        shuffled = flat.clone()
        shuffled[chosen] = flat[chosen[torch.randperm(count, generator=draw)]]
        return (flat & ~shuffled).view_as(light), (~flat & shuffled).view_as(light)
