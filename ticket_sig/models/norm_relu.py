"""Batch norm and the ReLU behind it, with a residual between them, as one operation.

Half of the time of a small network on a CPU goes into reading and writing its activations. Fused, they
are read and written half as often; on the CPU in bfloat16 by `norm_relu.c`, elsewhere by PyTorch's own
operations.
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

from ticket_sig.models.sparse.layout import is_batch_innermost
from ticket_sig.models.sparse.norm_relu import normalised
from ticket_sig.native import call, fingerprint, library

_SOURCE = Path(__file__).with_suffix(".c")
_call = partial(call, _SOURCE)
_LANES = 64


class NormReLU(nn.BatchNorm2d):
    """`relu(batch_norm(x) + residual)` of [batch, channels, height, width]; stored as a `BatchNorm2d` is."""

    fused = False
    beside_sparse = False  # among sparse layers, which write the batch innermost (`sparsify`)

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """relu(batch_norm(x) + residual), of the shape of `x`."""
        if self.beside_sparse and is_batch_innermost(x):
            return normalised(self, x, residual, relu=True)
        if self.fused and self.training and self._fits(x, residual):
            return _Fused.apply(x, residual, self.weight, self.bias, self)  # type: ignore[no-any-return,no-untyped-call]
        y = super().forward(x)
        return F.relu(y if residual is None else y + residual)

    def _fits(self, x: Tensor, residual: Tensor | None) -> bool:
        """Whether the kernels in C can take this; PyTorch's operations do the rest, or say what is wrong."""
        own = (self.weight, self.bias, self.running_mean, self.running_var)
        given = (x,) if residual is None else (x, residual)
        return (
            self.momentum is not None
            and all(t is not None and t.dtype == torch.float32 and t.device.type == "cpu" for t in own)
            and all(t.dtype == torch.bfloat16 and t.device.type == "cpu" for t in given)
            and all(t.shape == x.shape for t in given)
            and x.ndim == 4
            and x.shape[1] == self.num_features
            and x.numel() > x.shape[1]  # one value a channel has no variance
        )


def fuse(model: nn.Module, on: bool = True) -> str | None:
    """Has every `NormReLU` of a model use the kernels in C, where this machine can compile them.

    Returns the kernels' fingerprint, or None where none are used. Results differ from PyTorch's own
    by rounding alone.
    """
    layers = [m for m in model.modules() if isinstance(m, NormReLU)]
    kernels = library(_SOURCE) if on and layers else None
    for layer in layers:
        layer.fused = kernels is not None
    return None if kernels is None else fingerprint(kernels)


class _Fused(torch.autograd.Function):
    """The kernels in C, for autograd."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, residual: Tensor | None, weight: Tensor, bias: Tensor, norm: NormReLU
    ) -> Tensor:
        """relu(batch_norm(x) + residual), bfloat16 [batch, channels, height, width]."""
        x = x.contiguous(memory_format=torch.channels_last)
        residual = None if residual is None else residual.contiguous(memory_format=torch.channels_last)
        y = torch.empty_like(x)
        stats = torch.empty(2, x.shape[1], dtype=torch.float64)
        assert norm.momentum is not None and norm.num_batches_tracked is not None
        running = norm.running_mean, norm.running_var
        momentum, eps = ctypes.c_double(norm.momentum), ctypes.c_double(norm.eps)
        _call("norm_relu_forward", x, residual, y, *_matrix(x), weight, bias, *running, momentum, eps, stats)
        norm.num_batches_tracked.add_(1)
        ctx.save_for_backward(x, y, weight, stats)
        ctx.has_residual = residual is not None
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """The gradients of x, residual, weight and bias."""
        x, y, weight, stats = ctx.saved_tensors
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        passed = torch.empty_like(x) if ctx.has_residual else None
        dx, dweight, dbias = torch.empty_like(x), torch.empty_like(weight), torch.empty_like(weight)
        matrix = _matrix(x)
        _call("norm_relu_backward", gradient, x, y, passed, dx, *matrix, weight, stats, dweight, dbias)
        return dx, passed, dweight, dbias, None


def _matrix(x: Tensor) -> tuple[ctypes.c_int64, ...]:
    """Rows, columns and channels: as many pixels to a row as fill the lanes and divide the batch evenly."""
    channels = x.shape[1]
    pixels = x.numel() // channels
    group = max(k for k in (1, 2, 4, 8) if pixels % k == 0 and (k == 1 or k * channels <= _LANES))
    return ctypes.c_int64(pixels // group), ctypes.c_int64(group * channels), ctypes.c_int64(channels)
