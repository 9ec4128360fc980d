"""What a kept mask means for the kernels: which weights are kept, by out and by in channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ticket_sig.errors import bad_input


@dataclass(frozen=True, eq=False)
class Plan:
    """The kept weights of one layer and how it goes over an image. Nothing in it is changed.

    Attributes:
        positions: int64 [kept], where the kept weights lie in the flattened weight; ascending. Values are
            given and gradients returned in this order.
        lists: int32, for the kernels: `start`, `channel` and `tap` forward; then the same and `source`
            backward. A list has the kept weights of one result: forward an out channel; backward an in
            channel, for each residue of a pixel by the stride. `source` is the place in `positions`.
        geometry: out channels, in channels of a group, height, width, stride (2), padding (2), dilation (2),
            groups.
    """

    positions: Tensor
    lists: Tensor
    geometry: tuple[int, ...]

    @staticmethod
    def of(
        kept: Tensor,
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
    ) -> Plan:
        """The plan for a mask.

        Args:
            kept: bool [out channels, in channels / groups, height, width]; of a linear layer the mask
                [out features, in features], which is a 1x1 convolution.
            stride: of both axes, or one for each; so are padding and dilation.
        """
        kept = kept.detach().cpu()
        if kept.dtype != torch.bool or kept.ndim not in (2, 4):
            found = f"{kept.dtype} of {kept.ndim}"
            raise bad_input("", "a layer's mask", "booleans of 2 or 4 dimensions", found)
        mask = kept.reshape(*kept.shape[:2], *(kept.shape[2:] or (1, 1))).numpy()
        steps = _pair("stride", stride, 1), _pair("padding", padding, 0), _pair("dilation", dilation, 1)
        if groups < 1 or mask.shape[0] % groups:
            raise bad_input("", "groups", f"a divisor of {mask.shape[0]} out channels", str(groups))
        positions = np.flatnonzero(mask)
        lists = np.concatenate([*_forward(mask, groups), *_backward(mask, groups, steps[0], steps[2])])
        geometry = (*mask.shape, *steps[0], *steps[1], *steps[2], groups)
        return Plan(torch.from_numpy(positions), torch.from_numpy(lists.astype(np.int32)), geometry)

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the result for an image."""
        return result_size(self.geometry, height, width)


def result_size(geometry: Sequence[int], height: int, width: int) -> tuple[int, int]:
    """Height and width of a convolution's result for an image."""
    taps, stride, padding, dilation = (geometry[i : i + 2] for i in (2, 4, 6, 8))
    made = [
        (size + 2 * padding[i] - dilation[i] * (taps[i] - 1) - 1) // stride[i] + 1
        for i, size in enumerate((height, width))
    ]
    return made[0], made[1]


def _pair(field: str, value: int | Sequence[int], least: int) -> tuple[int, int]:
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2 or not all(isinstance(v, int) and v >= least for v in pair):
        raise bad_input("", field, f"one or two whole numbers of {least} or more", str(value))
    return pair[0], pair[1]


def _coordinates(mask: np.ndarray, groups: int) -> tuple[np.ndarray, ...]:
    """Out channel, in channel (of all groups), row and column in the kernel of each kept weight."""
    out, channel, row, column = np.nonzero(mask)
    return out, channel + out // (mask.shape[0] // groups) * mask.shape[1], row, column


def _starts(of: np.ndarray, count: int) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(np.bincount(of, minlength=count))])


def _forward(mask: np.ndarray, groups: int) -> list[np.ndarray]:
    out, channel, row, column = _coordinates(mask, groups)
    return [_starts(out, mask.shape[0]), channel, row * mask.shape[3] + column]


def _backward(
    mask: np.ndarray, groups: int, stride: tuple[int, int], dilation: tuple[int, int]
) -> list[np.ndarray]:
    out, channel, row, column = _coordinates(mask, groups)
    phase = row * dilation[0] % stride[0] * stride[1] + column * dilation[1] % stride[1]
    channels = mask.shape[1] * groups
    result = phase * channels + channel
    source = np.argsort(result, kind="stable")  # within a list by out channel
    tap = row * mask.shape[3] + column
    return [_starts(result, stride[0] * stride[1] * channels), out[source], tap[source], source]
