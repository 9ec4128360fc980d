"""Zeros that rounding has hidden: where two numbers cancel that were rounded before."""

from __future__ import annotations

import torch
from torch import Tensor

_SURE = 4.0  # in roundings of a number of the summands' size; 13 standard deviations
_LEAST = 1e-13  # in float64, in which the inverse of a factor is computed, too


def without_rounding(sums: Tensor, squares: Tensor, dtype: torch.dtype) -> Tensor:
    """Sums, with zeros where what is left is no more than rounding leaves.

    Args:
        sums: float64.
        squares: of the summands, summed.
        dtype: in which the summands were kept.
    """
    unit = max(_SURE * torch.finfo(dtype).eps, _LEAST)
    return torch.where(sums.abs() > unit * squares.sqrt(), sums, 0.0)
