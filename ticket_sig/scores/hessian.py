"""Second-order score: a weight's part in the curvature of the loss (after LeCun et al., 1990)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ticket_sig.scores.gradients import GradientScore, Losses


@dataclass(frozen=True, kw_only=True)
class Hessian(GradientScore):
    """|w * Hw|, H the Hessian of the loss by the masked weights; Hw is one product (Pearlmutter, 1994)."""

    def slopes(self, losses: Losses) -> list[Tensor]:
        """Hw for each masked weight; float64, in the order of `losses.weights`."""
        values = [w.detach() for w in losses.weights]

        def curved(loss: Tensor) -> tuple[Tensor, ...]:
            gradients = torch.autograd.grad(loss, losses.weights, create_graph=True, materialize_grads=True)
            along = torch.stack([(g * w).sum() for g, w in zip(gradients, values, strict=True)]).sum()
            return torch.autograd.grad(along, losses.weights, materialize_grads=True)

        return losses.sum(curved)
