"""Edge betweenness of the kernel graph (NeurIPS'21, section 3.3; Brandes, 2001)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor

from ticket_sig.errors import bad_input
from ticket_sig.mask import Mask
from ticket_sig.models.graph import KernelGraph
from ticket_sig.options import one_or_more, option
from ticket_sig.scores.kernels import PathScore, graph_of, kept_kernels, of_weights
from ticket_sig.scores.scored import Scored
from ticket_sig.training.batches import generator

_Ids = NDArray[np.int64]
_Floats = NDArray[np.float64]

_ENTRIES = 1 << 22  # of one matrix [nodes, sources]: 32 MiB
_SOURCES = 512
_GROUP = 32
_DENSE = 0.05  # from this density on a dense product is faster than a sparse one
_LARGE = 1e150
_CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Betweenness(PathScore):
    """Share of the shortest paths between two channels that pass a weight's kernel, over all pairs.

    As in the reference code, the edges are the kept kernels of the masked layers and each has length 1.
    Residual connections (identities) are edges too, unless `residual` is off. Several edges between the
    same two channels are one edge, whose value all of them get. Kernels that are not kept get 0. A weight
    that layers share gets the sum of theirs.
    """

    sources: int | None = option(
        "Channels to draw, whose paths are looked at; all without.", default=None, check=one_or_more
    )
    directed: bool = option("Edges are followed forwards only (not in the reference code).", default=False)

    def __call__(self, scored: Scored) -> dict[str, Tensor]:
        graph, weights = graph_of(scored, self.residual)
        mask = scored.ticket.mask
        tails, heads, kept = kernel_edges(graph, weights, mask)
        if not len(tails):
            raise bad_input("network", "disconnected", "edges between channels", "none")
        groups = np.unique([int(nodes.min()) for k in graph.links for nodes in (k.tails, k.heads)])
        found = edge_betweenness(tails, heads, self.directed, self.sources, scored.seed, groups)
        parts = torch.split(torch.from_numpy(found), [int(k.sum()) for k in kept])
        values = [
            torch.zeros(k.shape, dtype=torch.float64).masked_scatter_(k, part)
            for k, part in zip(kept, parts, strict=True)
        ]
        return of_weights(graph, mask, values)

    def error(self, scored: Scored) -> float | None:
        """`error_bound` of this sample, for all edges at once; 0 where it has all channels with an edge."""
        if self.sources is None:
            return None
        tails, heads, _ = kernel_edges(*graph_of(scored, self.residual), scored.ticket.mask)
        nodes = len(np.unique(np.concatenate([tails, heads])))
        return error_bound(nodes, self.sources, len(tails), self.directed) if self.sources < nodes else 0.0


def kernel_edges(
    graph: KernelGraph, weights: Mapping[str, Tensor], mask: Mask
) -> tuple[_Ids, _Ids, list[Tensor]]:
    """The kept kernels of the masked layers, and identities, as edges, in the order of the links.

    Returns:
        (tails, heads, kept): nodes, int64 [edges]; and which of each link's kernels they are, boolean
        [groups, outputs, inputs].
    """
    kept = [
        kept_kernels(link, weights, mask)
        if link.name is None or link.name in mask
        else torch.zeros(link.shape, dtype=torch.bool)
        for link in graph.links
    ]
    places = [torch.nonzero(k, as_tuple=True) for k in kept]
    tails = torch.cat([k.tails[g, i] for k, (g, _, i) in zip(graph.links, places, strict=True)])
    heads = torch.cat([k.heads[g, o] for k, (g, o, _) in zip(graph.links, places, strict=True)])
    return tails.numpy(), heads.numpy(), kept


def edge_betweenness(
    tails: _Ids,
    heads: _Ids,
    directed: bool = False,
    sources: int | None = None,
    seed: int = 0,
    groups: _Ids | None = None,
) -> _Floats:
    """Sum over pairs of nodes of the share of their shortest paths that pass an edge; float64 [edges].

    Not normalised: pairs are counted in both directions in a directed graph, once in an undirected one.
    Edges between the same two nodes are one edge, and all get its value.

    Args:
        tails, heads: int64 [edges], the nodes of each edge, under any numbers.
        sources: how many nodes are looked at, 1 or more, drawn by `seed`; None, or all there are: the
            exact value.
        groups: ascending, the first node of each group that has its edges in common, as the channels of a
            layer have: the speed depends on them and nothing else.
    """
    numbers, ends = np.unique(np.concatenate([tails, heads]), return_inverse=True)
    nodes, pairs = len(numbers), ends.reshape(2, -1)
    pairs = pairs if directed else np.sort(pairs, axis=0)
    edges, edge_of = np.unique(pairs[0] * nodes + pairs[1], return_inverse=True)
    starts = np.arange(0, nodes, _GROUP) if groups is None else np.searchsorted(numbers, groups)
    graph = _Graph(edges // nodes, edges % nodes, _merge(starts, nodes), directed)
    chosen = _choose(nodes, sources, seed)
    for part in graph.parts:
        inside = chosen[(chosen >= part.start) & (chosen < part.stop)]
        step = max(1, min(_SOURCES, _ENTRIES // nodes))
        for first in range(0, len(inside), step):
            graph.visit(inside[first : first + step])
    total = graph.total(len(edges)) * (nodes / len(chosen) * (1 if directed else 0.5))
    return np.asarray(total[edge_of.reshape(-1)])


def error_bound(nodes: int, sources: int, edges: int = 1, directed: bool = False) -> float:
    """How far off a sampled betweenness can be, with a confidence of 95 % (Brandes and Pich, 2007).

    From one source, an edge gets a number between 0 and nodes - 1: Hoeffding's inequality bounds how far the
    mean of those of a sample is from the mean of all. It holds for samples without replacement, too.

    Args:
        nodes: number of channels that have an edge.
        edges: for how many edges at once the bound holds.
    """
    largest = nodes * (nodes - 1) * (1 if directed else 0.5)
    return largest * math.sqrt(math.log(2 * edges / (1 - _CONFIDENCE)) / (2 * sources))


def _choose(nodes: int, sources: int | None, seed: int) -> _Ids:
    if sources is None or sources >= nodes:
        return np.arange(nodes)
    drawn = torch.randperm(nodes, generator=generator(seed, "sources"))[:sources]
    return drawn.sort().values.numpy()


def _merge(starts: _Ids, nodes: int) -> list[slice]:
    """All nodes in parts of neighbouring groups, none much smaller than `_GROUP`: each costs some calls."""
    cuts = [0]
    for start in np.unique(starts):
        if cuts[-1] + _GROUP <= start < nodes:
            cuts.append(int(start))
    return [slice(start, stop) for start, stop in zip(cuts, [*cuts[1:], nodes], strict=True)]


class _Block:
    """The edges from one part of the nodes, `near` the sources, to another, `far`, and what passes them."""

    def __init__(self, near: int, far: int, ends: tuple[_Ids, _Ids], shape: tuple[int, int], edges: _Ids):
        self.near, self.far, self._edges = near, far, edges
        self._near, self._far = ends
        matrix = csr_array((np.ones(len(edges)), (self._far, self._near)), shape=shape)
        self._dense = len(edges) > _DENSE * shape[0] * shape[1]
        self._out = matrix.toarray() if self._dense else matrix
        self._back = self._out.T if self._dense else matrix.T.tocsr()
        self._passed = np.zeros(shape if self._dense else len(edges))

    def arriving(self, paths: _Floats) -> _Floats:
        """Shortest paths that come over the edges: [near, sources] to [far, sources]."""
        return np.asarray(self._out @ paths)

    def leaving(self, paths: _Floats, share: _Floats) -> _Floats:
        """Notes what passes each edge, paths[near] * share[far]; returns what that is for each near node."""
        if self._dense:
            self._passed += share @ paths.T
        else:
            step = max(1, _ENTRIES // paths.shape[1])
            for first in range(0, len(self._edges), step):
                part = slice(first, first + step)
                at = paths[self._near[part]], share[self._far[part]]
                self._passed[part] += np.einsum("es,es->e", *at)
        return np.asarray(paths * (self._back @ share))

    def add_to(self, total: _Floats) -> None:
        """Adds what has passed; an edge within a part is there twice, once in each direction."""
        np.add.at(total, self._edges, self._passed[self._far, self._near] if self._dense else self._passed)


_Layer = dict[int, _Floats]  # of some parts of the nodes: [nodes of the part, sources]


class _Graph:
    """Shortest paths from many sources at once, their parts of the graph joined by products of matrices.

    Attributes:
        parts: node ranges (one or more layers) that are processed as one block; the nodes of a block usually
            have equal depth in a breadth-first search.
    """

    def __init__(self, tails: _Ids, heads: _Ids, parts: list[slice], directed: bool) -> None:
        self.parts, self._nodes = parts, parts[-1].stop
        edges = np.arange(len(tails))
        if not directed:
            tails, heads = np.concatenate([tails, heads]), np.concatenate([heads, tails])
            edges = np.concatenate([edges, edges])
        starts = np.array([part.start for part in parts])
        near, far = (np.searchsorted(starts, ends, side="right") - 1 for ends in (tails, heads))
        order = np.argsort(near * len(parts) + far, kind="stable")
        tails, heads, edges, near, far = (column[order] for column in (tails, heads, edges, near, far))
        bounds = np.flatnonzero(np.diff(near * len(parts) + far)) + 1
        self._blocks: dict[int, list[_Block]] = {index: [] for index in range(len(parts))}
        for rows in np.split(np.arange(len(order)), bounds):
            a, b = int(near[rows[0]]), int(far[rows[0]])
            ends = tails[rows] - starts[a], heads[rows] - starts[b]
            shape = parts[b].stop - parts[b].start, parts[a].stop - parts[a].start
            self._blocks[a].append(_Block(a, b, ends, shape, edges[rows]))

    def total(self, edges: int) -> _Floats:
        """What has passed each edge in all visits."""
        total = np.zeros(edges)
        for blocks in self._blocks.values():
            for block in blocks:
                block.add_to(total)
        return total

    def visit(self, sources: _Ids) -> None:
        """Adds, to every edge, its shares of the shortest paths from these sources to all nodes."""
        depends = np.zeros((self._nodes, len(sources)))
        for paths, used, grown in reversed(self._steps(sources)):
            # A path to a far node or beyond leads through the near nodes before it, in proportion.
            share = {
                far: np.divide(1 + depends[self.parts[far]], g, out=np.zeros_like(g), where=g > 0)
                for far, g in grown.items()
            }
            for block in used:
                if block.far in share:
                    depends[self.parts[block.near]] += block.leaving(paths[block.near], share[block.far])

    def _steps(self, sources: _Ids) -> list[tuple[_Layer, list[_Block], _Layer]]:
        """Breadth first: for each distance (shortest paths to the nodes there, blocks, arriving behind them).

        Only proportions of paths from one source matter: where their numbers become large, they are scaled.
        """
        seen = np.zeros((self._nodes, len(sources)), dtype=bool)
        seen[sources, np.arange(len(sources))] = True
        paths = {i: seen[p].astype(np.float64) for i, p in enumerate(self.parts) if seen[p].any()}
        steps = []
        while paths:
            blocks = (block for near in paths for block in self._blocks[near])
            used = [block for block in blocks if not seen[self.parts[block.far]].all()]
            grown: _Layer = {}
            for block in used:
                arriving = block.arriving(paths[block.near])
                grown[block.far] = grown[block.far] + arriving if block.far in grown else arriving
            for far, g in grown.items():
                g[seen[self.parts[far]]] = 0
                seen[self.parts[far]] |= g > 0
            grown = {far: g for far, g in grown.items() if g.any()}
            steps.append((paths, used, grown))
            paths = _scaled(grown)
        return steps


def _scaled(grown: _Layer) -> _Layer:
    top = np.max([g.max(0) for g in grown.values()], axis=0, initial=0)
    if top.max(initial=0) < _LARGE:
        return grown
    return {far: g / np.maximum(top, 1) for far, g in grown.items()}
