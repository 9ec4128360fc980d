"""Random scores: what every other score has to beat (NeurIPS'21, section 3.3)."""

from __future__ import annotations

import torch
from torch import Tensor

from ticket_sig.scores.scored import Scored
from ticket_sig.training.batches import generator


def chance(scored: Scored) -> dict[str, Tensor]:
    """Uniform between 0 and 1, drawn for each layer by itself."""
    return {
        name: torch.rand(kept.shape, dtype=torch.float64, generator=generator(scored.seed, "chance", name))
        for name, kept in scored.ticket.mask.items()
    }
