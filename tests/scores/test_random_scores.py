"""Magnitude, chance and random paths."""

from __future__ import annotations

import torch
from support.kernel_paths import SmallNet, all_paths, pruned
from support.tickets import sparse_ticket

from ticket_sig.models.graph import kernel_graph
from ticket_sig.scores import Scored, score
from ticket_sig.scores.kernels import kept_kernels


def test_omp_is_the_magnitude_of_the_ticket_s_weights() -> None:
    ticket = sparse_ticket()
    scores = score("omp", Scored(ticket=ticket))
    assert list(scores) == list(ticket.mask)
    assert all(torch.equal(t, ticket.weights[n].abs().double()) for n, t in scores.items())


def test_random_is_uniform_and_of_its_seed() -> None:
    ticket = sparse_ticket()
    drawn = [score("random", Scored(ticket=ticket, seed=seed))["a.weight"] for seed in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
    assert abs(float(drawn[0].mean()) - 0.5) < 0.02 and float(drawn[0].min()) >= 0
    other = score("random", Scored(ticket=ticket))["b.weight"].flatten()
    assert not torch.equal(drawn[0].flatten()[:100], other[:100])


def test_each_path_is_as_likely_as_any_other() -> None:
    model = SmallNet()
    ticket = pruned(model, density=0.2)
    graph = kernel_graph(model)
    kept = [kept_kernels(link, ticket.weights, ticket.mask) for link in graph.links]
    paths = list(all_paths(graph, kept))
    passing = [torch.zeros(k.shape, dtype=torch.float64) for k in kept]
    for path in paths:
        for link, *at in path:
            passing[link][tuple(at)] += 1
    walks = 50_000
    scores = score("random-paths", Scored(ticket=ticket, model=model), paths=walks)
    for link, count in zip(graph.links, passing, strict=True):
        if link.name in ticket.mask:
            share = link.spread(count / len(paths), ticket.mask[link.name])
            assert (scores[link.name] / walks - share).abs().max() < 5 * 0.5 / walks**0.5
            assert (scores[link.name][share == 0] == 0).all()


def test_random_paths_have_a_number_of_their_own() -> None:
    model = SmallNet()
    ticket = pruned(model)
    scores = score("random-paths", Scored(ticket=ticket, model=model))
    kernels = scores["hidden.weight"].view(5, 6, 4)[:, :, 0]  # every path passes this layer
    assert int(kernels.sum()) == 100_000
