"""The network rotated as a whole."""

from __future__ import annotations

import torch

from ticket_sig.attacks.free.network import Network, Strength, one_of
from ticket_sig.attacks.free.turning import mirroring, transposing


def rotated(network: Network, strength: Strength, draw: torch.Generator) -> Network:
    """Rotates every kernel by 90, 180 or 270 degrees: the same answers for rotated images."""
    turns = (
        (transposing, mirroring),
        (transposing, mirroring, transposing, mirroring),
        (mirroring, transposing),
    )
    for turn in turns[one_of(3, draw)]:
        network = turn(network, strength)
    return network
