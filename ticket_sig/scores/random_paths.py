"""Random paths: kernels that many input-output paths pass, whatever their weights."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ticket_sig.options import one_or_more, option
from ticket_sig.scores.kernels import PathScore, graph_of, kept_kernels, of_weights
from ticket_sig.scores.scored import Scored
from ticket_sig.scores.walks import walk


@dataclass(frozen=True, kw_only=True)
class RandomPaths(PathScore):
    """How many of the random paths pass the kernel of a weight.

    Paths lead along kept kernels from an input to an output; each of them is as likely as any other.
    """

    paths: int = option("Paths to draw.", default=100_000, check=one_or_more)

    def __call__(self, scored: Scored) -> dict[str, Tensor]:
        graph, weights = graph_of(scored, self.residual)
        mask = scored.ticket.mask
        logs = [kept_kernels(link, weights, mask).double().log() for link in graph.links]
        counts, _ = walk(graph, logs, self.paths, scored.seed)
        return of_weights(graph, mask, counts)
