"""Second-order score: a weight's part in the curvature of the loss (after LeCun et al., 1990)."""

from __future__ import annotations

import torch
from torch import Tensor

from ticket_sig.scores.gradients import Losses
from ticket_sig.scores.scored import Scored


def hessian(scored: Scored) -> dict[str, Tensor]:
    """|w * Hw|, H the Hessian of the loss by the masked weights; Hw is one product (Pearlmutter, 1994).

    Raises:
        InputError: no network, no data, or the two and the ticket do not fit each other.
    """
    losses = Losses(scored)
    values = [w.detach().clone() for w in losses.weights]

    def curved(loss: Tensor) -> tuple[Tensor, ...]:
        gradients = torch.autograd.grad(loss, losses.weights, create_graph=True, materialize_grads=True)
        along = torch.stack([(g * w).sum() for g, w in zip(gradients, values, strict=True)]).sum()
        return torch.autograd.grad(along, losses.weights, materialize_grads=True)

    scores = [(w * hw).abs() for w, hw in zip(values, losses.sum(curved), strict=True)]
    return dict(zip(scored.ticket.mask, scores, strict=True))
