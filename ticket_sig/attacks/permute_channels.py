"""Permuting channels: a network that computes the same, its layers' rows and columns in another order.

Source: Yan et al., 2023 (arXiv 2205.00199): permuting and rescaling break white-box watermarks.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ticket_sig.attacks.attack import Attack, Attacked
from ticket_sig.attacks.scene import Scene, stolen
from ticket_sig.formats.layouts import weights_for
from ticket_sig.mask import Mask
from ticket_sig.models import build_for
from ticket_sig.models.graph import KernelGraph, Link, kernel_graph
from ticket_sig.options import option, within
from ticket_sig.ticket import Ticket, retie

# What mixes neighbours, or has a weight for each channel that does not move along: such channels stay.
_MIXING = {"parameter", "groupnorm", "localresponsenorm", "crossmaplrn2d"}
# Where a channel that comes in scaled goes out scaled; the names of functions and classes without `_`.
_NAMES = """
    conv1d conv2d conv3d convtranspose1d convtranspose2d convtranspose3d linear batchnorm1d batchnorm2d
    batchnorm3d syncbatchnorm normrelu relu leakyrelu identity dropout dropout1d dropout2d dropout3d maxpool1d
    maxpool2d maxpool3d avgpool1d avgpool2d avgpool3d adaptiveavgpool1d adaptiveavgpool2d adaptiveavgpool3d
    adaptivemaxpool1d adaptivemaxpool2d adaptivemaxpool3d mean sum amax amin flatten view reshape squeeze
    unsqueeze getitem cat concat concatenate add iadd sub isub pad zeropad1d zeropad2d zeropad3d interpolate
    upsample abs clone contiguous detach to float half bfloat16 double
