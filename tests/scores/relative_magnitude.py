"""Magnitude relative to the layer: a weight of a thin layer counts as much as one of a wide layer."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import normalize

from ticket_sig.options import option, positive
from ticket_sig.scores import Score, Scored


@dataclass(frozen=True, kw_only=True)
class RelativeMagnitude(Score):
    """|w| divided by the norm of its layer."""

    uses = frozenset()  # or some of "network", "data" and "seed"
    order: float = option("Order of the norm: 1 is the sum of the magnitudes.", default=2.0, check=positive)

    def __call__(self, scored: Scored) -> dict[str, Tensor]:
        weights = {n: scored.ticket.weights[n].detach().cpu().double() for n in scored.ticket.mask}
        return {n: normalize(w.abs().flatten(), self.order, dim=0).view_as(w) for n, w in weights.items()}
