"""Activations [batch, channels, height, width] with the batch innermost in memory: sparse layers' own."""

from __future__ import annotations

from torch import Tensor


def is_batch_innermost(x: Tensor) -> bool:
    """Whether an activation is contiguous as [channels, height, width, batch]."""
    return x.ndim == 4 and x.permute(1, 2, 3, 0).is_contiguous()


def batch_innermost(x: Tensor) -> Tensor:
    """The same activation in that layout; itself where it has it."""
    return x if is_batch_innermost(x) else x.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2)
