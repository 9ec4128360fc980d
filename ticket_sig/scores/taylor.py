"""First-order Taylor score: how much the loss would change without a weight (Molchanov et al., 2017)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ticket_sig.scores.gradients import GradientScore, Losses


@dataclass(frozen=True, kw_only=True)
class Taylor(GradientScore):
    """|w * dL/dw|."""

    def slopes(self, losses: Losses) -> list[Tensor]:
        """dL/dw for each masked weight; float64, in the order of `losses.weights`."""
        return losses.gradient()
