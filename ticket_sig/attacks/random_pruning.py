"""Random pruning: the thief removes weights whatever their size.

Source: Chen et al., NeurIPS 2021, section 4.3, Table 6.
"""

from __future__ import annotations

from dataclasses import dataclass

from ticket_sig.attacks.scene import Scene, check_share, stolen
from ticket_sig.lottery.prune import prune_ticket
from ticket_sig.ticket import Ticket


@dataclass(frozen=True, kw_only=True)
class RandomPruning:
    """Removes a random share of the weights that are kept.

    Attributes:
        rate: share of the kept weights to remove, in (0, 1).
    """

    rate: float

    def __post_init__(self) -> None:
        check_share("rate", self.rate)

    def __call__(self, ticket: Ticket, scene: Scene) -> Ticket:
        """Returns the ticket with exactly round(rate * kept) weights fewer, not retrained."""
        return prune_ticket(stolen(ticket), self.rate, scope="random", seed=scene.seed)
