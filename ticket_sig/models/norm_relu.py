"""Batch norm and the ReLU behind it, with a residual between them, as one operation.

Half of the time of a small network on a CPU goes into reading and writing its activations. Fused, they
are read and written half as often; on the CPU in bfloat16 by `norm_relu.c`, elsewhere by PyTorch's own
operations.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ticket_sig.models.norm_kernels import NormKernels
from ticket_sig.models.sparse.layout import is_batch_innermost
from ticket_sig.models.sparse.norm_relu import normalised
from ticket_sig.native import fingerprint, library

_SOURCE = Path(__file__).with_suffix(".c")
_LANES = 64


class NormReLU(nn.BatchNorm2d):
    """`relu(batch_norm(x) + residual)` of [batch, channels, height, width]; stored as a `BatchNorm2d` is."""

    fused = False
    beside_sparse = False  # among sparse layers, which write the batch innermost (`sparsify`)

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """relu(batch_norm(x) + residual), of the shape of `x`."""
        if self.beside_sparse and is_batch_innermost(x):
            return normalised(self, x, residual, relu=True)
        if self.fused and self.training and _CHANNELS_LAST.fit(self, x, residual):
            return _CHANNELS_LAST.apply(self, x, residual, relu=True)
        y = super().forward(x)
        return F.relu(y if residual is None else y + residual)


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


def _matrix(x: Tensor) -> tuple[ctypes.c_int64, ...]:
    """Rows, columns and channels: as many pixels to a row as fill the lanes and divide the batch evenly."""
    channels = x.shape[1]
    pixels = x.numel() // channels
    group = max(k for k in (1, 2, 4, 8) if pixels % k == 0 and (k == 1 or k * channels <= _LANES))
    return ctypes.c_int64(pixels // group), ctypes.c_int64(group * channels), ctypes.c_int64(channels)


_CHANNELS_LAST = NormKernels(
    source=_SOURCE,
    name="norm_relu",
    dtypes=(torch.bfloat16,),
    lay=lambda x: x.contiguous(memory_format=torch.channels_last),
    sizes=_matrix,
    flags=lambda relu, training: (),  # always both
)
