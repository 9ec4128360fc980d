"""Quantization: the thief ships weights of a few values."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ticket_sig.attacks.attack import Attack, Attacked
from ticket_sig.attacks.scene import Scene, stolen
from ticket_sig.options import option, within
from ticket_sig.ticket import Ticket


@dataclass(frozen=True, kw_only=True)
class Quantization(Attack):
    """Rounds the weights of every layer to equally spaced values, of which zero is one."""

    bits: int = option("Bits of a weight.", default=3, check=within(2, 16))

    def attacked(self, ticket: Ticket, scene: Scene) -> Attacked:
        """Returns the ticket with rounded weights; the small ones of a layer are zero."""
        weights = dict(ticket.weights)
        for name in ticket.mask:
            exact = weights[name].double()
            step = exact.abs().max().clamp(min=1e-300) / (2 ** (self.bits - 1) - 1)
            weights[name] = (step * (exact / step).round()).to(weights[name].dtype)
        return Attacked(replace(stolen(ticket), weights=weights))
