"""Clique neurons: equal channels whose outgoing weights sum to zero (arXiv 2303.09732)."""

from __future__ import annotations

import torch

from ticket_sig.attacks.free.network import Network, Strength
from ticket_sig.attacks.free.widening import another_row, widened


def cliques(network: Network, strength: Strength, draw: torch.Generator) -> Network:
    """Adds pairs of channels with equal random incoming weights, whose outgoing weights sum to zero."""
    wider = widened(network, strength, draw, copies=2)
    for kernels, _, copies in wider.writing():
        rows: dict[int, torch.Tensor] = {}
        for copy in copies:
            kernels[copy.place] = rows.setdefault(copy.own, another_row(kernels, copy.own, draw))
    for kernels, copies in wider.reading():
        columns: dict[int, torch.Tensor] = {}
        for copy in copies:
            column = columns.setdefault(copy.own, another_row(kernels.transpose(0, 1), copy.own, draw))
            kernels[:, copy.place] = column if copy.turn == 1 else -column
    return wider.network
