"""Exactly so many of the smallest: the rule for ties, in one place."""

from __future__ import annotations

import torch
from torch import Tensor


def lowest(scores: Tensor, count: int) -> Tensor:
    """Returns the indices of the `count` lowest scores, in ascending order of index; linear time.

    Of equal scores at the boundary those with the lower index are taken: exactly `count`, always
    the same ones.

    Args:
        scores: 1-D, at least `count` long, no NaN.
    """
    if count == 0:
        return torch.empty(0, dtype=torch.int64)
    boundary = scores.kthvalue(count).values
    below = (scores < boundary).nonzero().flatten()
    ties = (scores == boundary).nonzero().flatten()[: count - len(below)]
    return torch.cat([below, ties]).sort().values
