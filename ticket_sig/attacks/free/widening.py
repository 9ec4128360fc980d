"""More channels than before: copies of channels, which nothing reads at first.

Copies of a channel stand right behind it in every tensor, also where it passes through batch norms, depthwise
convolutions, residual connections and concatenations. All dummy neurons are made of them.
Source: Yan et al., 2023 (arXiv 2303.09732), which names zero, clique and split neurons.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from ticket_sig.attacks.free.network import DoesNotApply, Network, Strength, some_of
from ticket_sig.models.channels import joined, unmoved
from ticket_sig.models.graph import KernelGraph, Link, kernel_graph
from ticket_sig.models.resized import resized

# What works on each channel alone and makes zero of zero; names as in `KernelGraph.passed`, without `_`.
_NAMES = """
    conv1d conv2d conv3d convtranspose1d convtranspose2d convtranspose3d linear batchnorm batchnorm1d
    batchnorm2d batchnorm3d syncbatchnorm relu relu6 leakyrelu elu selu celu gelu silu mish tanh softsign
    hardswish identity dropout dropout1d dropout2d dropout3d maxpool1d maxpool2d maxpool3d avgpool1d avgpool2d
    avgpool3d adaptiveavgpool1d adaptiveavgpool2d adaptiveavgpool3d adaptivemaxpool1d adaptivemaxpool2d
    adaptivemaxpool3d mean sum amax amin flatten view reshape squeeze unsqueeze getitem cat concat concatenate
    add iadd sub isub pad zeropad1d zeropad2d zeropad3d interpolate upsample abs clone contiguous detach to
    float half bfloat16 double
