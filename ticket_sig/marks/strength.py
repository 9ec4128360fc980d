"""Which weights of a suspect are read as kept: the strongest, whatever its rows and columns are scaled by."""

from __future__ import annotations

import torch
from torch import Tensor

_STEPS = 8


def kept_as_claimed(weights: Tensor, kept: int) -> Tensor:
    """The strongest min(kept, nonzero) weights of a layer: boolean, in its shape.

    Small numbers that a thief adds are left out so, also where he scales the channels: rows and columns of
    magnitudes are balanced first (Sinkhorn).
    """
    there = weights != 0
    if int(there.sum()) <= kept:
        return there
    sizes = _balanced(weights.abs().double())
    strongest = torch.zeros(weights.numel(), dtype=torch.bool)
    strongest[sizes.flatten().topk(kept).indices] = True
    return strongest.view(weights.shape)


def _balanced(sizes: Tensor) -> Tensor:
    """Magnitudes with rows and columns, [out, in], of about equal sums."""
    sizes = sizes.flatten(2) if sizes.ndim > 2 else sizes[..., None]
    for step in range(2 * _STEPS):
        sums = sizes.sum((step % 2, 2), keepdim=True)
        sizes = sizes / torch.where(sums > 0, sums, 1)
    return sizes
