"""Batch norm, a residual and ReLU in one operation, for activations whose batch is innermost (`layout`).

PyTorch's own batch norm would copy them into another layout, and the next sparse layer would copy them back.
"""

from __future__ import annotations

import ctypes
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ticket_sig.models.sparse.layout import batch_innermost, is_batch_innermost
from ticket_sig.native import call, library

SOURCE = Path(__file__).with_suffix(".c")
_call = partial(call, SOURCE)


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
    if _fits(norm, x, residual) and (norm.training or not differentiable):
        return _Rows.apply(x, residual, norm.weight, norm.bias, norm, relu)  # type: ignore[no-any-return,no-untyped-call]
    y = batch_innermost(nn.BatchNorm2d.forward(norm, x))
    y = y if residual is None else y + residual
    return F.relu(y) if relu else y


def _fits(norm: nn.BatchNorm2d, x: Tensor, residual: Tensor | None) -> bool:
    """Whether the kernels in C can take this; PyTorch's operations do the rest, or say what is wrong."""
    own = (norm.weight, norm.bias, norm.running_mean, norm.running_var)
    return (
        norm.momentum is not None
        and all(t is not None and t.dtype == torch.float32 and t.device.type == "cpu" for t in own)
        and x.dtype in (torch.bfloat16, torch.float32)
        and x.device.type == "cpu"
        and x.shape[1] == norm.num_features
        and x.numel() > x.shape[1]  # one value a channel has no variance
        and (residual is None or (residual.dtype, residual.shape) == (x.dtype, x.shape))
        and library(SOURCE) is not None
    )


class _Rows(torch.autograd.Function):
    """The kernels in C, for autograd."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        residual: Tensor | None,
        weight: Tensor,
        bias: Tensor,
        norm: nn.BatchNorm2d,
        relu: bool,
    ) -> Tensor:
        """What `normalised` says, [batch, channels, height, width]."""
        residual = None if residual is None else batch_innermost(residual)
        y, stats = torch.empty_like(x), torch.empty(2, x.shape[1], dtype=torch.float64)
        flags = ctypes.c_int(relu), ctypes.c_int(norm.training)
        running = norm.running_mean, norm.running_var
        assert norm.momentum is not None and norm.num_batches_tracked is not None
        steps = ctypes.c_double(norm.momentum), ctypes.c_double(norm.eps)
        _call("rows_forward", x, residual, y, *_matrix(x), *flags, weight, bias, *running, *steps, stats)
        if norm.training:
            norm.num_batches_tracked.add_(1)
        ctx.save_for_backward(x, y if relu else None, weight, stats)
        ctx.has_residual = residual is not None
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """The gradients of x, residual, weight and bias."""
        x, y, weight, stats = ctx.saved_tensors
        gradient = batch_innermost(gradients[0])
        passed = torch.empty_like(x) if ctx.has_residual else None
        dx, dweight, dbias = torch.empty_like(x), torch.empty_like(weight), torch.empty_like(weight)
        _call("rows_backward", gradient, x, y, passed, dx, *_matrix(x), weight, stats, dweight, dbias)
        return dx, passed, dweight, dbias, None, None


def _matrix(x: Tensor) -> tuple[ctypes._SimpleCData[Any], ...]:
    """Channels, entries of one, and whether they are bfloat16."""
    channels = x.shape[1]
    half = x.dtype == torch.bfloat16
    return ctypes.c_int64(channels), ctypes.c_int64(x.numel() // channels), ctypes.c_int(half)