"""
_ALONE = frozenset(_NAMES.split())

Strand = Tensor  # int64, the nodes of a channel and of all that follows it one to one


class Copy(NamedTuple):
    """A copy of a channel in a tensor.

    Attributes:
        place, own: where the copy and the channel itself stand among the tensor's channels.
        turn: 1 for a channel's first copy, and so on.
        strand: the number of its strand among those that were chosen.
    """

    place: int
    own: int
    turn: int
    strand: int


@dataclass(frozen=True)
class Wider:
    """A network with copies of channels, and where they stand.

    Attributes:
        network: the changed one; what is done to its tensors in place is kept.
        links: its layers and batch norms, in new numbers of nodes.
        own: int64 [nodes], the number of a channel itself in place of that of its copy.
        strand: int64 [nodes], as `Copy.strand`; -1 where nothing was chosen.
    """

    network: Network
    links: tuple[Link, ...]
    own: Tensor
    strand: Tensor

    def reading(self) -> Iterator[tuple[Tensor, list[Copy]]]:
        """The kernels [outputs, inputs, weights of a kernel] of each layer that reads copies."""
        state = self.network.module.state_dict()
        for link in self.links:
            if link.name and not link.single and (found := self._copies(link.tails)):
                yield link.kernels(state[link.name])[0], found

    def writing(self) -> Iterator[tuple[Tensor, Tensor | None, list[Copy]]]:
        """The kernels of each layer that writes copies, as of `reading`, and its bias [outputs].

        A depthwise convolution is such a layer, with one input.
        """
        state = self.network.module.state_dict()
        for link in self.links:
            if link.name and not link.norm and (found := self._copies(link.heads)):
                weight, bias = state[link.name], link.parts(state).get("bias")
                kernels = weight.view(len(weight), 1, -1) if link.single else link.kernels(weight)[0]
                yield kernels, None if bias is None else state[bias], found

    def norms(self) -> Iterator[tuple[dict[str, Tensor], list[Copy]]]:
        """The tensors of each batch norm of copies, each [channels, pixels]."""
        state = self.network.module.state_dict()
        for link in self.links:
            if link.norm and (found := self._copies(link.heads)):
                names, width = link.parts(state), link.heads.numel()
                yield {part: state[name].view(width, -1) for part, name in names.items()}, found

    def silence(self, strands: Sequence[int]) -> None:
        """Has the copies of some chosen strands write zeros everywhere."""
        for kernels, bias, copies in self.writing():
            for copy in copies:
                if copy.strand in strands:
                    kernels[copy.place] = 0
                    if bias is not None:
                        bias[copy.place] = 0
        for tensors, copies in self.norms():
            for copy in copies:
                for part in ("bias", "running_mean"):
                    if copy.strand in strands and part in tensors:
                        tensors[part][copy.place] = 0

    def _copies(self, nodes: Tensor) -> list[Copy]:
        numbers = nodes.flatten().tolist()
        places = {node: place for place, node in enumerate(numbers)}
        own, strand = self.own[nodes.flatten()].tolist(), self.strand[nodes.flatten()].tolist()
        return [
            Copy(place, places[own[place]], node - own[place], strand[place])
            for place, node in enumerate(numbers)
            if node != own[place]
        ]


def widened(network: Network, strength: Strength, draw: torch.Generator, copies: int = 1) -> Wider:
    """Gives a share of the channels copies: what writes them writes the copies, and nothing reads those.

    Raises:
        InputError: an operation cannot be followed, which is named.
        DoesNotApply: there is no channel that may have another one beside it.
    """
    graph, strands = _strands(network)
    chosen = [strands[n] for n in some_of(len(strands), strength.share, draw)]
    counts = torch.ones(graph.nodes, dtype=torch.int64)
    counts[torch.cat(chosen)] = 1 + copies
    starts, own = counts.cumsum(0) - counts, torch.arange(graph.nodes)
    strand = torch.full((graph.nodes,), -1)
    for number, nodes in enumerate(chosen):
        strand[nodes] = number
    new = torch.repeat_interleave(own, counts)  # the old number of each new node

    def places(nodes: Tensor) -> tuple[Tensor, Tensor]:
        """For channels of a tensor: where each of the new ones stood, and its number."""
        nodes = nodes.flatten()
        stood = torch.repeat_interleave(torch.arange(len(nodes)), counts[nodes])
        first = counts[nodes].cumsum(0) - counts[nodes]
        return stood, starts[nodes][stood] + torch.arange(len(stood)) - first[stood]

    state, links = dict(network.module.state_dict()), []
    for link in graph.links:
        (rows, heads), (columns, tails) = places(link.heads), places(link.tails)
        shape = (-1, 1) if link.single else (link.shape[0], -1)
        links.append(replace(link, heads=heads.reshape(shape), tails=tails.reshape(shape)))
        if (len(rows), len(columns)) == (link.heads.numel(), link.tails.numel()):
            continue
        read = tails == starts[new[tails]]
        for name in link.parts(state).values():
            state[name] = _repeated(link, state[name], rows, columns, read)
    module = resized(network.module, state)
    return Wider(network.with_module(module), tuple(links), starts[new], strand[new])


def _strands(network: Network) -> tuple[KernelGraph, list[Strand]]:
    """The graph of a network, and its channels that may have copies; errors as of `widened`."""
    graph = kernel_graph(network.module, norms=True)
    number = joined(graph, [link for link in graph.links if link.single])
    other = [nodes for name, nodes in graph.passed if name.replace("_", "").lower() not in _ALONE]
    dense = [link for link in graph.links if not link.single]
    grouped = [nodes.flatten() for k in dense if k.shape[0] > 1 for nodes in (k.tails, k.heads)]
    fixed = number[torch.cat([unmoved(graph), graph.counted, *other, *grouped])]
    read = torch.cat([number[link.tails.flatten()] for link in dense])
    written = torch.cat([number[link.heads.flatten()] for link in dense])
    free = torch.unique(read[torch.isin(read, written) & ~torch.isin(read, fixed)])
    if not len(free):
        raise DoesNotApply("no channel that may have another one beside it")
    order = torch.argsort(number, stable=True)
    starts, ends = (torch.searchsorted(number[order], free, right=right).tolist() for right in (False, True))
    return graph, [order[start:end] for start, end in zip(starts, ends, strict=True)]


def _repeated(link: Link, old: Tensor, rows: Tensor, columns: Tensor, read: Tensor) -> Tensor:
    """A tensor of a layer for channels that stand several times.

    Args:
        rows, columns: where each of the new outputs and inputs stood.
        read: boolean, which of the new inputs are read.
    """
    if old.ndim == 1 or link.single:
        return old.reshape(link.heads.numel(), -1)[rows].reshape(-1, *old.shape[1:])
    kernels = link.kernels(old)[0][rows][:, columns] * read[:, None].to(old.dtype)
    if link.transposed:
        kernels = kernels.transpose(0, 1)
    kernels = kernels.flatten(1) if old.ndim == 2 else kernels.reshape(*kernels.shape[:2], *old.shape[2:])
    return kernels.contiguous()


def another_row(kernels: Tensor, own: int, draw: torch.Generator) -> Tensor:
    """A random row for kernels [outputs, inputs, weights of a kernel], of the size of one that is there.

    From each input it has the kernel of some other output, and so it reads in the units of the inputs: a
    dummy neuron's answer is of the size of others', and cancels to rounding. It reads nothing that no other
    row reads.
    """
    sizes = root_mean_square(kernels, 1)
    rows = torch.randint(len(kernels), (kernels.shape[1],), generator=draw)
    factors = torch.where(sizes > 0, sizes[own] / sizes, 0).to(kernels.dtype)
    return kernels[rows, torch.arange(len(rows))] * factors[rows, None]


def root_mean_square(kernels: Tensor, over: int) -> Tensor:
    """The size of each row (`over` 1) or column (`over` 0) of kernels, float64 [outputs] or [inputs]."""
    return kernels.double().square().mean((over, 2)).sqrt()
