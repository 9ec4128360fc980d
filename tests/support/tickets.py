"""Tickets to sign, to read and to attack."""

from __future__ import annotations

import torch
from torch import Tensor

from support.tiny import TinyNet, tiny_recipe
from ticket_sig import Mask, Ticket
from ticket_sig.models import build, prunable_names
from ticket_sig.ticket import HistoryEntry
from ticket_sig.training import preset

HISTORY = (HistoryEntry(step="dense", kept=9, total=9, test=90.0),)


def sparse(*shape: int, density: float = 0.3, seed: int = 0) -> Tensor:
    """Normal weights of which about `density` are not zero."""
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=draw) * (torch.rand(*shape, generator=draw) < density)


def small_state() -> dict[str, Tensor]:
    """A state dict with a pruned weight, a bias and a count."""
    return {"a.weight": sparse(4, 3, 2, 2), "a.bias": torch.ones(4), "steps": torch.tensor(3)}


def sparse_ticket(density: float = 0.3, seed: int = 0, rewind: bool = False) -> Ticket:
    """A ticket with two layers that a version 3 code fits into, one that is too small, and a bias."""
    weights = {
        "a.weight": sparse(40, 36, 3, 3, density=density, seed=seed),
        "b.weight": sparse(64, 48, density=density, seed=seed + 1),
        "small.weight": sparse(8, 8, 3, 3, density=density, seed=seed + 2),
        "b.bias": torch.ones(64),
    }
    draw = torch.Generator().manual_seed(seed + 3)
    known = {name: torch.randn(w.shape, generator=draw) for name, w in weights.items()} if rewind else None
    return Ticket(weights=weights, mask=Mask.of_zeros(weights), rewind=known)


def tiny_ticket(rewind: bool = False) -> Ticket:
    """A trainable one, half of it pruned."""
    weights = {name: t.clone() for name, t in TinyNet().state_dict().items()}
    mask = Mask({n: weights[n].abs() > weights[n].abs().median() for n in ("c2.weight", "f1.weight")})
    known = {name: t.clone() for name, t in weights.items()} if rewind else None
    recipe = tiny_recipe().to_json()
    return Ticket(weights=mask.apply(weights), mask=mask, rewind=known, recipe=recipe, history=HISTORY)


def digits_ticket() -> Ticket:
    """ResNet-20 for digits, dense and not trained, with its recipe."""
    network = build("resnet20", 10, 1, seed=0)
    weights = {name: t.detach() for name, t in network.state_dict().items()}
    recipe = preset("demo", arch="resnet20", dataset="digits").to_json()
    mask = Mask.full({name: weights[name] for name in prunable_names(network)})
    return Ticket(weights=weights, mask=mask, recipe=recipe)
