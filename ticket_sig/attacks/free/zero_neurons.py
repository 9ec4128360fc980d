"""Zero neurons: channels that something writes and nothing reads, or the other way (arXiv 2303.09732)."""

from __future__ import annotations

import torch

from ticket_sig.attacks.free.network import Network, Strength, some_of
from ticket_sig.attacks.free.widening import another_row, widened


def zero_neurons(network: Network, strength: Strength, draw: torch.Generator) -> Network:
    """Adds channels with random weights on one side, and zeros on the other: before them or behind them."""
    wider = widened(network, strength, draw)
    silent = some_of(int(wider.strand.max()) + 1, 0.5, draw)
    for kernels, _, copies in wider.writing():
        for copy in copies:
            kernels[copy.place] = another_row(kernels, copy.own, draw)
    for kernels, copies in wider.reading():
        for copy in copies:
            if copy.strand in silent:
                kernels[:, copy.place] = another_row(kernels.transpose(0, 1), copy.own, draw)
    wider.silence(silent)
    return wider.network
