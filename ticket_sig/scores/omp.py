"""One-shot magnitude: the score of a weight is its magnitude (NeurIPS'21, section 3.3)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ticket_sig.scores.scored import Score, Scored


@dataclass(frozen=True, kw_only=True)
class Magnitude(Score):
    """|w| of every weight."""

    uses = frozenset()

    def __call__(self, scored: Scored) -> dict[str, Tensor]:
        ticket = scored.ticket
        return {name: ticket.weights[name].detach().cpu().double().abs() for name in ticket.mask}
