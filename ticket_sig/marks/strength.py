"""The strongest weights of a layer, whatever its rows and columns were multiplied by."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ticket_sig.models.balance import balance
from ticket_sig.select import lowest


def kept_as_claimed(weights: Tensor, count: int) -> Tensor:
    """The `count` strongest weights of a layer, as `strongest`: boolean, in its shape."""
    every = np.arange(weights.numel(), dtype=np.int64)
    return torch.from_numpy(strongest(weights, count, every)).view(weights.shape)


def strongest(weights: Tensor, count: int, places: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of some weights of a layer are among its `count` strongest; zeros never are.

    Where no more than `count` of the layer are not zero, these are the strongest, and nothing is compared.
    Else as many of `places` are taken as `count` is of the layer: a keyed sample needs no order of the whole.
    Strength is a weight's size after rows and columns were balanced. Of equal ones the first are taken.

    Args:
        weights: [out, in, ...], finite.
        places: ascending, in the flattened layer.

    Returns:
        [places], True = among the strongest.
    """
    at = torch.from_numpy(places)
    flat = weights.detach().reshape(-1)
    used = flat if len(at) == len(flat) else flat[at]
    if int(torch.count_nonzero(flat)) <= count:
        return (used != 0).numpy()
    if weights.dtype == torch.float64:
        weights = _levelled(weights)
        used = weights.reshape(-1)[at]
    rows, columns = balance(weights)
    taps = max(1, weights[:1, :1].numel())
    kernel = at // taps
    scale = rows[kernel // len(columns)] * columns[kernel % len(columns)]
    sizes = used.abs().double() * scale
    most = min(round(count * len(at) / len(flat)), int(torch.count_nonzero(sizes)))
    strong = torch.zeros(len(at), dtype=torch.bool)
    strong[lowest(-sizes, most)] = True
    return strong.numpy()


def _levelled(weights: Tensor) -> Tensor:
    """|weights| over the largest of each row, then of each column.

    Scales of 1e-300, which hide nothing in a network of float64, are beyond what `balance` allows for.
    """
    sizes = weights.detach().abs()
    for axis in (0, 1):
        most = sizes.amax([n for n in range(sizes.ndim) if n != axis], keepdim=True)
        sizes = sizes / torch.where(most > 0, most, 1)
    return sizes
