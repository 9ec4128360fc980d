"""Split neurons: a channel and its copy share the outgoing weights (arXiv 2303.09732)."""

from __future__ import annotations

import torch

from ticket_sig.attacks.free.network import Network, Strength
from ticket_sig.attacks.free.widening import root_mean_square, widened


def split_neurons(network: Network, strength: Strength, draw: torch.Generator) -> Network:
    """Adds copies of channels; a channel and its copy share its outgoing weights."""
    return _split(network, strength, draw, noise=0.0)


def noisy_split(network: Network, strength: Strength, draw: torch.Generator) -> Network:
    """As split-neurons, with noise on the outgoing weights that cancels between a channel and its copy."""
    return _split(network, strength, draw, noise=1.0)


def _split(network: Network, strength: Strength, draw: torch.Generator, noise: float) -> Network:
    """`noise` is in sizes of the weights: that of the row times that of the column over that of the layer."""
    wider = widened(network, strength, draw)
    for kernels, copies in wider.reading():
        rows, columns = root_mean_square(kernels, 1), root_mean_square(kernels, 0)
        scale = noise * rows / rows.square().mean().sqrt().clamp(min=1e-30)
        for copy in copies:
            column = kernels[:, copy.own].double().clone()  # else the next line changes it
            share = 0.2 + 0.6 * float(torch.rand((), generator=draw))
            extra = torch.randn(column.shape, generator=draw, dtype=torch.float64)
            extra = extra * scale[:, None] * columns[copy.own]
            kernels[:, copy.own] = (1 - share) * column - extra
            kernels[:, copy.place] = share * column + extra
    return wider.network
