"""Noise in the mask (fake2): a thief who does not know the encoding moves kept weights about.

Source: Chen et al., NeurIPS 2021, Table 7. Noise that only adds weights is `add_on`; this one also
removes as many, so that the number of kept weights says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ticket_sig.attacks.revive import draw_positions, kept_spread, revive
from ticket_sig.attacks.scene import Scene, check_positive, check_share, stolen
from ticket_sig.errors import bad_input
from ticket_sig.mask import Mask
from ticket_sig.ticket import Ticket, retie


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Prunes exactly round(rate * kept) weights at random and puts as many back elsewhere.

    Attributes:
        rate: share of the kept weights that move, in (0, 1).
        scale: standard deviation of the new weights, in those of their layer's kept weights.
        layer: move weights within this layer alone; over all layers by default.
    """

    rate: float
    scale: float = 1.0
    layer: str | None = None

    def __post_init__(self) -> None:
        check_share("rate", self.rate)
        check_positive(scale=self.scale)

    def __call__(self, ticket: Ticket, scene: Scene) -> Ticket:
        """Returns the ticket with as many weights kept, others.

        Raises:
            InputError: no layer of that name, or too few weights are pruned, or kept.
        """
        if self.layer is not None and self.layer not in ticket.mask:
            raise bad_input("", "layer", f"one of the mask's ({', '.join(ticket.mask)})", self.layer)
        chosen = {name: k for name, k in ticket.mask.items() if self.layer in (None, name)}
        count = round(self.rate * sum(int(k.sum()) for k in chosen.values()))
        free = sum(int((~k).sum()) for k in chosen.values())
        if count > free:
            raise bad_input("mask", "pruned weights", f"{count}, to put as many back", str(free))
        draw, spread = scene.draw("noise"), kept_spread(ticket)
        gone = draw_positions(chosen, count, draw)
        back = draw_positions({name: ~k for name, k in chosen.items()}, count, draw)
        mask = Mask({name: k & ~gone[name] if name in gone else k for name, k in ticket.mask.items()})
        pruned = replace(stolen(ticket), weights=retie(ticket.weights, mask.apply(ticket.weights)), mask=mask)
        return revive(pruned, back, {name: self.scale * std for name, std in spread.items()}, draw)
