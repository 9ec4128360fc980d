"""Channels that can change places, signs or scales while the network computes the same."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection

import torch
from torch import Tensor, nn

from ticket_sig.models.graph import KernelGraph, Link

# What mixes neighbours, or has a weight for each channel that does not move along: such channels stay.
_MIXING = {"parameter", "groupnorm", "localresponsenorm", "crossmaplrn2d"}
# Where a channel that comes in scaled goes out scaled; the names of functions and classes without `_`.
_NAMES = """
    conv1d conv2d conv3d convtranspose1d convtranspose2d convtranspose3d linear batchnorm batchnorm1d
    batchnorm2d batchnorm3d syncbatchnorm normrelu relu leakyrelu identity dropout dropout1d dropout2d
    dropout3d maxpool1d maxpool2d maxpool3d avgpool1d avgpool2d avgpool3d adaptiveavgpool1d
    adaptiveavgpool2d adaptiveavgpool3d adaptivemaxpool1d adaptivemaxpool2d adaptivemaxpool3d mean sum
    amax amin flatten view reshape squeeze unsqueeze getitem cat concat concatenate add iadd sub isub pad
    zeropad1d zeropad2d zeropad3d interpolate upsample abs clone contiguous detach to float half bfloat16
    double
"""
_SCALING = frozenset(_NAMES.split())
_ONE_SIDED = """
    normrelu relu leakyrelu maxpool1d maxpool2d maxpool3d adaptivemaxpool1d adaptivemaxpool2d
    adaptivemaxpool3d amax amin abs
