"""Zeros that rounding has hidden: where two numbers cancel that were rounded before."""

from __future__ import annotations

import torch
from torch import Tensor

_SURE = 4.0  # in roundings of a number of the summands' size; 13 standard deviations
_RESIDUE = 1e-6  # of a layer's largest weight: a trained one is hardly ever so small
_LEAST = 1e-11  # in float64, in which the inverse of a factor mixes the errors of a whole column


def without_rounding(sums: Tensor, squares: Tensor, dtype: torch.dtype) -> Tensor:
    """Sums, with zeros where what is left is no more than rounding leaves.

    Args:
        sums: float64.
        squares: of the summands, summed.
        dtype: in which the summands were kept.
    """
    unit = max(_SURE * torch.finfo(dtype).eps, _LEAST)
    return torch.where(sums.abs() > unit * squares.sqrt(), sums, 0.0)


def without_residues(weight: Tensor) -> Tensor:
    """A layer's weights, with zeros where they are too small for the layer to be more than rounding.

    For layers that were computed: scales far apart mix in a factor, and leave more than one sum tells.
    """
    largest = weight.abs().max() if weight.numel() else 0.0
    return torch.where(weight.abs() > _RESIDUE * largest, weight, 0.0)
