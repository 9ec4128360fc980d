"""A small network, and all of its paths listed one by one: the reference of the scores that follow paths."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ticket_sig import Mask, Ticket
from ticket_sig.models import prunable_names
from ticket_sig.models.graph import KernelGraph

Step = tuple[int, int, int, int]  # link, group, output and input


class SmallNet(nn.Module):
    """Convolutions beside an identity and a projection, and a linear layer over 2x2 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding=1, bias=False)
        self.a = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.b = nn.Conv2d(4, 4, 1, bias=False)
        self.c = nn.Conv2d(4, 6, 3, padding=1, groups=2, bias=False)
        self.shortcut = nn.Conv2d(4, 6, 1, bias=False)
        self.hidden = nn.Linear(24, 5)
        self.last = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        x = x + self.b(self.a(x).relu())
        x = self.c(x) + self.shortcut(x)
        return self.last(self.hidden(x.flatten(1)).relu())


def pruned(model: nn.Module, density: float = 0.4, seed: int = 0) -> Ticket:
    """Drawn weights under a random mask."""
    draw = torch.Generator().manual_seed(seed)
    weights = {n: torch.randn(t.shape, generator=draw) for n, t in model.state_dict().items()}
    mask = Mask({n: torch.rand(weights[n].shape, generator=draw) < density for n in prunable_names(model)})
    return Ticket(weights=mask.apply(weights), mask=mask)


def all_paths(graph: KernelGraph, kept: list[Tensor]) -> Iterator[list[Step]]:
    """Every input-output path along kept kernels."""
    leaving: dict[int, list[tuple[int, Step]]] = {}
    for index, (link, there) in enumerate(zip(graph.links, kept, strict=True)):
        for group, output, input_ in there.nonzero().tolist():
            step = index, group, output, input_
            edge = int(link.heads[group, output]), step
            leaving.setdefault(int(link.tails[group, input_]), []).append(edge)
    outputs = set(graph.outputs.tolist())

    def go_on(node: int) -> Iterator[list[Step]]:
        if node in outputs:
            yield []
        for head, step in leaving.get(node, []):
            for rest in go_on(head):
                yield [step, *rest]

    for node in graph.inputs.tolist():
        yield from go_on(node)
