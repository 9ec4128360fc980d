"""Batch norms as what they do: each channel scaled and shifted; and how alike two of them are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ticket_sig.recovery.comparing import alike
from ticket_sig.recovery.rounding import without_rounding

_EPS = 1e-5


@dataclass(frozen=True)
class Affine:
    """What each channel is multiplied by, and what is added then: float64 [channels] both."""

    scale: Tensor
    shift: Tensor


@dataclass(frozen=True)
class Written:
    """The rows of a layer that write some channels: lengths and biases, float64 [channels]."""

    lengths: Tensor
    biases: Tensor

    def behind(self, affine: Affine) -> Tensor:
        """What is added to each channel in all, in units of its row, which no scale changes: [channels]."""
        sizes = affine.scale.abs() * self.lengths
        return (affine.shift + affine.scale * self.biases) / torch.where(sizes > 0, sizes, torch.inf)


def affine_of(values: Mapping[str, Tensor], eps: float = _EPS) -> Affine:
    """What a batch norm does.

    Args:
        values: its tensors by role; without `weight` and `bias` they are 1 and 0.
    """
    mean, variance = (values[role].double() for role in ("running_mean", "running_var"))
    scale = (variance.clamp_min(0) + eps).rsqrt()
    if "weight" in values:
        scale = scale * values["weight"].double()
    shift = -mean * scale
    if "bias" in values:
        bias = values["bias"]
        # What a thief's split of a norm left as a rounding error would be a channel that holds something.
        shift = without_rounding(shift + bias.double(), shift.square() + bias.double().square(), bias.dtype)
    return Affine(scale, shift)


def nothing(width: int) -> Affine:
    """No batch norm."""
    return Affine(torch.ones(width, dtype=torch.float64), torch.zeros(width, dtype=torch.float64))


def per_channel(values: Mapping[str, Tensor], channels: int) -> dict[str, Tensor]:
    """A batch norm's tensors by role, of each channel's first pixel where it works on flattened images."""
    return {role: t.reshape(channels, -1)[:, 0] for role, t in values.items()}


def norms_alike(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], at: Tensor, of: Tensor) -> float:
    """How alike two batch norms are, -1 to 1, in what scales and signs of their channels leave as it is.

    Args:
        at, of: int64 [pairs], which channel of ours is which of theirs.
    """
    both = [
        alike(_compressed(_mean_over_deviation(ours)[at]), _compressed(_mean_over_deviation(theirs)[of])),
        alike(_compressed(_bias_over_weight(ours)[at]), _compressed(_bias_over_weight(theirs)[of])),
    ]
    return sum(both) / len(both)


def levels_alike(ours: Tensor, theirs: Tensor) -> float:
    """How alike what is added to channels is (`Written.behind`), -1 to 1."""
    return alike(_compressed(ours), _compressed(theirs))


def _mean_over_deviation(values: Mapping[str, Tensor]) -> Tensor:
    mean, variance = (values[role].double() for role in ("running_mean", "running_var"))
    return mean.abs() * (variance.clamp_min(0) + _EPS).rsqrt()


def _bias_over_weight(values: Mapping[str, Tensor]) -> Tensor:
    if "weight" not in values or "bias" not in values:
        return torch.zeros(len(values["running_var"]), dtype=torch.float64)
    weight = values["weight"].double().abs()
    return values["bias"].double() / torch.where(weight > 0, weight, torch.inf)


def _compressed(values: Tensor) -> Tensor:
    return values.sign() * values.abs().sqrt()
