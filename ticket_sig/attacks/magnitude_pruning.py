"""One-shot magnitude pruning (OMP): the thief removes the smallest weights that are left.

Source: Chen et al., NeurIPS 2021, section 4.3, Tables 5 and 6; of each layer: L1 pruning of IEEE 3304.
"""

from __future__ import annotations

from dataclasses import dataclass

from ticket_sig.attacks.attack import Attack, Attacked
from ticket_sig.attacks.scene import Scene, stolen
from ticket_sig.lottery.prune import prune_ticket
from ticket_sig.options import one_of, option, share
from ticket_sig.ticket import Ticket


@dataclass(frozen=True, kw_only=True)
class MagnitudePruning(Attack):
    """Removes the smallest share of the weights that are kept: of all together, or of each layer."""

    rate: float = option("Share of the kept weights to remove.", check=share)
    scope: str = option(
        "global (all layers together) or layerwise.", default="global", check=one_of(("global", "layerwise"))
    )

    def attacked(self, ticket: Ticket, scene: Scene) -> Attacked:
        """Returns the ticket with exactly round(rate * kept) weights fewer (of each layer), not retrained."""
        return Attacked(prune_ticket(stolen(ticket), self.rate, scope=self.scope))
