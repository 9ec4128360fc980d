"""Channels of zeros beside the network's own."""

from __future__ import annotations

import torch

from ticket_sig.attacks.free.network import Network, Strength
from ticket_sig.attacks.free.widening import widened


def padded(network: Network, strength: Strength, draw: torch.Generator) -> Network:
    """Adds channels that hold zeros and that nothing reads."""
    wider = widened(network, strength, draw)
    wider.silence(range(len(wider.strand)))
    return wider.network
