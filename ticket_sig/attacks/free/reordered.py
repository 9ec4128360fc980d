"""Tensors in another order of the file."""

from __future__ import annotations

from dataclasses import replace

import torch

from ticket_sig.attacks.free.network import Network, Strength


def reordered(network: Network, strength: Strength, draw: torch.Generator) -> Network:
    """Lists the tensors, and those that are in the mask, in another order."""

    def shuffled(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(names[n] for n in torch.randperm(len(names), generator=draw))

    return replace(network, names=shuffled(network.names), masked=shuffled(network.masked))
