"""Path count: how many input-output paths pass a kernel, all of them counted."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ticket_sig.scores import kernels
from ticket_sig.scores.scored import Scored


@dataclass(frozen=True, kw_only=True)
class PathCount(kernels.PathScore):
    """Log of how many paths of kept kernels, from an input to an output, pass a weight's kernel."""

    uses = frozenset({"network"})

    def __call__(self, scored: Scored) -> dict[str, Tensor]:
        graph, weights = kernels.graph_of(scored, self.residual)
        mask = scored.ticket.mask
        kept = [kernels.kept_kernels(link, weights, mask) for link in graph.links]
        through = kernels.through_kernels(graph, [there.double().log() for there in kept])
        return kernels.with_floor(kernels.of_weights(graph, mask, through, torch.logaddexp))
