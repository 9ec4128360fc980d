"""The least change of a layer that writes all bits into its mean filter, without training."""

from __future__ import annotations

import math

import numpy as np
import scipy  # `scipy.optimize` takes time to import, and is imported where it is first used
import torch
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular
from torch import Tensor

_LEAST_MARGIN = 1.0
_SCORE = 16.0
_SMALLEST = 1e-3
_GROWTH = 2.0
_ROUNDS = 40
_STEPS = 30  # of the solver, for each bit: far more than it takes


def moved_mean(
    rows: NDArray[np.float64], mean: NDArray[np.float64], reach: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """The mean filter with every bit in it, by the least change of the weights, or None.

    Args:
        rows: X, with the sign of each bit [bits, M].
        mean: of length 1, or all zero [M].
        reach: by how much a change of length 1, shared among the kept weights of a place, moves its mean [M].
    """
    margin = max(_LEAST_MARGIN, _SCORE / math.sqrt(len(rows)))
    pulls = rows * reach
    scale = float(np.square(pulls).sum(1).mean()) or 1.0
    # The little on the diagonal keeps rows apart that pull at too few places.
    root = cholesky(pulls @ pulls.T / scale + 1e-9 * np.eye(len(rows)))
    while margin > _SMALLEST:
        moved = mean
        for _ in range(_ROUNDS):
            size = float(np.linalg.norm(moved)) or 1.0
            if size > _GROWTH:
                break
            if (rows @ moved >= margin * size).all():
                return moved
            # A longer filter needs more for the same margin: 5 % more, so that this ends.
            shares = _shares(root, 1.05 * margin * size - rows @ mean)
            moved = mean + reach * (pulls.T @ shares) / scale
        margin *= 0.7
    return None


def _shares(root: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    """The shortest change that moves every bit by what is wanted, or more, as shares of the bits' rows.

    Least squares under inequalities: shares are not negative, and 0 for bits that move by themselves (least
    distance programming; Lawson and Hanson, 1974, chapter 23). root.T @ root holds the products of the rows.
    """
    target = solve_triangular(root, wanted, trans="T")
    shares: NDArray[np.float64] = scipy.optimize.nnls(root, target, maxiter=_STEPS * len(wanted))[0]
    return shares


def shifted(weights: Tensor, kept: Tensor, shift: NDArray[np.float64]) -> Tensor:
    """The weights with what is added to every filter where it is kept, in their own dtype."""
    exact = torch.float64 if weights.dtype == torch.float64 else torch.float32
    added = torch.from_numpy(shift).to(weights.device, exact) * kept.to(weights.device)
    return (weights.to(exact) + added).to(weights.dtype)
