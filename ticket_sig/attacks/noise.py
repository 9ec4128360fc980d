"""Noise in the mask (fake2): a thief who does not know the encoding moves kept weights about.

Source: Chen et al., NeurIPS 2021, Table 7. Noise that only adds weights is `add_on`; this one also
removes as many, so that the number of kept weights says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ticket_sig.attacks.attack import Attack, Attacked
from ticket_sig.attacks.revive import SCALE, draw_positions, kept_spread, revive
from ticket_sig.attacks.scene import Scene, stolen
from ticket_sig.errors import bad_input
from ticket_sig.mask import Mask, no_layer
from ticket_sig.options import option, positive, share
from ticket_sig.ticket import Ticket, retie


@dataclass(frozen=True, kw_only=True)
class Noise(Attack):
    """Prunes exactly round(rate * kept) weights at random and puts as many back elsewhere."""

    rate: float = option("Share of the kept weights that move.", check=share)
    scale: float = option(SCALE, default=1.0, check=positive)
    layer: str | None = option(
        "Move weights within this layer alone; over all layers by default.", default=None
    )

    def attacked(self, ticket: Ticket, scene: Scene) -> Attacked:
        """Returns the ticket with as many weights kept, others.

        Raises:
            InputError: no layer of that name, or too few weights are pruned, or kept.
        """
        if self.layer is not None and self.layer not in ticket.mask:
            raise no_layer(ticket.mask, self.layer)
        chosen = {name: k for name, k in ticket.mask.items() if self.layer in (None, name)}
        count = round(self.rate * sum(int(k.sum()) for k in chosen.values()))
        free = sum(int((~k).sum()) for k in chosen.values())
        if count > free:
            raise bad_input("mask", "pruned weights", f"{count}, to put as many back", str(free))
        draw, spread = scene.draw("noise"), kept_spread(ticket, self.scale)
        gone = draw_positions(chosen, count, draw)
        back = draw_positions({name: ~k for name, k in chosen.items()}, count, draw)
        mask = Mask({name: k & ~gone[name] if name in gone else k for name, k in ticket.mask.items()})
        pruned = replace(stolen(ticket), weights=retie(ticket.weights, mask.apply(ticket.weights)), mask=mask)
        return Attacked(revive(pruned, back, spread, draw))
