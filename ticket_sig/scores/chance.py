"""Random scores: what every other score has to beat (NeurIPS'21, section 3.3)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ticket_sig.scores.scored import Score, Scored
from ticket_sig.training.batches import generator


@dataclass(frozen=True, kw_only=True)
class Chance(Score):
    """Uniform between 0 and 1, drawn for each layer by itself."""

    uses = frozenset({"seed"})

    def __call__(self, scored: Scored) -> dict[str, Tensor]:
        return {
            n: torch.rand(kept.shape, dtype=torch.float64, generator=generator(scored.seed, "chance", n))
            for n, kept in scored.ticket.mask.items()
        }