"""
_SCALING = frozenset(_NAMES.split())


@dataclass(frozen=True, kw_only=True)
class PermuteChannels(Attack):
    """Puts the channels of every layer, and of residual streams, in another order; every answer stays.

    Channels of the network's inputs and outputs stay, and those that something works on which does not move
    along (group norms, weights shared by two layers).
    """

    rescale: float = option(
        "Channels are scaled by up to this factor, up or down, what reads them the other way; 1: not at all.",
        default=1.0,
        check=within(1, 1e6),
    )

    def attacked(self, ticket: Ticket, scene: Scene) -> Attacked:
        """Returns the ticket in another order.

        Raises:
            InputError: no recipe, weights that do not fit its network, or one that cannot be followed.
        """
        model = scene.model or build_for(scene.recipe_for(ticket).arch, ticket.weights)
        weights_for(model.state_dict(), ticket.weights)
        graph, draw = kernel_graph(model, norms=True), scene.draw("permute channels")
        order = _order(graph, draw)
        scales = _scales(graph, ticket, self.rescale, draw)
        weights, masks = dict(ticket.weights), dict(ticket.mask)
        for link in graph.links:
            if link.name is None:
                continue
            if link.name in masks:
                masks[link.name] = _moved(link, masks[link.name], order)
            layer = link.name.removesuffix("weight")
            eps = float(getattr(model.get_submodule(layer.rstrip(".")), "eps", 0.0))
            for part in ("weight", "bias", "running_mean", "running_var"):
                if (name := f"{layer}{part}") in weights:
                    moved = _moved(link, weights[name].double(), order)
                    weights[name] = _scaled(link, part, moved, scales, eps).to(weights[name].dtype)
        return Attacked(replace(stolen(ticket), weights=retie(ticket.weights, weights), mask=Mask(masks)))


def _order(graph: KernelGraph, draw: torch.Generator) -> Tensor:
    """Which channel comes to each place, int64 [nodes].

    A strand is a channel with all that follows it one to one: through batch norms, depthwise convolutions and
    residual connections. Strands that pass through the same layers change places.
    """
    strands = _joined(graph, [link for link in graph.links if link.shape[1:] == (1, 1)])
    roles: list[list[tuple[int, int, bool]]] = [[] for _ in range(graph.nodes)]
    for index, link in enumerate(graph.links):
        for reads, nodes in ((True, link.tails), (False, link.heads)):
            for group, of_group in enumerate(nodes.tolist()):
                for node in of_group:
                    roles[node].append((index, 0 if link.shape[1:] == (1, 1) else group, reads))
    members = defaultdict(list)
    for node, strand in enumerate(strands.tolist()):
        members[strand].append((tuple(sorted(roles[node])), node))
    fixed = set(strands[_unmoved(graph)].tolist())
    alike = defaultdict(list)
    for strand, found in members.items():
        known, places_of = zip(*sorted(found), strict=True)
        if strand not in fixed and len(set(known)) == len(known):
            alike[known].append(places_of)
    order = torch.arange(graph.nodes)
    for known_alike in alike.values():
        places = torch.tensor(known_alike)
        order[places] = places[torch.randperm(len(places), generator=draw)]
    return order


def _scales(graph: KernelGraph, ticket: Ticket, most: float, draw: torch.Generator) -> Tensor:
    """By how much what each channel holds is scaled, float64 [nodes]: 1 where that would show."""
    streams = _joined(graph, [link for link in graph.links if link.name is None])
    logs = torch.rand(graph.nodes, generator=draw, dtype=torch.float64) * 2 - 1
    bare = [link.heads.flatten() for link in graph.links if link.norm and link.name not in ticket.weights]
    shown = [nodes for name, nodes in graph.passed if _plain(name) not in _SCALING]
    fixed = streams[torch.cat([_unmoved(graph), *bare, *shown])]
    logs[fixed] = 0
    return torch.as_tensor(most, dtype=torch.float64) ** logs[streams]


def _unmoved(graph: KernelGraph) -> Tensor:
    """The channels that everybody knows, and those that cannot be moved in one place alone."""
    uses = Counter(link.name for link in graph.links)
    shared = [link for link in graph.links if link.name is not None and uses[link.name] > 1]
    fixed = [graph.inputs, graph.outputs, *(nodes for n, nodes in graph.passed if _plain(n) in _MIXING)]
    fixed += [nodes.flatten() for link in shared for nodes in (link.tails, link.heads)]
    for link in graph.links:
        nodes, times = torch.unique(link.tails, return_counts=True)
        fixed.append(nodes[times > 1])  # joined to itself
    return torch.cat(fixed)


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


def _joined(graph: KernelGraph, links: list[Link]) -> Tensor:
    """Channels that links join one to one have one number, int64 [nodes]."""
    number = torch.arange(graph.nodes)
    ends = [(link.tails.flatten(), link.heads.flatten()) for link in links]
    changed = bool(ends)
    tails, heads = (torch.cat(side) for side in zip(*ends, strict=True)) if ends else (number, number)
    while changed:
        least = torch.minimum(number[tails], number[heads])
        new = number.scatter_reduce(0, tails, least, "amin").scatter_reduce(0, heads, least, "amin")
        new = new[new]
        changed, number = not torch.equal(new, number), new
    return number


def _moved(link: Link, values: Tensor, order: Tensor) -> Tensor:
    """A layer's tensor with its rows and columns in the new order."""
    groups, outputs, inputs = link.shape
    rows, columns = _places(link.heads, order), _places(link.tails, order)
    if values.ndim == 1:  # a number, or one for each pixel, of every output
        return values.reshape(groups * outputs, -1)[rows.flatten()].reshape(values.shape)
    kernels = link.kernels(values)
    moved = kernels[(rows // outputs)[:, :, None], (rows % outputs)[:, :, None], (columns % inputs)[:, None]]
    return (moved.transpose(1, 2) if link.transposed else moved).reshape(values.shape)


def _places(nodes: Tensor, order: Tensor) -> Tensor:
    """Where in a layer that which comes to each of its places stood: [groups, channels], counted in all."""
    position = torch.zeros_like(order)
    position[nodes.flatten()] = torch.arange(nodes.numel())
    return position[order[nodes]]


def _scaled(link: Link, part: str, values: Tensor, scales: Tensor, eps: float) -> Tensor:
    """A layer's tensor for channels that are scaled: before it and behind it."""
    before, behind = scales[link.tails], scales[link.heads]
    if part == "weight" and not link.norm:
        return values * link.spread(behind[:, :, None] / before[:, None], values)
    each = values.reshape(behind.numel(), -1)
    if part in ("weight", "bias"):
        each = each * behind.reshape(-1, 1)
    elif part == "running_mean":
        each = each * before.reshape(-1, 1)
    else:  # eps is added to the variance, and is not scaled with it
        each = (each + eps) * before.reshape(-1, 1) ** 2 - eps
    return each.reshape(values.shape)
