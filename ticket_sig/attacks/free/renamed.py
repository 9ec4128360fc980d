"""Tensors under other names, as in the best-known theft of a model (Llama3-V, 2024)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import fx, nn

from ticket_sig.attacks.free.network import Network, Strength, at, one_of, put

_WORDS = ("block", "branch", "cell", "core", "node", "part", "path", "proj", "stage", "stem", "trunk", "unit")


def renamed(network: Network, strength: Strength, draw: torch.Generator) -> Network:
    """Gives every module another name: each part of a name another word, or the modules numbers alone."""
    paths = sorted({name.rpartition(".")[0] for name in network.names} - {""})
    order = torch.randperm(len(_WORDS), generator=draw).tolist()
    if one_of(2, draw):
        numbers = torch.randperm(len(paths), generator=draw).tolist()
        flat = {path: f"{_WORDS[order[0]]}s.{n}" for path, n in zip(paths, numbers, strict=True)}
        return moved_to(network, flat.__getitem__)
    parts = sorted({part for path in paths for part in path.split(".") if not part.isdigit()})
    words = [f"{_WORDS[n % len(_WORDS)]}{n // len(_WORDS) or ''}" for n in range(len(parts))]
    new = {part: words[n] for part, n in zip(parts, torch.randperm(len(parts), generator=draw), strict=True)}
    return moved_to(network, lambda path: ".".join(new.get(part, part) for part in path.split(".")))


def moved_to(network: Network, new: Callable[[str], str]) -> Network:
    """The network with every module under another path; a parameter of the network itself keeps its name.

    Args:
        new: another path for each path of a module that has tensors, or that the network calls.
    """

    def name_of(name: str) -> str:
        path, _, last = name.rpartition(".")
        return f"{new(path)}.{last}" if path else last

    old, root = network.module, nn.Module()
    modules = dict(old.named_modules())
    graph = fx.Graph()
    made = dict[fx.Node, fx.Node]()
    for node in old.graph.nodes:
        made[node] = graph.node_copy(node, made.__getitem__)
        if node.op == "call_module":
            target = str(node.target)
            made[node].target = (
                new(target) if modules[target].state_dict() else f"plain.{target.replace('.', '_')}"
            )
            put(root, str(made[node].target), modules[target])
        elif node.op == "get_attr":
            made[node].target = name_of(str(node.target))
            above, _, last = str(node.target).rpartition(".")
            setattr(at(root, new(above) if above else ""), last, getattr(old.get_submodule(above), last))
    return network.with_module(fx.GraphModule(root, graph).eval(), {n: name_of(n) for n in network.names})
