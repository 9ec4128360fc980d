"""Pooling that keeps the batch innermost: with batch and channels exchanged, that is channels last."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ticket_sig.models.sparse.layout import is_batch_innermost


class _BatchInnermost(nn.Module):
    """Each channel of each image is pooled by itself, so that it does not matter which is which."""

    def forward(self, input: Tensor) -> Any:
        """As the dense layer, in the layout of the input."""
        if not is_batch_innermost(input) or getattr(self, "return_indices", False):
            return super().forward(input)
        return super().forward(input.transpose(0, 1)).transpose(0, 1)


class SparseMaxPool2d(_BatchInnermost, nn.MaxPool2d):
    """A `MaxPool2d` between sparse layers; made of one by `sparsify`."""


class SparseAvgPool2d(_BatchInnermost, nn.AvgPool2d):
    """An `AvgPool2d` between sparse layers; made of one by `sparsify`."""


class SparseAdaptiveAvgPool2d(_BatchInnermost, nn.AdaptiveAvgPool2d):
    """An `AdaptiveAvgPool2d` between sparse layers; made of one by `sparsify`."""
