"""Random walks from the inputs of a kernel graph to its outputs, all at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ticket_sig.models.graph import KernelGraph
from ticket_sig.scores.kernels import to_outputs
from ticket_sig.training.batches import generator

_BLOCK = 1 << 18


def walk(graph: KernelGraph, logs: Sequence[Tensor], walks: int, seed: int) -> tuple[list[Tensor], float]:
    """Draws input-output paths, each with the probability that its product has in the total of all.

    At each node, a walk takes a kernel with a probability proportional to the kernel times all that follows
    it: so every walk arrives, and none has to be weighted afterwards.

    Args:
        logs: log of each link's kernels, [groups, outputs, inputs]; minus infinity: cannot be passed.
        walks: how many, 1 or more.

    Returns:
        How many walks passed each kernel, float64, one tensor a link; and the log of the total.

    Raises:
        InputError: no path leads from the inputs to the outputs.
    """
    after = to_outputs(graph, logs)
    # Two nodes more: one that leads to every input, one that every output leads to.
    start, end = graph.nodes, graph.nodes + 1
    total = after[graph.inputs].logsumexp(0)
    after = torch.cat([after, total.view(1), torch.zeros(1, dtype=torch.float64)])
    tails, heads, shares, kernels = _edges(graph, logs, after)
    order = tails.argsort(stable=True)
    tails, heads, kernels = tails[order], heads[order], kernels[order]
    until = shares[order].cumsum(0)
    first = torch.searchsorted(tails, torch.arange(end + 1))
    before = torch.cat([torch.zeros(1, dtype=torch.float64), until])

    passed = torch.zeros(len(tails), dtype=torch.int64)
    draw = generator(seed, "walks")
    for begun in range(0, walks, _BLOCK):
        at = torch.full((min(_BLOCK, walks - begun),), start)
        while len(at):
            chance = torch.rand(len(at), generator=draw, dtype=torch.float64)
            low, high = first[at], first[at + 1]
            wanted = before[low] + chance * (before[high] - before[low])
            edge = torch.searchsorted(until, wanted, right=True).clamp(low, high - 1)
            passed += torch.bincount(edge, minlength=len(passed))
            at = heads[edge]
            at = at[at != end]
    counts = torch.zeros(sum(log.numel() for log in logs) + 1, dtype=torch.float64)
    counts.index_add_(0, kernels, passed.double())
    parts = torch.split(counts[:-1], [log.numel() for log in logs])
    return [part.view(log.shape) for part, log in zip(parts, logs, strict=True)], float(total)


def _edges(
    graph: KernelGraph, logs: Sequence[Tensor], after: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Every kernel that leads to an output: (tail, head, share of what leaves the tail, index of the kernel).

    Kernel indices run on from link to link; the artificial start and end edges get the last index.
    """
    start, end = graph.nodes, graph.nodes + 1
    parts, offset = [], 0
    for link, log in zip(graph.links, logs, strict=True):
        share = log + after[link.heads].unsqueeze(2)
        group, output, input_ = torch.nonzero(share > float("-inf"), as_tuple=True)
        tails, heads = link.tails[group, input_], link.heads[group, output]
        index = (group * log.shape[1] + output) * log.shape[2] + input_
        parts.append((tails, heads, (share[group, output, input_] - after[tails]).exp(), index + offset))
        offset += log.numel()
    inputs, outputs = graph.inputs, graph.outputs
    entered = (after[inputs] - after[start]).exp()
    left = (-after[outputs]).exp()
    none = torch.full((len(inputs) + len(outputs),), offset)
    parts.append((torch.full_like(inputs, start), inputs, entered, none[: len(inputs)]))
    parts.append((outputs, torch.full_like(outputs, end), left, none[len(inputs) :]))
    tails, heads, shares, kernels = (torch.cat(column) for column in zip(*parts, strict=True))
    return tails, heads, shares, kernels