"""
# Where a channel that comes in with the other sign goes out with the other sign.
_ODD = _SCALING - set(_ONE_SIDED.split()) | {"tanh", "softsign"}


Roles = tuple[tuple[tuple[int, int, bool], ...], ...]


def interchangeable(graph: KernelGraph) -> list[Tensor]:
    """Strands that may change places: for each set of them their nodes, int64 [strands, nodes of a strand].

    A strand is a channel with all that follows it one to one: through batch norms, depthwise convolutions and
    residual connections. Strands that pass through the same layers change places; corresponding nodes stand
    in one column.

    Args:
        graph: with batch norms (`kernel_graph(model, norms=True)`).
    """
    return list(strands_by_roles(graph).values())


def strands_by_roles(graph: KernelGraph) -> dict[Roles, Tensor]:
    """The sets of `interchangeable` by what each node of a strand is to the network's links.

    Returns:
        Under, for each node, (place of the link, group, whether the link reads it): the nodes of the set.
        Networks that differ in widths alone have the same roles.
    """
    strands = joined(graph, [link for link in graph.links if link.single])
    roles: list[list[tuple[int, int, bool]]] = [[] for _ in range(graph.nodes)]
    for index, link in enumerate(graph.links):
        for reads, nodes in ((True, link.tails), (False, link.heads)):
            for group, of_group in enumerate(nodes.tolist()):
                for node in of_group:
                    roles[node].append((index, 0 if link.single else group, reads))
    members = defaultdict(list)
    for node, strand in enumerate(strands.tolist()):
        members[strand].append((tuple(sorted(roles[node])), node))
    fixed = set(strands[unmoved(graph)].tolist())
    alike = defaultdict(list)
    for strand, found in members.items():
        known, places_of = zip(*sorted(found), strict=True)
        if strand not in fixed and len(set(known)) == len(known):
            alike[known].append(places_of)
    return {known: torch.tensor(places) for known, places in alike.items()}


def streams(graph: KernelGraph) -> Tensor:
    """Nodes that have one scale have one number, int64 [nodes]: those that identities join."""
    return joined(graph, [link for link in graph.links if link.name is None])


def unscaled(graph: KernelGraph, weights: Collection[str]) -> Tensor:
    """The nodes, int64, whose streams (`streams`) have the scale they have: another would show.

    Args:
        weights: names of the network's tensors. Behind a batch norm without a weight the scale is known.
    """
    bare = [link.heads.flatten() for link in _bare(graph, weights)]
    return torch.cat([unmoved(graph), *bare, *_passed(graph, _SCALING)])


def unflipped(graph: KernelGraph, weights: Collection[str]) -> Tensor:
    """The nodes, int64, whose streams have the sign they have; `weights` as of `unscaled`."""
    # Nothing takes a sign back behind a batch norm without a weight.
    bare = [nodes.flatten() for link in _bare(graph, weights) for nodes in (link.tails, link.heads)]
    return torch.cat([unmoved(graph), *bare, *_passed(graph, _ODD)])


def _bare(graph: KernelGraph, weights: Collection[str]) -> list[Link]:
    """The batch norms without a weight."""
    return [link for link in graph.links if link.norm and link.name not in weights]


def _passed(graph: KernelGraph, known: Collection[str]) -> list[Tensor]:
    """The nodes that other operations than the known ones work on."""
    return [nodes for name, nodes in graph.passed if _plain(name) not in known]


def unmoved(graph: KernelGraph) -> Tensor:
    """The nodes, int64, that everybody knows, and those that cannot be moved in one place alone."""
    uses = Counter(link.name for link in graph.links)
    shared = [link for link in graph.links if link.name is not None and uses[link.name] > 1]
    fixed = [graph.inputs, graph.outputs, *(nodes for n, nodes in graph.passed if _plain(n) in _MIXING)]
    fixed += [nodes.flatten() for link in shared for nodes in (link.tails, link.heads)]
    biased = [link for link in graph.links if link.bias is not None]
    times_of = Counter(link.bias for link in biased)
    fixed += [link.heads.flatten() for link in biased if times_of[link.bias] > 1]
    for link in graph.links:
        nodes, times = torch.unique(link.tails, return_counts=True)
        fixed.append(nodes[times > 1])  # joined to itself
    return torch.cat(fixed)


def joined(graph: KernelGraph, links: list[Link]) -> Tensor:
    """Nodes that links join one to one have one number, that of the least of them: int64 [nodes]."""
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


def moved(link: Link, values: Tensor, order: Tensor, into: Link | None = None) -> Tensor:
    """A layer's tensor with its rows and columns in a new order.

    Args:
        values: of any dtype: the weight, or a number, or one for each pixel, of every output [n].
        order: int64 [nodes], which node comes to each place; -1 for none: zeros come there.
        into: the link in another graph whose nodes the places are; the same link by default.
    """
    into = into or link
    if values.ndim == 1:
        rows = places_of(link.heads, order[into.heads]).flatten()
        each = values.reshape(link.heads.numel(), -1)[rows]
        return torch.where(rows[:, None] >= 0, each, each.new_zeros(())).flatten()
    new = moved_kernels(link, link.kernels(values), order, into)
    new = new.transpose(1, 2) if link.transposed else new
    return new.reshape(new.shape[0] * new.shape[1], -1, *values.shape[2:])


def moved_kernels(link: Link, kernels: Tensor, order: Tensor, into: Link) -> Tensor:
    """The same for kernels [groups, outputs, inputs, weights of a kernel]; the rows of a group stay in it."""
    _, outputs, inputs = link.shape
    rows, columns = places_of(link.heads, order[into.heads]), places_of(link.tails, order[into.tails])
    new = kernels[(rows // outputs)[:, :, None], (rows % outputs)[:, :, None], (columns % inputs)[:, None]]
    there = (rows >= 0)[:, :, None, None] & (columns >= 0)[:, None, :, None]
    return torch.where(there, new, new.new_zeros(()))


def places_of(nodes: Tensor, wanted: Tensor) -> Tensor:
    """Where in a layer some nodes stand: int64, in the shape of `wanted`, counted in all; -1 for nowhere.

    Args:
        nodes: int64 [groups, channels], of the layer. Of a node that stands in two places one is found, or
            where `wanted` has the same shape, its own.
    """
    stand = torch.arange(nodes.numel()).reshape(nodes.shape)
    most = int(nodes.max()) + 1
    places = torch.full((most + 1,), -1)  # the last is that of -1, and of larger ones
    places[nodes] = stand
    found = places[wanted.clamp(max=most)]
    return torch.where(wanted == nodes, stand, found) if wanted.shape == nodes.shape else found


def scaled(link: Link, part: str, values: Tensor, scales: Tensor, eps: float) -> Tensor:
    """A layer's tensor for channels that are scaled: before it and behind it.

    Args:
        part: "weight", "bias", "running_mean" or "running_var".
        values: float64.
        scales: float64 [nodes], not zero; below zero only where a channel can have the other sign.
        eps: of a batch norm.
    """
    before, behind = scales[link.tails], scales[link.heads]
    if part == "weight" and not link.norm:
        return values * link.spread(behind[:, :, None] / before[:, None], values)
    each = values.reshape(behind.numel(), -1)
    if part == "weight":  # of a batch norm: what it divides by has no sign
        each = each * (behind * before.sign()).reshape(-1, 1)
    elif part == "bias":
        each = each * behind.reshape(-1, 1)
    elif part == "running_mean":
        each = each * before.reshape(-1, 1)
    else:  # eps is added to the variance, and is not scaled with it
        each = (each + eps) * before.reshape(-1, 1) ** 2 - eps
    return each.reshape(values.shape)


def eps_in(model: nn.Module) -> Callable[[str], float]:
    """The number that a batch norm adds to variances, by the name of its weight; 0 of any other layer."""
    return lambda name: float(getattr(model.get_submodule(name.rpartition(".")[0]), "eps", 0.0))


def _plain(name: str) -> str:
    return name.replace("_", "").lower()
