"""Add-on: the thief puts noise at pruned positions, to cover the mask.

Source: Chen et al., NeurIPS 2021, section 4.3, Table 8. The rate is a share of the *pruned* weights: 19.369 %
kept becomes 19.369 + rate x 80.631 %. That is 19.772, 20.175, 20.982, 23.401 and 27.432 % for the five rates;
the table has 19.789, 20.179, 21.009, 23.386 and 27.402 %, each within 1.5 standard deviations of drawing
every pruned position with that chance. As a share of all weights it would be 19.869 to 29.369 %. The table
does not say how large its noise is.
"""

from __future__ import annotations

from dataclasses import dataclass

from ticket_sig.attacks.attack import Attack, Attacked
from ticket_sig.attacks.revive import SCALE, draw_positions, kept_spread, revive
from ticket_sig.attacks.scene import Scene, stolen
from ticket_sig.options import option, positive, share
from ticket_sig.ticket import Ticket


@dataclass(frozen=True, kw_only=True)
class AddOn(Attack):
    """Puts back exactly round(rate * pruned) weights, drawn over all layers."""

    rate: float = option("Share of the pruned weights to put back.", check=share)
    scale: float = option(SCALE, default=1.0, check=positive)

    def attacked(self, ticket: Ticket, scene: Scene) -> Attacked:
        """Returns the ticket with more weights kept; InputError where it keeps too few to measure."""
        pruned = {name: ~kept for name, kept in ticket.mask.items()}
        count = round(self.rate * (ticket.mask.total - ticket.mask.kept))
        draw, spread = scene.draw("add-on"), kept_spread(ticket, self.scale)
        return Attacked(revive(stolen(ticket), draw_positions(pruned, count, draw), spread, draw))
