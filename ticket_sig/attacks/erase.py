"""Erasing: an insider who knows the place of the code shuffles the kernels there.

Not in the paper, but the first thing its reader would try: fake3 with the place known, without a code.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ticket_sig.attacks.scene import Scene, check_share, stolen
from ticket_sig.errors import bad_input
from ticket_sig.mask import Mask, kernel_map
from ticket_sig.signatures import qr
from ticket_sig.ticket import Ticket, retie


@dataclass(frozen=True, kw_only=True)
class Erase:
    """Makes kept kernels of the code's region change places with pruned ones, drawn at random.

    As many kernels and weights stay kept as before. A kernel that need not move stays where it is: of a
    code that keeps half of its kernels, a quarter moves.

    Attributes:
        share: of the region's kernels to shuffle; all by default.
    """

    share: float | None = None

    def __post_init__(self) -> None:
        if self.share is not None:
            check_share("share", self.share)

    def __call__(self, ticket: Ticket, scene: Scene) -> Ticket:
        """Returns the ticket without the code.

        Raises:
            InputError: the place is not known, or the model has no such place.
        """
        if scene.signature is None:
            hint = "only an insider can erase: --claim FILE --insider"
            raise bad_input("attack", "place of the code", "the owner's signature", "none", hint=hint)
        place, side = scene.signature.placement, qr.side(scene.signature.version)
        shape = scene.signature.shape
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
        return replace(
            stolen(ticket), weights=retie(ticket.weights, {**ticket.weights, place.layer: weights}), mask=mask
        )

    def _moves(self, light: Tensor, scene: Scene) -> tuple[Tensor, Tensor]:
        """Boolean [side, side] each: kept kernels that move away, pruned ones they move to."""
        draw, flat = scene.draw("erase"), light.flatten()
        count = len(flat) if self.share is None else round(self.share * len(flat))
        chosen = torch.randperm(len(flat), generator=draw)[:count]
        shuffled = flat.clone()
        shuffled[chosen] = flat[chosen[torch.randperm(count, generator=draw)]]
        return (flat & ~shuffled).view_as(light), (~flat & shuffled).view_as(light)
