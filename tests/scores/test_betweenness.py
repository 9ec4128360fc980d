"""Betweenness against networkx, and what stays true where networkx would take too long."""

from __future__ import annotations

from itertools import pairwise

import networkx as nx
import numpy as np
import pytest
import torch
from support.kernel_paths import SmallNet, pruned
from torch import nn

from ticket_sig import InputError, Mask, Ticket
from ticket_sig.models.graph import kernel_graph
from ticket_sig.scores import Scored, make, score
from ticket_sig.scores.betweenness import edge_betweenness, error_bound
from ticket_sig.scores.kernels import kept_kernels

Edges = tuple[np.ndarray, np.ndarray]


def layered(seed: int, residual: bool) -> Edges:
    """Kernels between layers of random widths and, with residual connections, identities beside them."""
    draw = np.random.default_rng(seed)
    widths = draw.integers(2, 9, draw.integers(3, 9))
    first = np.concatenate([[0], np.cumsum(widths)])
    tails, heads = [], []
    for k, (inputs, outputs) in enumerate(pairwise(widths)):
        near, far = np.nonzero(draw.random((inputs, outputs)) < draw.choice([0.2, 0.5, 1.0]))
        tails += [*(near + first[k]), first[k]]
        heads += [*(far + first[k + 1]), first[k + 1]]
    for k in range(len(widths)):
        for further in (1, 2) if residual else ():
            if k + further < len(widths) and draw.random() < 0.7:
                both = np.arange(min(widths[k], widths[k + further]))
                tails += [*(both + first[k])]
                heads += [*(both + first[k + further])]
    return np.array(tails), np.array(heads)


def by_networkx(tails: np.ndarray, heads: np.ndarray, directed: bool) -> np.ndarray:
    pairs = list(zip(tails.tolist(), heads.tolist(), strict=True))
    graph = nx.DiGraph(pairs) if directed else nx.Graph(pairs)
    values = nx.edge_betweenness_centrality(graph, normalized=False)
    return np.array([values.get((a, b), values.get((b, a))) for a, b in pairs])


@pytest.mark.parametrize("directed", [False, True])
@pytest.mark.parametrize("residual", [False, True])
def test_twenty_graphs_have_the_values_of_networkx(residual: bool, directed: bool) -> None:
    for seed in range(20):
        tails, heads = layered(seed, residual)
        found = edge_betweenness(tails, heads, directed)
        np.testing.assert_allclose(found, by_networkx(tails, heads, directed), rtol=1e-9, atol=1e-9)
        groups = np.unique(np.random.default_rng(seed).integers(0, heads.max(), 3))
        again = edge_betweenness(tails, heads, directed, groups=groups)
        np.testing.assert_allclose(again, found, rtol=1e-9, atol=1e-9)


def test_sparse_and_large_parts_have_the_values_of_networkx() -> None:
    draw = np.random.default_rng(0)
    near, far = np.nonzero(draw.random((150, 150)) < 0.02)
    tails, heads = np.concatenate([near, far + 150]), np.concatenate([far + 150, near + 300])
    expected = by_networkx(tails, heads, False)
    for groups in (None, np.array([0, 150, 300])):
        found = edge_betweenness(tails, heads, groups=groups)
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_more_paths_than_a_float_can_count() -> None:
    depth, width = 1500, 2
    nodes = np.arange(depth * width).reshape(depth, width)
    tails = np.repeat(nodes[:-1], width, axis=1).flatten()
    heads = np.tile(nodes[1:], (1, width)).flatten()
    for seed in range(3):
        found = edge_betweenness(tails, heads, directed=True, sources=1, seed=seed) / (depth * width)
        found = found.reshape(-1, 4)
        source = depth - np.count_nonzero(found.any(1)) - 1
        # All nodes behind two layers are reached through the four edges between them, evenly.
        behind = width * np.arange(depth - 2 - source, 0, -1)
        np.testing.assert_allclose(
            found.reshape(-1, 4)[source + 1 :], behind[:, None].repeat(4, 1) / 4, rtol=1e-9
        )


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("directed", [False, True])
def test_a_ticket_s_kernels_have_the_values_of_its_graph(residual: bool, directed: bool) -> None:
    model = SmallNet()
    ticket = pruned(model, density=0.1)
    scores = score("betweenness", Scored(ticket=ticket, model=model), residual=residual, directed=directed)
    edges = []
    for index, link in enumerate(kernel_graph(model, residual).links):
        if link.name is None or link.name in ticket.mask:
            kept = kept_kernels(link, ticket.weights, ticket.mask)
            for g, o, i in kept.nonzero().tolist():
                edges.append((int(link.tails[g, i]), int(link.heads[g, o]), index, (g, o, i)))
    expected = by_networkx(np.array([e[0] for e in edges]), np.array([e[1] for e in edges]), directed)
    links = kernel_graph(model, residual).links
    values = [torch.zeros(k.shape, dtype=torch.float64) for k in links]
    for (_, _, index, at), value in zip(edges, expected, strict=True):
        values[index][at] = value
    for link, value in zip(links, values, strict=True):
        if link.name in ticket.mask:
            assert torch.allclose(scores[link.name], link.spread(value, ticket.mask[link.name]))
    assert "first.weight" not in scores and "last.weight" not in scores


def test_edges_between_the_same_channels_are_one_and_share_its_value() -> None:
    tails, heads = np.array([0, 0, 1, 1]), np.array([1, 1, 2, 3])
    assert edge_betweenness(tails, heads).tolist() == [3, 3, 3, 3]


def test_sampled_sources_are_within_the_bound_and_all_are_exact() -> None:
    tails, heads = layered(3, True)
    exact = edge_betweenness(tails, heads)
    nodes = len(set(tails) | set(heads))
    assert np.array_equal(edge_betweenness(tails, heads, sources=nodes), exact)
    bound = error_bound(nodes, nodes // 2, edges=len(exact))
    samples = [edge_betweenness(tails, heads, sources=nodes // 2, seed=seed) for seed in range(200)]
    assert max(np.abs(sample - exact).max() for sample in samples) < bound
    np.testing.assert_allclose(np.mean(samples, 0), exact, rtol=0.2, atol=1)
    assert not np.array_equal(samples[0], samples[1])
    assert bound == pytest.approx(error_bound(nodes, 2 * nodes, edges=len(exact)) * 2)


def test_a_score_says_how_far_off_its_sample_can_be() -> None:
    model = SmallNet()
    scored = Scored(ticket=pruned(model, density=0.1), model=model)
    assert make("betweenness").error(scored) is None
    assert make("betweenness", sources=10_000).error(scored) == 0
    exact, sampled = score("betweenness", scored), score("betweenness", scored, sources=5)
    bound = make("betweenness", sources=5).error(scored)
    assert 0 < max(float((exact[n] - sampled[n]).abs().max()) for n in exact) < bound
    assert bound == pytest.approx(2 * make("betweenness", sources=20).error(scored))


def test_no_sources_and_no_edges_are_refused() -> None:
    model = SmallNet()
    with pytest.raises(InputError, match=r"^sources: expected 1 or more, found 0$"):
        score("betweenness", Scored(ticket=pruned(model), model=model), sources=0)
    chain = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2))
    mask = Mask({"1.weight": torch.zeros(2, 2, dtype=torch.bool)})
    ticket = Ticket(weights=mask.apply(chain.state_dict()), mask=mask)
    with pytest.raises(InputError, match="disconnected: expected edges between channels, found none"):
        score("betweenness", Scored(ticket=ticket, model=chain))
