"""The network transposed as a whole."""

from __future__ import annotations

import torch

from ticket_sig.attacks.free.network import Network, Strength
from ticket_sig.attacks.free.turning import transposing


def transposed(network: Network, strength: Strength, draw: torch.Generator) -> Network:
    """Swaps rows and columns of every kernel: the same answers for transposed images."""
    return transposing(network, strength)
