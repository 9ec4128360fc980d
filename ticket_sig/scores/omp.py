"""One-shot magnitude: the score of a weight is its magnitude (NeurIPS'21, section 3.3)."""

from __future__ import annotations

from torch import Tensor

from ticket_sig.scores.scored import Scored


def omp(scored: Scored) -> dict[str, Tensor]:
    """|w| of every weight."""
    ticket = scored.ticket
    return {name: ticket.weights[name].detach().cpu().double().abs() for name in ticket.mask}
