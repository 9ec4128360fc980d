"""First-order Taylor score: how much the loss would change without a weight (Molchanov et al., 2017)."""

from __future__ import annotations

from torch import Tensor

from ticket_sig.scores.gradients import Losses
from ticket_sig.scores.scored import Scored


def taylor(scored: Scored) -> dict[str, Tensor]:
    """|w * dL/dw|.

    Raises:
        InputError: no network, no data, or the two and the ticket do not fit each other.
    """
    losses = Losses(scored)
    pairs = zip(losses.weights, losses.gradient(), strict=True)
    scores = [(w.detach() * gradient).abs() for w, gradient in pairs]
    return dict(zip(scored.ticket.mask, scores, strict=True))
