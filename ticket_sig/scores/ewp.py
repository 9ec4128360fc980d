"""Edge-weight product: kernels on the heaviest input-output paths (NeurIPS'21, section 3.3, after PHEW)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ticket_sig.options import one_or_more, option
from ticket_sig.scores.kernels import (
    PathScore,
    graph_of,
    magnitudes,
    of_weights,
    through_kernels,
    with_floor,
)
from ticket_sig.scores.scored import Scored
from ticket_sig.scores.walks import walk


@dataclass(frozen=True, kw_only=True)
class EdgeWeightProduct(PathScore):
    """Log of the total, over all input-output paths through a weight's kernel, of the paths' products.

    The product of a path is that of its kernels' total |w|; an identity counts 1. All paths are taken at
    once: what arrives at a kernel's input, times the kernel, times what leads on from its output. Kernels
    on no path get a number lower than every other.

    With `paths`, so many are drawn instead. PHEW (Patil and Dovrolis, 2021) goes on from a unit in
    proportion to |w| of the next layer alone. Here it is |w| times all that follows: a path then has
    exactly the share of its product in the total, so the share of the walks that pass a kernel, times the
    total, is an unbiased estimate of what the sweep computes, with no weights to vary from walk to walk.
    """

    paths: int | None = option("Paths to draw; all, exactly, without.", default=None, check=one_or_more)

    def __call__(self, scored: Scored) -> dict[str, Tensor]:
        graph, weights = graph_of(scored, self.residual)
        logs = [magnitudes(link, weights) for link in graph.links]
        if self.paths is None:
            values = through_kernels(graph, logs)
        else:
            counts, total = walk(graph, logs, self.paths, scored.seed)
            values = [count.log() + (total - math.log(self.paths)) for count in counts]
        return with_floor(of_weights(graph, scored.ticket.mask, values, torch.logaddexp))
