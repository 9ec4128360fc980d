"""Channels of a suspect that hold what another one holds, times a number: merged.

What is read of both is added up. So split neurons become one, also those with noise that cancels, and
cliques (arXiv 2303.09732) become neurons that nothing reads. As many channels stay as the reference has.
What is too many then has no counterpart in the reference, and `alignment` leaves it out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from math import log10

import torch
from torch import Tensor, nn

from ticket_sig.errors import InputError
from ticket_sig.models.channels import Roles, eps_in, places_of, strands_by_roles, streams, unflipped
from ticket_sig.models.graph import KernelGraph, Link, kernel_graph
from ticket_sig.models.resized import resized
from ticket_sig.recovery.comparing import PARALLEL
from ticket_sig.recovery.normed import affine_of, per_channel
from ticket_sig.recovery.reference import Reference
from ticket_sig.recovery.rounding import without_rounding
from ticket_sig.recovery.undone import Undone

_ROUNDS = 4
_EQUAL = 1 - 1e-7  # cosine of what is equal up to rounding
# Cosine from which on channels are merged, and whether those are that hold a constant. They come last: dead
# channels of the network itself are alike, too, and must not be merged in place of copies.
_STAGES = ((_EQUAL, False), (PARALLEL, False), (_EQUAL, True), (PARALLEL, True))


def reduced(weights: Mapping[str, Tensor], reference: Reference) -> tuple[dict[str, Tensor], list[Undone]]:
    """Merges channels that hold the same, and removes those without a use, if the reference has none such.

    Args:
        weights: under the reference's names, in any widths.
        reference: with a graph.

    Returns:
        The tensors, and how many channels were merged with another one, or removed. Widths that no network of
        this architecture can have stay as they are.
    """
    assert reference.model is not None and reference.graph is not None
    known, current, merged, dropped = reference.ticket.weights, dict(weights), 0, 0
    theirs, done = strands_by_roles(reference.graph), set[tuple[float, bool]]()
    own = _Channels(
        known, reference.graph, reference.model, {r: nodes for r, nodes in theirs.items() if any(r)}
    )
    for limit, constants in (stage for stage in _STAGES for _ in range(_ROUNDS)):
        if all(current[name].shape == t.shape for name, t in known.items()):
            break
        if (limit, constants) in done:
            continue
        try:
            graph = kernel_graph(resized(reference.model, current), norms=True)
        except InputError:
            break
        ours = strands_by_roles(graph)
        wider = {r: nodes for r, nodes in ours.items() if any(r) and len(nodes) > len(theirs.get(r, nodes))}
        now = _Channels(current, graph, reference.model, wider, limit)
        count = 0
        for roles, strands in wider.items():
            more, unused = len(strands) - len(theirs[roles]), own.unused(theirs[roles])
            if limit == PARALLEL:  # what is not used may be what is too many
                more -= max(0, int(now.unused(strands).any(0).sum() - unused.any(0).sum()))
            joined = now.merge(roles, limit, more, constants)
            gone = now.drop(strands, ~unused.any(1), len(strands) - len(theirs[roles]) - joined)
            count, merged, dropped = count + joined + gone, merged + joined, dropped + gone
        if not count:
            done.add((limit, constants))
            continue
        current = now.smaller()
    told = ("merged", merged), ("without a use removed", dropped)
    return current, [Undone(what, count, "channels") for what, count in told if count]


def log10_reductions(reference: Reference) -> float:
    """log10 of the number of ways in which the reference can decide what is merged and removed (`reduced`).

    It decides by how many of its channels are not used, and by which of the three kinds (`unused`) it has.
    """
    assert reference.graph is not None
    sets = [nodes for roles, nodes in strands_by_roles(reference.graph).items() if any(roles)]
    return sum(log10(2**3 * (len(nodes) + 1)) for nodes in sets)


class _Channels:
    """The channels of a network: what they hold, and what reads them.

    Two channels hold the same, up to a factor, if the weights are the same by which they are made of what
    others hold. What others hold is compared before: so copies of a channel are one there.

    Args:
        sets: of the channels that are compared, by roles (`strands_by_roles`).
        limit: cosine beyond which two hold the same.
    """

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        graph: KernelGraph,
        model: nn.Module,
        sets: Mapping[Roles, Tensor],
        limit: float = _EQUAL,
    ) -> None:
        self._eps_of, self._links, self._sets, self._limit = eps_in(model), graph.links, sets, limit
        self._weights = {name: t.clone(memory_format=torch.contiguous_format) for name, t in weights.items()}
        self._gone = torch.zeros(graph.nodes, dtype=torch.bool)
        self._writers, self._readers = defaultdict[int, list[int]](list), defaultdict[int, list[int]](list)
        for index, link in enumerate(graph.links):
            for nodes, known in ((link.heads, self._writers), (link.tails, self._readers)):
                for node in nodes.flatten().tolist():
                    known[node].append(index)
        number = streams(graph)
        # Those that may hold the negative of a copy.
        self._flips = ~torch.isin(number, number[unflipped(graph, weights)])
        self._first = torch.arange(graph.nodes)  # of those that hold the same
        self._size = torch.ones(graph.nodes, dtype=torch.float64)
        self._ratio = torch.ones(graph.nodes, dtype=torch.float64)  # to what the first holds
        self._alike = {
            r: torch.ones(len(nodes), len(nodes), dtype=torch.float64) for r, nodes in sets.items()
        }
        self._compare()

    def _compare(self) -> None:
        """Goes forward through the nodes of all sets, and finds what holds the same."""
        columns = [
            (max(self._writers[int(s[0, j])], default=-1), r, j)
            for r, s in self._sets.items()
            for j in range(s.shape[1])
        ]
        constant = {r: torch.ones(len(nodes), dtype=torch.bool) for r, nodes in self._sets.items()}
        for _, roles, j in sorted(columns, key=lambda column: column[0]):
            nodes = self._sets[roles][:, j]
            made, dead = self._made_of(nodes)
            constant[roles] &= dead
            size = made.norm(dim=1)
            unit = made / torch.where(size > 0, size, 1)[:, None]
            zero = size == 0
            cosines = unit @ unit.T
            signs = torch.where(cosines < 0, -1.0, 1.0).double() if bool(self._flips[nodes].all()) else 1.0
            alike = torch.where(zero[:, None] & zero, 1.0, cosines * signs)
            same = (alike > self._limit) & ~zero
            first = torch.where(same, torch.arange(len(nodes)), len(nodes)).amin(1)
            first = torch.where(zero, torch.arange(len(nodes)), first)
            if isinstance(signs, Tensor):
                size = size * signs.gather(1, first[:, None])[:, 0]
            self._size[nodes], self._first[nodes] = size, nodes[first]
            self._ratio[nodes] = torch.where(zero, 0.0, size / torch.where(zero, 1.0, size[first]))
            self._alike[roles] = torch.minimum(self._alike[roles], alike)
        self._constant = constant

    def _made_of(self, nodes: Tensor) -> tuple[Tensor, Tensor]:
        """By which weights some nodes are made of what others hold, and their biases.

        Returns:
            float64 [nodes, ...]; and which of them no layer makes of anything, boolean [nodes].
        """
        parts, dead = list[Tensor](), torch.ones(len(nodes), dtype=torch.bool)
        for index in self._writers[int(nodes[0])]:
            link = self._links[index]
            at = places_of(link.heads, nodes)
            if link.single:
                before = link.tails.flatten()[at]
                parts += self._passed_on(link, at, self._size[before])
            else:
                parts += [self._rows(link, at), self._bias(link, at)]
                dead &= (parts[-2] == 0).all(1)
        return torch.cat(parts, 1) if parts else torch.zeros(len(nodes), 1, dtype=torch.float64), dead

    def merge(self, roles: Roles, limit: float, most: int, constants: bool) -> int:
        """Merges channels of a set that hold the same, the most alike first; returns how many are gone.

        Args:
            constants: whether pairs of which one holds a constant are looked at, or all others.
        """
        strands, cosines, constant = self._sets[roles], self._alike[roles].triu(1), self._constant[roles]
        pairs = (cosines > limit).nonzero()
        pairs = pairs[constant[pairs].any(1) == constants]
        order = cosines[pairs[:, 0], pairs[:, 1]].argsort(descending=True, stable=True)
        alive = ~self._gone[strands[:, 0]]
        before = int(alive.sum())
        for first, second in pairs[order].tolist():
            if most > 0 and alive[first] and alive[second]:
                added = self._added(strands[first], strands[second])
                # Dead channels of the network itself hold a constant, too, and are no copies of one another.
                if constants and not all(one.is_thinner() for one in added):
                    continue
                for one in added:
                    one.put()
                alive[second], most = False, most - 1
        self._gone[strands[~alive]] = True
        return before - int(alive.sum())

    def drop(self, strands: Tensor, kinds: Tensor, most: int) -> int:
        """Removes channels of a set that are not used; returns how many.

        Args:
            kinds: of `unused`, boolean [3]: those that the reference has none of.
        """
        found = (self.unused(strands) & kinds[:, None]).any(0) & ~self._gone[strands[:, 0]]
        chosen = found.nonzero()[:, 0][: max(0, most)]
        self._gone[strands[chosen]] = True
        return len(chosen)

    def unused(self, strands: Tensor) -> Tensor:
        """Which channels hold zeros where they are read, and which nothing reads: boolean [3, channels].

        Of the latter first those that a layer makes of something, then those that hold a constant.
        """
        zero, unread, constant = torch.ones(3, len(strands), dtype=torch.bool)
        for j in range(strands.shape[1]):
            made, dead = self._made_of(strands[:, j])
            constant &= dead
            for index in self._full_readers(int(strands[0, j])):
                link = self._links[index]
                at = places_of(link.tails, strands[:, j])
                weight = link.kernels(self._weights[str(link.name)])
                columns = weight[at // link.shape[2], :, at % link.shape[2]]
                unread &= (columns == 0).flatten(1).all(1)
                zero &= (made == 0).all(1)
        return torch.stack([zero & ~unread, unread & ~constant, unread & constant])

    def smaller(self) -> dict[str, Tensor]:
        """The tensors without the channels that were removed."""
        new = dict(self._weights)
        for link in {k.name: k for k in self._links if k.name is not None}.values():
            rows, columns = (~self._gone[nodes.flatten()] for nodes in (link.heads, link.tails))
            for name in () if rows.all() and columns.all() else link.parts(new).values():
                values = new[name]
                if values.ndim == 1:
                    new[name] = values.reshape(len(rows), -1)[rows].flatten()
                elif link.single or link.shape[0] == 1:
                    new[name] = _cut(link, values, rows, columns)
        return new

    def _rows(self, link: Link, at: Tensor) -> Tensor:
        """The rows of a layer at these places, what holds the same added up: float64 [places, ...]."""
        rows = link.kernels(self._weights[str(link.name)]).flatten(0, 1)[at].double()
        if len(link.tails) == 1:
            tails = link.tails[0]
            into = places_of(link.tails, self._first[tails])
            rows = torch.zeros_like(rows).index_add_(1, into, rows * self._ratio[tails][:, None])
        return rows.flatten(1)

    def _passed_on(self, link: Link, at: Tensor, before: Tensor) -> list[Tensor]:
        """The same of what works on each channel alone, which holds so much."""
        if link.name is None:
            return [before[:, None]]
        if link.norm:
            values = {part: self._weights[name] for part, name in link.parts(self._weights).items()}
            affine = affine_of(per_channel(values, link.heads.numel()), self._eps_of(link.name))
            return [(affine.scale[at] * before)[:, None], affine.shift[at][:, None]]
        kernels = link.kernels(self._weights[link.name]).flatten(0, 1)
        return [kernels[at].flatten(1).double() * before[:, None], self._bias(link, at)]

    def _bias(self, link: Link, at: Tensor) -> Tensor:
        bias = None if link.bias is None else self._weights.get(link.bias)
        return torch.zeros(len(at), 1, dtype=torch.float64) if bias is None else bias[at].double()[:, None]

    def _added(self, first: Tensor, second: Tensor) -> list[_Added]:
        """What is read of both of two channels, wherever something reads them."""
        found = []
        for node, gone in zip(first.tolist(), second.tolist(), strict=True):
            ratio = float(self._size[gone] / self._size[node]) if self._size[node] != 0 else 0.0
            for index in self._full_readers(node):
                link = self._links[index]
                kernels = link.kernels(self._weights[str(link.name)])
                places = [int(places_of(link.tails, torch.tensor(n))) for n in (node, gone)]
                (group, place), (_, other) = (divmod(at, link.shape[2]) for at in places)
                found.append(_Added(kernels[group, :, place], kernels[group, :, other], ratio))
        return found

    def _full_readers(self, node: int) -> list[int]:
        """The layers that read a node among others."""
        return [index for index in self._readers[node] if not self._links[index].single]


class _Added:
    """What is read of a channel and of its copy, which is `ratio` times the channel: [outputs, taps] each."""

    def __init__(self, own: Tensor, copy: Tensor, ratio: float) -> None:
        self._own, self._copy = own, copy
        ours, theirs = own.double(), copy.double() * ratio
        self._sum = without_rounding(ours + theirs, ours.square() + theirs.square(), own.dtype)

    def is_thinner(self) -> bool:
        """Whether the sum has no more weights than one of the two, as where one is a copy of the other."""
        counts = (int(torch.count_nonzero(t)) for t in (self._own, self._copy))
        return int(torch.count_nonzero(self._sum)) <= max(counts)

    def put(self) -> None:
        """Has all be read of the channel, and nothing of its copy; in place."""
        self._own.copy_(self._sum)
        self._copy.zero_()


def _cut(link: Link, weight: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """A layer's weight without some rows and columns."""
    if link.single:
        return weight[rows]
    if link.transposed:
        return weight[columns][:, rows]
    each = weight.shape[1] // len(columns)  # the pixels of a channel, where a layer reads flattened images
    return weight[rows][:, columns.repeat_interleave(each)]
