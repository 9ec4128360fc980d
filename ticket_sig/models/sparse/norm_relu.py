"""Batch norm, a residual and ReLU in one operation, for activations whose batch is innermost (`layout`).

PyTorch's own batch norm would copy them into another layout, and the next sparse layer would copy them back.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ticket_sig.models.norm_kernels import NormKernels
from ticket_sig.models.sparse.layout import batch_innermost, is_batch_innermost
from ticket_sig.native import library

SOURCE = Path(__file__).with_suffix(".c")


class SparseBatchNorm2d(nn.BatchNorm2d):
    """A `BatchNorm2d` between sparse layers; made of one by `sparsify`."""

    def forward(self, x: Tensor) -> Tensor:
        """As `BatchNorm2d`; the batch stays innermost."""
        return normalised(self, x, None, relu=False) if is_batch_innermost(x) else super().forward(x)


def normalised(norm: nn.BatchNorm2d, x: Tensor, residual: Tensor | None, *, relu: bool) -> Tensor:
    """batch_norm(x) + residual, and ReLU of it where asked for; the batch is innermost in what comes back.

    Args:
        x: its batch is innermost; the residual may lie in any layout.
    """
    own = [t for t in (norm.weight, norm.bias, x, residual) if t is not None]
    differentiable = torch.is_grad_enabled() and any(t.requires_grad for t in own)
    fit = _ROWS.fit(norm, x, residual) and library(SOURCE) is not None
    if fit and (norm.training or not differentiable):
        return _ROWS.apply(norm, x, residual, relu=relu)
    y = batch_innermost(nn.BatchNorm2d.forward(norm, x))
    y = y if residual is None else y + residual
    return F.relu(y) if relu else y


def _matrix(x: Tensor) -> tuple[ctypes._SimpleCData[Any], ...]:
    """Channels, entries of one, and whether they are bfloat16."""
    channels = x.shape[1]
    half = x.dtype == torch.bfloat16
    return ctypes.c_int64(channels), ctypes.c_int64(x.numel() // channels), ctypes.c_int(half)


_ROWS = NormKernels(
    source=SOURCE,
    name="rows",
    dtypes=(torch.bfloat16, torch.float32),
    lay=batch_innermost,
    sizes=_matrix,
    flags=lambda relu, training: (ctypes.c_int(relu), ctypes.c_int(training)),
)
