"""Scores that follow paths, exact, against networkx and against walks one at a time; and of large networks.

    python benchmarks/path_scores.py [--runs 5] [--small]

The peers work as the published codes do: networkx on the graph of kernels, and a loop in Python that
walks from an input to an output, one step and one walk at a time.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import networkx
import numpy as np
import torch
from embed import median_seconds
from scipy.stats import spearmanr
from torch import nn

from ticket_sig import Mask, Ticket, load
from ticket_sig.models import build, prunable_names
from ticket_sig.scores import Scored, score
from ticket_sig.scores.betweenness import kernel_edges
from ticket_sig.scores.kernels import graph_of, magnitudes
from ticket_sig.training.device import made_with

SHIPPED = Path(__file__).parents[1] / "checkpoints" / "resnet20-cifar10"
WALKS = 1000  # that the loop is timed over

Leaving = dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]]


def random_ticket(model: nn.Module, density: float) -> Ticket:
    """The network's own weights under a random mask."""
    weights, draw = dict(model.state_dict()), torch.Generator().manual_seed(0)
    mask = Mask({n: torch.rand(weights[n].shape, generator=draw) < density for n in prunable_names(model)})
    return Ticket(weights=mask.apply(weights), mask=mask)


def steps_of(scored: Scored) -> tuple[list[int], Leaving]:
    """Inputs and, for each node, the nodes that follow it, their probabilities, and the kernels between."""
    graph, weights = graph_of(scored, residual=False)
    tails, heads, sizes = [], [], []
    for link in graph.links:
        size = magnitudes(link, weights).exp()
        group, output, input_ = torch.nonzero(size, as_tuple=True)
        tails.append(link.tails[group, input_])
        heads.append(link.heads[group, output])
        sizes.append(size[group, output, input_])
    tail, head, size = (torch.cat(column).numpy() for column in (tails, heads, sizes))
    leaving = {}
    for node in np.unique(tail).tolist():
        kernels = np.flatnonzero(tail == node)
        leaving[node] = head[kernels], size[kernels] / size[kernels].sum(), kernels
    return graph.inputs.tolist(), leaving


def walk_one_by_one(inputs: list[int], leaving: Leaving, walks: int) -> dict[int, int]:
    """How many walks pass each kernel; the next node is drawn in proportion to |w|, as in PHEW."""
    draw, passed = np.random.default_rng(0), dict[int, int]()
    for _ in range(walks):
        node = inputs[draw.integers(len(inputs))]
        while node in leaving:
            heads, chances, kernels = leaving[node]
            chosen = draw.choice(len(heads), p=chances)
            kernel = int(kernels[chosen])
            passed[kernel] = passed.get(kernel, 0) + 1
            node = int(heads[chosen])
    return passed


def correlation(scored: Scored, paths: int) -> float:
    """Rank correlation of the products of so many sampled paths with those of all, over the kept weights."""
    kept = scored.ticket.mask
    exact, found = (
        torch.cat([scores[name][kept[name]] for name in kept])
        for scores in (score("ewp", scored, residual=False, paths=count) for count in (None, paths))
    )
    return float(spearmanr(exact, found).statistic)


def against_peers(name: str, scored: Scored, counts: list[int], runs: int) -> None:
    """Prints exact scores beside networkx and the loop, without residual edges."""
    tails, heads, _ = kernel_edges(*graph_of(scored, residual=False), scored.ticket.mask)
    edges = list(zip(tails.tolist(), heads.tolist(), strict=True))
    graph = networkx.Graph(edges)
    ours = median_seconds(lambda: score("betweenness", scored, residual=False), runs)
    slow = min(runs, 3)
    peer = median_seconds(lambda: networkx.edge_betweenness_centrality(graph, normalized=False), slow)
    print(
        f"{name}, {len(graph)} channels with an edge, {len(edges)} edges; median of {runs} (networkx {slow}):"
    )
    print(f"  betweenness: exact {ours:.4f} s, networkx {peer:.2f} s, ratio {peer / ours:.0f}")
    inputs, leaving = steps_of(scored)
    ours = median_seconds(lambda: score("ewp", scored, residual=False), runs)
    peer = median_seconds(lambda: walk_one_by_one(inputs, leaving, WALKS), runs)
    print(f"  edge-weight product: exact {ours:.4f} s, loop {peer:.3f} s for {WALKS} paths")
    for paths in counts:
        loop = peer * paths / WALKS
        print(
            f"    {paths} paths: rank correlation with exact {correlation(scored, paths):.4f}, "
            f"by the loop {loop:.1f} s, ratio {loop / ours:.0f}"
        )


def main() -> None:
    """Prints all measurements with hardware and versions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--small", action="store_true", help="seconds, not minutes; for tests")
    options = parser.parse_args()
    print({**made_with(torch.device("cpu"), "float64"), "networkx": networkx.__version__})

    if options.small:
        model: nn.Module = nn.Sequential(*(nn.Conv2d(8, 8, 3, bias=False) for _ in range(6)))
        scored, counts = Scored(ticket=random_ticket(model, 0.1), model=model), [10_000]
        against_peers("six layers of 8x8 kernels", scored, counts, options.runs)
    else:
        ticket = load(SHIPPED).ticket
        scored = Scored(ticket=ticket, model=build("resnet20", 10))
        counts = [10_000, 100_000, 1_000_000]
        against_peers("ResNet-20, the shipped ticket, no residual edges", scored, counts, options.runs)
    large = ("resnet20", "resnet20") if options.small else ("resnet50", "resnet18")
    for name, arch in zip(("ewp", "betweenness"), large, strict=True):
        model = build(arch, 10, seed=0)
        for density in (0.05, 0.2):
            scored = Scored(ticket=random_ticket(model, density), model=model)
            seconds = median_seconds(lambda s=scored, n=name: score(n, s), min(options.runs, 3))
            print(f"{name}, exact, {arch}, {density:.0%} of the weights at random: {seconds:.2f} s")


if __name__ == "__main__":
    main()
