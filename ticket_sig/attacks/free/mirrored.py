"""The network mirrored as a whole."""

from __future__ import annotations

import torch

from ticket_sig.attacks.free.network import Network, Strength, one_of
from ticket_sig.attacks.free.turning import mirroring, transposing


def mirrored(network: Network, strength: Strength, draw: torch.Generator) -> Network:
    """Mirrors every kernel, left to right or top to bottom: the same answers for mirrored images."""
    if one_of(2, draw):
        return mirroring(network, strength)
    return transposing(mirroring(transposing(network, strength), strength), strength)
