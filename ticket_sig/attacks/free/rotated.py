"""The network rotated as a whole."""

from __future__ import annotations

import torch

from ticket_sig.attacks.free.network import Network, Strength, one_of
from ticket_sig.attacks.free.turning import mirroring, transposing


def rotated(network: Network, strength: Strength, draw: torch.Generator) -> Network:
    """Rotates every kernel by 90, 180 or 270 degrees: the same answers for rotated images."""
    for _ in range(1 + one_of(3, draw)):
        network = mirroring(transposing(network, strength), strength)
    return network
