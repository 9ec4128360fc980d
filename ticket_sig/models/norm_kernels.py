"""Batch norm, a residual and ReLU by kernels in C: what they can take, and their place in autograd."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ticket_sig.native import call


@dataclass(frozen=True)
class NormKernels:
    """The kernels for activations of one layout.

    Attributes:
        source: the file in C, which has NAME_forward and NAME_backward.
        name: see `source`.
        dtypes: of activations; everything else is float32.
        lay: puts an activation into the layout.
        sizes: of an activation, as both functions take them.
        flags: what the forward function takes beside: of (ReLU, training).
    """

    source: Path
    name: str
    dtypes: tuple[torch.dtype, ...]
    lay: Callable[[Tensor], Tensor]
    sizes: Callable[[Tensor], tuple[Any, ...]]
    flags: Callable[[bool, bool], tuple[Any, ...]]

    def fit(self, norm: nn.BatchNorm2d, x: Tensor, residual: Tensor | None) -> bool:
        """Whether they can take this; PyTorch's operations do the rest, or say what is wrong."""
        own = (norm.weight, norm.bias, norm.running_mean, norm.running_var)
        return (
            norm.momentum is not None
            and all(t is not None and _is_plain(t, norm.num_features) for t in own)
            and x.dtype in self.dtypes
            and all(
                (t.dtype, t.shape, t.device.type) == (x.dtype, x.shape, "cpu")
                for t in (x, residual)
                if t is not None
            )
            and x.ndim == 4
            and x.shape[1] == norm.num_features
            and x.numel() > x.shape[1]  # one value a channel has no variance
        )

    def apply(self, norm: nn.BatchNorm2d, x: Tensor, residual: Tensor | None, *, relu: bool) -> Tensor:
        """batch_norm(x) + residual, and ReLU of it where asked for, of what fits; in their layout."""
        return _Normalised.apply(x, residual, norm.weight, norm.bias, norm, self, relu)  # type: ignore[no-any-return,no-untyped-call]

    def call(self, way: str, *arguments: Any) -> None:
        """Calls one of the two functions."""
        call(self.source, f"{self.name}_{way}", *arguments)


def _is_plain(t: Tensor, features: int) -> bool:
    return (t.dtype, t.device.type, t.shape) == (torch.float32, "cpu", (features,)) and t.is_contiguous()


class _Normalised(torch.autograd.Function):
    """The kernels, for autograd."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        residual: Tensor | None,
        weight: Tensor,
        bias: Tensor,
        norm: nn.BatchNorm2d,
        kernels: NormKernels,
        relu: bool,
    ) -> Tensor:
        """What `NormKernels.apply` says, [batch, channels, height, width]."""
        x = kernels.lay(x)
        residual = None if residual is None else kernels.lay(residual)
        y, stats = torch.empty_like(x), torch.empty(2, x.shape[1], dtype=torch.float64)
        assert norm.momentum is not None and norm.num_batches_tracked is not None
        running = norm.running_mean, norm.running_var
        steps = ctypes.c_double(norm.momentum), ctypes.c_double(norm.eps)
        given = *kernels.sizes(x), *kernels.flags(relu, norm.training)
        kernels.call("forward", x, residual, y, *given, weight, bias, *running, *steps, stats)
        if norm.training:
            norm.num_batches_tracked.add_(1)
        ctx.save_for_backward(x, y if relu else None, weight, stats)
        ctx.kernels, ctx.has_residual = kernels, residual is not None
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """The gradients of x, residual, weight and bias."""
        x, y, weight, stats = ctx.saved_tensors
        gradient = ctx.kernels.lay(gradients[0])
        passed = torch.empty_like(x) if ctx.has_residual else None
        dx, dweight, dbias = torch.empty_like(x), torch.empty_like(weight), torch.empty_like(weight)
        sizes = ctx.kernels.sizes(x)
        ctx.kernels.call("backward", gradient, x, y, passed, dx, *sizes, weight, stats, dweight, dbias)
        return dx, passed, dweight, dbias, None, None, None
