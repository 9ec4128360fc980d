"""Integrated gradients: what each weight adds on the way from none to all (Sundararajan et al., 2017)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ticket_sig.scores.gradients import GradientScore, Losses

STEPS = 16


@dataclass(frozen=True, kw_only=True)
class IntegratedGradients(GradientScore):
    """|w * mean of dL/dw at a * w|, a from 0 to 1 for all masked weights together.

    The mean is over the middles of `STEPS` steps. Without the magnitude, the scores would sum to the loss
    at w less the loss at zero.
    """

    def slopes(self, losses: Losses) -> list[Tensor]:
        """The mean gradient on the way; float64, in the order of `losses.weights`.

        Leaves the weights of the network at the last step of the way.
        """
        values = [w.detach().clone() for w in losses.weights]
        total = [torch.zeros(w.shape, dtype=torch.float64) for w in values]
        for step in range(STEPS):
            with torch.no_grad():
                for w, value in zip(losses.weights, values, strict=True):
                    w.copy_(value * ((step + 0.5) / STEPS))
            for part, gradient in zip(total, losses.gradient(), strict=True):
                part += gradient / STEPS
        return total
