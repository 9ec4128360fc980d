"""Random paths: kernels that many input-output paths pass, whatever their weights."""

from __future__ import annotations

from torch import Tensor

from ticket_sig.scores.kernels import graph_of, kept_kernels, of_weights
from ticket_sig.scores.scored import Scored
from ticket_sig.scores.walks import walk

PATHS = 100_000


def random_paths(scored: Scored) -> dict[str, Tensor]:
    """How many of `scored.paths` (`PATHS` where it is None) random paths pass the kernel of a weight.

    Paths lead along kept kernels from an input to an output; each of them is as likely as any other.

    Raises:
        InputError: the network cannot be followed, or no path leads through it.
    """
    graph, weights = graph_of(scored)
    mask = scored.ticket.mask
    logs = [kept_kernels(link, weights, mask).double().log() for link in graph.links]
    counts, _ = walk(graph, logs, PATHS if scored.paths is None else scored.paths, scored.seed)
    return of_weights(graph, mask, counts)
