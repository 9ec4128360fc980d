"""What outlives pruning: how much a module of a code is worth at each kernel of a network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ticket_sig.marks.qr_code.placement import Worth
from ticket_sig.mask import kernel_map
from ticket_sig.ticket import Ticket

RATES = tuple(percent / 100 for percent in range(3, 31, 3))  # of further magnitude pruning, over all layers
_SMALL = 0.25  # quantile of a layer's magnitudes: the middle of those that come back (`with_mask`)
_SAMPLED = 1 << 20  # weights that the thresholds are taken from


def worths(ticket: Ticket, layers: Sequence[str]) -> dict[str, Worth]:
    """What a module is worth: at how many of the `RATES` it still stands, and one more if nothing changes.

    Pruning by a rate takes the smallest weights of the whole network. A dark module always stands; a light
    one as long as the kernel's largest kept weight does, or, in a kernel that is pruned now, the weight that
    would come back: the largest rewind weight, or where none is known a small one of the layer.

    Args:
        layers: the names of the layers to look at.
    """
    step = max(1, ticket.mask.total // _SAMPLED)
    sampled = {name: _sizes(ticket.weights[name], kept, step) for name, kept in ticket.mask.items()}
    thresholds = _quantiles(np.concatenate([*sampled.values(), []]), RATES)
    small = {} if ticket.rewind else {name: _quantiles(sampled[name], [_SMALL])[0] for name in layers}
    return {name: _worth(ticket, name, thresholds, small.get(name)) for name in layers}


def _worth(ticket: Ticket, name: str, thresholds: Sequence[float], small: float | None) -> Worth:
    shape, levels = ticket.mask[name].shape, torch.tensor(thresholds)

    def rows(some: slice) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        kept = kernel_map(ticket.mask[name][some])
        back = torch.tensor(small) if ticket.rewind is None else _largest(ticket.rewind[name][some])
        strength = torch.where(kept, _largest(ticket.weights[name][some]), back)
        stands = torch.bucketize(strength, levels, out_int32=True).to(torch.uint8)  # how many are smaller
        return (stands + kept).numpy(), ((~kept).to(torch.uint8) + len(thresholds)).numpy()

    return Worth((shape[0], shape[1]), rows)


def _largest(weights: Tensor) -> Tensor:
    """The largest magnitude of each kernel, [out, in]."""
    return weights.reshape(*weights.shape[:2], -1).float().abs().amax(-1)


def _sizes(weights: Tensor, kept: Tensor, step: int) -> NDArray[np.float64]:
    """Magnitudes of every so many-th weight, of those that are kept."""
    return np.asarray(weights.reshape(-1)[::step][kept.reshape(-1)[::step]].abs().double().numpy())


def _quantiles(sizes: NDArray[np.float64], shares: Sequence[float]) -> list[float]:
    return [float(q) for q in np.quantile(sizes, shares)] if len(sizes) else [0.0] * len(shares)
