"""The strongest weights of a layer, whatever its rows and columns were multiplied by."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ticket_sig.select import lowest

_STEPS = 100  # where zeros leave no exact balance; else ten or so will do
_TOLERANCE = 1e-10
_LARGEST = 1e100  # factor, and 1 / the smallest: where there is no balance they would grow for ever
_BLOCK = 1 << 20  # weights that are looked at together


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


def balance(weights: Tensor) -> tuple[Tensor, Tensor]:
    """Factors for rows and columns after which all rows, and all columns, sum to the same.

    What is balanced is |weights|, summed over taps. The factors of a layer with other scales are these,
    divided by its scales (Sinkhorn and Knopp, 1967): so nothing is left of scales that cancel in a network.
    Zeros can leave no such factors; then these are the ones that were reached.

    Returns:
        float64 [out], [in]; 1 for a row or column of zeros. The sums are 1 and out / in.
    """
    out, into = weights.shape[:2]
    sizes = weights.detach().reshape(out, into, -1)
    unit = float(sizes.abs().max()) or 1.0  # so that no sum overflows
    parts = torch.split(sizes, max(1, _BLOCK // max(1, sizes[0].numel())))
    kernels = [_kernels(part, unit) for part in parts] if out * into <= _BLOCK else []
    rows, columns = torch.ones(out, dtype=torch.float64), torch.ones(into, dtype=torch.float64)
    for _ in range(_STEPS):
        totals, first = torch.zeros(into, dtype=torch.float64), 0
        for part in kernels or (_kernels(part, unit) for part in parts):
            own = _inverse(part @ columns)
            rows[first : first + len(part)] = own
            totals += own @ part
            first += len(part)
        before, columns = columns, _inverse(totals * into / out)
        if float((columns / before - 1).abs().max()) < _TOLERANCE:
            break
    return rows, columns


def _kernels(part: Tensor, unit: float) -> Tensor:
    return (part.abs().double() / unit).sum(2)


def _inverse(sums: Tensor) -> Tensor:
    return torch.where(sums > 0, (1 / sums).clamp(1 / _LARGEST, _LARGEST), torch.ones_like(sums))
