"""How alike two layers are, whatever the order, the scales and the signs of their output channels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

PARALLEL = 0.95  # rows with a larger cosine hold one channel several times
_FAINT = 1e-5  # of the largest of both its row and its column: it may be what rounding left of zero
_STEPS = 20  # in which rows and columns are balanced


@dataclass(frozen=True)
class Rows:
    """Rows of a layer, to be compared.

    Attributes:
        directions: float32 [out, in * taps], of length 1, or zero; sizes compressed, so that small weights
            count, too: which weights are kept says as much as how large they are.
        lengths: float64 [out], of the rows, where all columns have one scale.
    """

    directions: Tensor
    lengths: Tensor


@dataclass(frozen=True)
class Found:
    """Which rows of the reference those of a suspect are.

    Attributes:
        score: mean of the cosines, 0 to 1, over the reference's rows that are not zero.
        of: int64 [suspect's rows], the row of the reference; -1 for none.
        factor: float64 [suspect's rows]: -1 and 1 are signs against the reference's row; of a row that is
            there a second time, what it is multiplied by.
    """

    score: float
    of: Tensor
    factor: Tensor


def rows_of(kernels: Tensor) -> Rows:
    """Makes the rows of a layer [out, in, taps] comparable."""
    rows, columns = _levels(kernels.abs().sum(2, dtype=torch.float64))
    level = (kernels * columns.to(kernels.dtype)[:, None]).flatten(1)
    even = level * rows.to(kernels.dtype)[:, None]
    compressed = (even.sign() * even.abs().sqrt()).float()
    return Rows(_unit(compressed), level.norm(dim=1).double())


def _levels(sizes: Tensor) -> tuple[Tensor, Tensor]:
    """Factors for rows and columns after which the logarithms of what is no zero have mean 0 in each.

    In contrast to `balance` there always are such factors, however few kernels are left.
    """
    faint = torch.minimum(sizes.amax(0, keepdim=True), sizes.amax(1, keepdim=True)) * _FAINT
    there = sizes > faint
    logs = torch.where(there, sizes, 1).log()
    counts = [there.sum(axis).clamp_min(1) for axis in (1, 0)]
    columns = torch.zeros(sizes.shape[1], dtype=torch.float64)
    known = there.double()
    of_rows, of_columns = logs.sum(1), logs.sum(0)
    for _ in range(_STEPS):
        rows = (of_rows - known @ columns) / counts[0]
        columns = (of_columns - rows @ known) / counts[1]
    return (-rows).exp(), (-columns).exp()


def compared(suspect: Rows, reference: Rows) -> Found:
    """Assigns the rows of a suspect to those of the reference (`linear_sum_assignment`)."""
    cosines = suspect.directions @ reference.directions.T
    at, of_row = (torch.from_numpy(side) for side in linear_sum_assignment(-cosines.abs().numpy()))
    best = cosines[at, of_row].double()
    of = torch.full((len(cosines),), -1)
    of[at[best != 0]] = of_row[best != 0]
    factor = torch.ones(len(cosines), dtype=torch.float64)
    factor[at] = torch.where(best < 0, -1.0, 1.0).double()
    return Found(_mean(best.abs(), reference), of, factor)


def in_place(suspect: Rows, reference: Rows, of: Tensor) -> Found:
    """The same where it is known which row is which: `of`, as of `Found`."""
    known = of >= 0
    cosines = torch.zeros(len(of), dtype=torch.float64)
    pairs = suspect.directions[known] * reference.directions[of[known]]
    cosines[known] = pairs.sum(1).double()
    signs = torch.where(cosines < 0, -1.0, 1.0).double()
    best = torch.zeros(len(reference.lengths), dtype=torch.float64)
    best.scatter_reduce_(0, of[known], cosines[known].abs(), "amax")
    return Found(_mean(best, reference), of, signs)


def with_copies(found: Found, suspect: Rows) -> Found:
    """Adds the rows that are there a second time, as those of the row that they repeat."""
    left = (found.of < 0) & (suspect.lengths > 0)
    known = found.of >= 0
    if not left.any() or not known.any():
        return found
    cosines = suspect.directions[left] @ suspect.directions[known].T
    best, first = cosines.abs().max(1)
    repeated = left.nonzero()[:, 0][best > PARALLEL]
    original = known.nonzero()[:, 0][first[best > PARALLEL]]
    sign = torch.sign(cosines.gather(1, first[:, None])[:, 0][best > PARALLEL]).double()
    of, factor = found.of.clone(), found.factor.clone()
    of[repeated] = of[original]
    ratio = suspect.lengths[repeated] / suspect.lengths[original]
    factor[repeated] = factor[original] * sign * ratio
    return Found(found.score, of, factor)


def alike(ours: Tensor, theirs: Tensor) -> float:
    """Correlation of two vectors, -1 to 1; 0 where one of them does not vary."""
    ours, theirs = ours - ours.mean(), theirs - theirs.mean()
    lengths = float(ours.norm() * theirs.norm())
    return float(ours @ theirs) / lengths if lengths > 0 else 0.0


def _mean(best: Tensor, reference: Rows) -> float:
    alive = int(torch.count_nonzero(reference.lengths))
    return min(1.0, float(best.sum()) / alive) if alive else 1.0


def _unit(rows: Tensor) -> Tensor:
    lengths = rows.norm(dim=1, keepdim=True)
    return rows / torch.where(lengths > 0, lengths, 1)
