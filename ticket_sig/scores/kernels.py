"""What the scores that follow paths share: the kernel graph of a ticket, and values of its kernels."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ticket_sig.errors import bad_input
from ticket_sig.formats.layouts import weights_for
from ticket_sig.mask import Mask
from ticket_sig.models.graph import KernelGraph, Link, kernel_graph
from ticket_sig.options import option
from ticket_sig.scores.scored import Score, Scored

_DEAD = -math.inf


@dataclass(frozen=True, kw_only=True)
class PathScore(Score):
    """A score of kernels by the paths that pass them; the seed is that of paths or sources drawn."""

    uses = frozenset({"network", "seed"})
    residual: bool = option("Residual connections are edges (the reference code has none).", default=True)


def graph_of(scored: Scored, residual: bool = True) -> tuple[KernelGraph, Mapping[str, Tensor]]:
    """Returns the kernel graph of the network, and the ticket's weights by name, on the CPU.

    Args:
        residual: whether residual connections are edges.

    Raises:
        InputError: no network, one that cannot be followed, weights that do not fit it, or masked
            tensors that its output does not pass.
    """
    network, ticket = scored.network(), scored.ticket
    weights = weights_for(network.state_dict(), ticket.weights)
    graph = kernel_graph(network, residual)
    if lacking := [name for name in ticket.mask if name not in graph.names]:
        expected = "weights of convolutions or linear layers that the output depends on"
        raise bad_input("mask", "names", expected, ", ".join(lacking))
    return graph, {name: weights[name].detach().cpu() for name in graph.names}


def kept_kernels(link: Link, weights: Mapping[str, Tensor], mask: Mask) -> Tensor:
    """Boolean [groups, outputs, inputs]: which kernels keep any weight; identities are there."""
    if link.name is None:
        return torch.ones(link.shape, dtype=torch.bool)
    kept = mask[link.name] if link.name in mask else weights[link.name] != 0
    return link.kernels(kept).any(3)


def magnitudes(link: Link, weights: Mapping[str, Tensor]) -> Tensor:
    """Logarithm of each kernel's total |w|, float64 [groups, outputs, inputs]; 0 of identities."""
    if link.name is None:
        return torch.zeros(link.shape, dtype=torch.float64)
    return link.kernels(weights[link.name]).abs().sum(3, dtype=torch.float64).log()


def of_weights(
    graph: KernelGraph,
    mask: Mask,
    values: Sequence[Tensor],
    add: Callable[[Tensor, Tensor], Tensor] = torch.add,
) -> dict[str, Tensor]:
    """Gives every weight of the mask the value of its kernel; a weight that layers share gets their sum.

    Args:
        values: of each link's kernels, float64 [groups, outputs, inputs].
        add: what a sum is: `torch.logaddexp` of logarithms.
    """
    scores: dict[str, Tensor] = {}
    for link, value in zip(graph.links, values, strict=True):
        if (name := link.name) is not None and name in mask:
            each = link.spread(value, mask[name])
            scores[name] = add(scores[name], each) if name in scores else each
    return {name: scores[name] for name in mask}


def with_floor(scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Puts a finite number, lower than every other, in place of minus infinity."""
    lowest = min(float(t.masked_fill(t == _DEAD, math.inf).min()) for t in scores.values())
    floor = lowest - 1 if math.isfinite(lowest) else 0.0
    return {name: t.clamp(min=floor) for name, t in scores.items()}


def through_kernels(graph: KernelGraph, logs: Sequence[Tensor]) -> list[Tensor]:
    """Log of the total of all input-output paths through each kernel, of the shape of `logs`.

    Args:
        logs: log of each link's kernels, [groups, outputs, inputs]; minus infinity: cannot be passed.

    Raises:
        InputError: no path leads from the inputs to the outputs.
    """
    after, before = to_outputs(graph, logs), from_inputs(graph, logs)
    return [
        before[link.tails].unsqueeze(1) + log + after[link.heads].unsqueeze(2)
        for link, log in zip(graph.links, logs, strict=True)
    ]


def to_outputs(graph: KernelGraph, logs: Sequence[Tensor]) -> Tensor:
    """Log of the total of all paths from each node to the outputs, float64 [nodes]; minus infinity: none.

    Args:
        logs: log of each link's kernels, [groups, outputs, inputs].

    Raises:
        InputError: no path leads from the inputs to the outputs.
    """
    links = [(k.heads, k.tails, log.transpose(1, 2)) for k, log in zip(graph.links, logs, strict=True)]
    after = _sweep(graph.outputs, links[::-1], graph.nodes)
    if not (after[graph.inputs] > _DEAD).any():
        raise bad_input("network", "disconnected", "a path of kept kernels from input to output", "none")
    return after


def from_inputs(graph: KernelGraph, logs: Sequence[Tensor]) -> Tensor:
    """The same from the inputs to each node."""
    links = [(k.tails, k.heads, log) for k, log in zip(graph.links, logs, strict=True)]
    return _sweep(graph.inputs, links, graph.nodes)


def _sweep(start: Tensor, links: Sequence[tuple[Tensor, Tensor, Tensor]], nodes: int) -> Tensor:
    """Sums of products over all paths, in logarithms: they neither overflow nor vanish in deep networks."""
    total = torch.full((nodes,), _DEAD, dtype=torch.float64).index_fill_(0, start, 0)
    for sources, ends, log in links:
        arriving = (log + total[sources].unsqueeze(1)).logsumexp(2)
        total = _log_add(total, ends.flatten(), arriving.flatten())
    return total


def _log_add(total: Tensor, nodes: Tensor, values: Tensor) -> Tensor:
    """Adds to some nodes, in logarithms; a node may be named more than once."""
    top = total.scatter_reduce(0, nodes, values, "amax")
    shift = top.masked_fill(top == _DEAD, 0)
    return (total - shift).exp().index_add(0, nodes, (values - shift[nodes]).exp()).log() + shift
