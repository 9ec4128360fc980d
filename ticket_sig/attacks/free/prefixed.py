"""Tensors behind a prefix: the network stands in another module."""

from __future__ import annotations

import torch

from ticket_sig.attacks.free.network import Network, Strength, one_of
from ticket_sig.attacks.free.renamed import moved_to

_FRONTS = ("backbone", "base", "body", "encoder", "net", "student")


def prefixed(network: Network, strength: Strength, draw: torch.Generator) -> Network:
    """Puts a word before the name of every module, as a module does that holds the network."""
    front = _FRONTS[one_of(len(_FRONTS), draw)]
    return moved_to(network, lambda path: f"{front}.{path}")
