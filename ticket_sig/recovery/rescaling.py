"""Which scale each channel of a suspect has, measured against the reference.

A network of ReLUs computes the same when a channel is multiplied by a factor and what reads it is divided by
it. The weights between two channels then are multiplied by the quotient of their factors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ticket_sig.models.channels import streams, unscaled
from ticket_sig.models.graph import KernelGraph, Link

_SWEEPS = 10
_TRAINED = math.log(1.5)  # training alone moves a channel's scale by less
_SURE = 10.0  # times by which a scale exceeds how much a channel's weights differ in it
_ROUNDING = 1e-6
_BITS = 64  # of a scale


@dataclass(frozen=True)
class _Seen:
    """What two channels' scales differ by, as the weights between them show it.

    Attributes:
        here, there: float64 [groups, outputs, inputs], sizes of the weights that both networks keep, of
            reference and suspect. The suspect's are the reference's times the head's scale over the tail's.
        tails, heads: int64 [groups, inputs] and [groups, outputs], streams.
    """

    here: Tensor
    there: Tensor
    tails: Tensor
    heads: Tensor


def scales_of(
    graph: KernelGraph,
    weights: Mapping[str, Tensor],
    suspect: Mapping[str, Tensor],
    eps_of: Callable[[str], float],
    without: Collection[str] = (),
) -> Tensor:
    """The factor that the suspect's channels have more than the reference's: float64 [nodes of the graph].

    1 where another scale would show, where nothing tells, and where it is no more than training does: less
    than 1.5, unless the weights of the channel agree about it.

    Args:
        graph, weights: of the reference.
        suspect: tensors of the same names and shapes, channel by channel those of the reference.
        eps_of: of a batch norm, by the name of its weight.
        without: names of weights that are not looked at.
    """
    stream, fixed = _streams(graph, weights)
    links = [link for link in graph.links if link.name is not None and link.name not in without]
    seen = [one for link in links for one in _seen(link, weights, suspect, eps_of, stream)]
    logs, known = torch.zeros(len(stream), dtype=torch.float64), fixed.clone()
    for one in seen:
        found, evidence = _pooled([one], logs, known)
        new = ~known & (evidence > 0)
        logs, known = torch.where(new, found, logs), known | new
    for _ in range(_SWEEPS):
        found, evidence = _pooled(seen, logs, known)
        step = torch.where(fixed | (evidence == 0), 0.0, found - logs)
        logs = logs + step / 2  # half of it: neighbours move at the same time
        if float(step.abs().max()) < _ROUNDING:
            break
    far = logs.abs() > torch.clamp(_SURE * _deviations(seen, logs), max=_TRAINED) + _ROUNDING
    return torch.where(far, logs, 0.0).exp()[stream[:-1]]


def log10_scales(graph: KernelGraph, weights: Mapping[str, Tensor]) -> float:
    """log10 of the number of ways to choose the scales of `scales_of`, which are float64."""
    stream, fixed = _streams(graph, weights)
    return int((~fixed[torch.unique(stream)]).sum()) * _BITS * math.log10(2)


def _streams(graph: KernelGraph, weights: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The stream of each node, int64 [nodes + 1], and which streams have the scale they have, boolean.

    The last stands for no channel.
    """
    stream = torch.cat([streams(graph), torch.tensor([graph.nodes])])
    fixed = torch.zeros(len(stream), dtype=torch.bool)
    fixed[stream[unscaled(graph, weights)]] = fixed[-1] = True
    return stream, fixed


def _seen(
    link: Link,
    weights: Mapping[str, Tensor],
    suspect: Mapping[str, Tensor],
    eps_of: Callable[[str], float],
    stream: Tensor,
) -> Iterator[_Seen]:
    """What a link's tensors show: in a common unit, so that layers of small weights count as others."""
    names = link.parts(weights)
    tails, heads, nothing = stream[link.tails], stream[link.heads], stream[-1:].view(1, 1)

    def of_each(part: str, nodes: Tensor, size: Callable[[Tensor], Tensor]) -> Iterator[_Seen]:
        if part in names:
            here, there = (
                size(t[names[part]].detach().double()).reshape(1, -1, 1) for t in (weights, suspect)
            )
            yield _in_one_unit(here, there, nothing, nodes.reshape(1, -1))

    if link.norm:
        eps = eps_of(str(link.name))
        yield from of_each("running_var", tails, lambda var: (var + eps).clamp_min(0).sqrt())
        yield from of_each("weight", heads, torch.abs)
        yield from of_each("bias", heads, torch.abs)
    elif "weight" in names:
        here, there = (link.kernels(t[names["weight"]].detach().double()) for t in (weights, suspect))
        both = (here != 0) & (there != 0)
        yield _in_one_unit((here * both).abs().sum(3), (there * both).abs().sum(3), tails, heads)
        yield from of_each("bias", heads, torch.abs)


def _in_one_unit(here: Tensor, there: Tensor, tails: Tensor, heads: Tensor) -> _Seen:
    """Sizes over the mean of the reference's, where both are not zero."""
    both = (here > 0) & (there > 0)
    unit = float((here * both).sum() / both.sum().clamp_min(1)) or 1.0
    return _Seen(here * both / unit, there * both / unit, tails, heads)


def _pooled(seen: Sequence[_Seen], logs: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """The logarithm of each stream's scale, given its neighbours', and how much there is to tell it from."""
    total, evidence = torch.zeros_like(logs), torch.zeros_like(logs)

    def pool(ends: Tensor, here: Tensor, there: Tensor, sign: int) -> None:
        both = (here > 0) & (there > 0)
        found = torch.where(both, sign * (there / here).log(), 0.0) * here
        total.index_add_(0, ends.flatten(), found.flatten())
        evidence.index_add_(0, ends.flatten(), (here * both).flatten())

    for one in seen:
        tails, heads = logs[one.tails], logs[one.heads]
        read, written = known[one.tails].double()[:, None], known[one.heads].double()[:, :, None]
        level = one.there * tails.exp()[:, None]
        pool(one.heads, (one.here * read).sum(2), (level * read).sum(2), 1)
        level = one.there * (-heads).exp()[:, :, None]
        pool(one.tails, (one.here * written).sum(1), (level * written).sum(1), -1)
    return total / torch.where(evidence > 0, evidence, 1), evidence


def _deviations(seen: Sequence[_Seen], logs: Tensor) -> Tensor:
    """By which share the sizes of each stream's weights differ from the reference's, scales undone."""
    apart, size = torch.zeros_like(logs), torch.zeros_like(logs)
    for one in seen:
        undone = one.there * (logs[one.tails].exp()[:, None] * (-logs[one.heads]).exp()[:, :, None])
        for ends, axis in ((one.heads, 2), (one.tails, 1)):
            apart.index_add_(0, ends.flatten(), (undone - one.here).abs().sum(axis).flatten())
            size.index_add_(0, ends.flatten(), one.here.sum(axis).flatten())
    return apart / torch.where(size > 0, size, 1)
