"""Rows and columns of a layer, balanced: what scales of its channels leave as it is."""

from __future__ import annotations

import torch
from torch import Tensor

_STEPS = 100  # where zeros leave no exact balance; else ten or so will do
_TOLERANCE = 1e-10
_LARGEST = 1e100  # factor, and 1 / the smallest: where there is no balance they would grow for ever
_BLOCK = 1 << 20  # weights that are looked at together


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
