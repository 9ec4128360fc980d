"""Channels of a suspect that its reference has not, removed where that changes nothing.

Removed are channels that hold zeros or that nothing reads, and channels that hold what another one holds, times
a positive number: what is read of both is added up. So nothing is left of zero neurons, cliques, split neurons,
and those with noise that cancels (arXiv 2303.09732). No more are removed than the reference has fewer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import torch
from torch import Tensor

from ticket_sig.errors import InputError
from ticket_sig.models.channels import interchangeable
from ticket_sig.models.graph import KernelGraph, Link, kernel_graph
from ticket_sig.models.resized import resized
from ticket_sig.recovery.comparing import PARALLEL
from ticket_sig.recovery.normed import affine_of, per_channel
from ticket_sig.recovery.reference import Reference
from ticket_sig.recovery.rounding import without_rounding
from ticket_sig.recovery.undone import Undone

_ROUNDS = 4
_PARTS = ("weight", "bias", "running_mean", "running_var")
_CONSTANT = 0.96  # how alike channels count that read nothing: they may be dead ones of the network's own


def reduced(weights: Mapping[str, Tensor], reference: Reference) -> tuple[dict[str, Tensor], list[Undone]]:
    """Removes redundant channels.

    Args:
        weights: under the reference's names, in any widths.
        reference: with a graph.

    Returns:
        The tensors, and how many channels were removed. Widths that no network of this architecture can have
        stay as they are.
    """
    assert reference.model is not None and reference.graph is not None
    own, current, removed = reference.ticket.weights, dict(weights), 0
    for _ in range(_ROUNDS):
        if all(current[name].shape == t.shape for name, t in own.items()):
            break
        try:
            graph = kernel_graph(resized(reference.model, current), norms=True)
        except InputError:
            break
        reduction = _Reduction(current, graph, reference)
        for strands in interchangeable(graph):
            reduction.reduce(strands)
        if not reduction.removed:
            break
        current, removed = reduction.smaller(), removed + reduction.removed
    return current, [Undone("redundant channels removed", removed, "channels")] if removed else []


class _Reduction:
    """One pass over all sets of channels that may change places."""

    def __init__(self, weights: Mapping[str, Tensor], graph: KernelGraph, reference: Reference) -> None:
        assert reference.model is not None and reference.graph is not None
        self._model, self._links = reference.model, graph.links
        self._weights = {name: t.clone(memory_format=torch.contiguous_format) for name, t in weights.items()}
        self._gone = torch.zeros(graph.nodes, dtype=torch.bool)
        self._place = torch.zeros(graph.nodes, dtype=torch.int64)
        self._writers, self._readers = defaultdict[int, list[int]](list), defaultdict[int, list[int]](list)
        for index, link in enumerate(graph.links):
            for nodes, known in ((link.heads, self._writers), (link.tails, self._readers)):
                for node in nodes.flatten().tolist():
                    known[node].append(index)
        pairs = zip(graph.links, reference.graph.links, strict=True)
        self._more = [ours.heads.numel() - theirs.heads.numel() for ours, theirs in pairs]
        self.removed = 0

    def reduce(self, strands: Tensor) -> None:
        """Removes what is redundant in a set of channels.

        Args:
            strands: int64 [channels, nodes of a channel], as `interchangeable` gives them.
        """
        writers = {i for node in strands[0].tolist() for i in self._writers[node] if not _is_single(self._links[i])}
        spare = min((self._more[i] for i in writers), default=0)
        if spare <= 0:
            return
        order = sorted(range(strands.shape[1]), key=lambda j: self._writers[int(strands[0, j])][:1])
        strands = strands[:, order]
        alive = torch.ones(len(strands), dtype=torch.bool)
        lengths, cosines = self._signatures(strands)
        spare -= self._drop_unused(strands, lengths, alive, spare)
        cosines.fill_diagonal_(0)
        pairs = (cosines.triu() > PARALLEL).nonzero()
        best = cosines[pairs[:, 0], pairs[:, 1]].argsort(descending=True, stable=True)
        for first, second in pairs[best].tolist():
            if spare and alive[first] and alive[second]:
                self._merge(strands[first], strands[second], lengths[first], lengths[second])
                alive[second], spare = False, spare - 1
        self._drop_unused(strands, lengths, alive, spare)
        count = int((~alive).sum())
        self.removed += count
        self._gone[strands[~alive]] = True
        for index in writers:
            self._more[index] -= count

    def smaller(self) -> dict[str, Tensor]:
        """The tensors without the channels that were removed."""
        new = dict(self._weights)
        for link in {k.name: k for k in self._links if k.name is not None}.values():
            rows, columns = (~self._gone[nodes.flatten()] for nodes in (link.heads, link.tails))
            prefix = str(link.name).removesuffix("weight")
            for name in (f"{prefix}{part}" for part in _PARTS):
                if name not in new or (bool(rows.all()) and bool(columns.all())):
                    continue
                values = new[name]
                if values.ndim == 1:
                    new[name] = values.reshape(len(rows), -1)[rows].flatten()
                elif _is_single(link) or link.shape[0] == 1:
                    new[name] = _cut(link, values, rows, columns)
        return new

    def _signatures(self, strands: Tensor) -> tuple[Tensor, Tensor]:
        """How large what each node holds is, float64 [channels, nodes]; and how alike channels are.

        What a node holds is told by the weights, and the bias, by which it is made of what others hold. Two
        channels that are equal in that, up to a factor, in all their nodes, are one (float64 [channels, channels]).
        """
        lengths = torch.zeros(strands.shape, dtype=torch.float64)
        alike = torch.ones(len(strands), len(strands), dtype=torch.float64)
        constant = torch.zeros(len(strands), dtype=torch.bool)
        column = {int(node): j for j, node in enumerate(strands[0])}
        for j in range(strands.shape[1]):
            parts = []
            for index in self._writers[int(strands[0, j])]:
                link = self._links[index]
                at = self._places(link.heads, strands[:, j])
                if _is_single(link):
                    before = lengths[:, column[int(link.tails.flatten()[at[0]])]]
                    parts += self._passed_on(link, at, before)
                else:
                    parts += self._rows(link, at)
                    constant |= (parts[-2] == 0).all(1)
            signature = torch.cat(parts, 1)
            lengths[:, j] = signature.norm(dim=1)
            unit = signature / torch.where(lengths[:, j] > 0, lengths[:, j], 1)[:, None]
            both_zero = (lengths[:, j] == 0)[:, None] & (lengths[:, j] == 0)[None]
            alike = torch.minimum(alike, torch.where(both_zero, 1.0, unit @ unit.T))
        alike[constant] = alike[constant].clamp_max(_CONSTANT)
        alike[:, constant] = alike[:, constant].clamp_max(_CONSTANT)
        return lengths, alike

    def _rows(self, link: Link, at: Tensor) -> list[Tensor]:
        """The rows of a layer at these places, and their biases: float64 [channels, ...] each."""
        kernels = link.kernels(self._weights[str(link.name)]).flatten(0, 1)
        return [kernels[at].flatten(1).double(), self._bias(link, at)]

    def _passed_on(self, link: Link, at: Tensor, before: Tensor) -> list[Tensor]:
        """The same of what works on each channel alone, which holds `before`."""
        if link.name is None:
            return [before[:, None]]
        if link.norm:
            prefix = link.name.removesuffix("weight")
            values = {p: self._weights[prefix + p] for p in _PARTS if prefix + p in self._weights}
            eps = float(getattr(self._model.get_submodule(prefix[:-1]), "eps", 0.0))
            affine = affine_of(per_channel(values, link.heads.numel()), eps)
            return [(affine.scale[at] * before)[:, None], affine.shift[at][:, None]]
        kernels = link.kernels(self._weights[link.name]).flatten(0, 1)
        return [kernels[at].flatten(1).double() * before[:, None], self._bias(link, at)]

    def _bias(self, link: Link, at: Tensor) -> Tensor:
        bias = self._weights.get(f"{str(link.name).removesuffix('weight')}bias")
        return torch.zeros(len(at), 1, dtype=torch.float64) if bias is None else bias[at].double()[:, None]

    def _drop_unused(self, strands: Tensor, lengths: Tensor, alive: Tensor, most: int) -> int:
        """Removes channels that hold zeros, or that nothing reads, wherever they could be read; returns how many."""
        used = torch.zeros(len(strands), dtype=torch.bool)
        for j in range(strands.shape[1]):
            for index in self._full_readers(int(strands[0, j])):
                link = self._links[index]
                at = self._places(link.tails, strands[:, j])
                columns = link.kernels(self._weights[str(link.name)])[at // link.shape[2], :, at % link.shape[2]]
                used |= (columns != 0).flatten(1).any(1) & (lengths[:, j] > 0)
        unused = (alive & ~used).nonzero()[:, 0][:most]
        alive[unused] = False
        return len(unused)

    def _merge(self, first: Tensor, second: Tensor, long: Tensor, other: Tensor) -> None:
        """What is read of the second channel is read of the first."""
        for j, (node, gone) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
            ratio = float(other[j] / long[j]) if long[j] > 0 else 0.0
            for index in self._full_readers(node):
                link = self._links[index]
                weight = self._weights[str(link.name)]
                kernels = link.kernels(weight)
                (group, place), (_, from_place) = (
                    divmod(int(self._places(link.tails, torch.tensor([n]))[0]), link.shape[2]) for n in (node, gone)
                )
                ours, theirs = kernels[group, :, place].double(), kernels[group, :, from_place].double() * ratio
                summed = without_rounding(ours + theirs, ours.square() + theirs.square(), weight.dtype)
                kernels[group, :, place] = summed.to(weight.dtype)
                kernels[group, :, from_place] = 0

    def _full_readers(self, node: int) -> list[int]:
        """The layers that read a node among others."""
        return [index for index in self._readers[node] if not _is_single(self._links[index])]

    def _places(self, nodes: Tensor, wanted: Tensor) -> Tensor:
        """Where some nodes stand among a layer's, counted in all."""
        flat = nodes.flatten()
        self._place[flat] = torch.arange(len(flat))
        return self._place[wanted]


def _is_single(link: Link) -> bool:
    """Whether it links channels one to one: a batch norm, a depthwise convolution, identities."""
    return link.shape[1:] == (1, 1)


def _cut(link: Link, weight: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """A layer's weight without some rows and columns."""
    if _is_single(link):
        return weight[rows]
    if link.transposed:
        return weight[columns][:, rows]
    each = weight.shape[1] // len(columns)  # the pixels of a channel, where a layer reads flattened images
    return weight[rows][:, columns.repeat_interleave(each)]
