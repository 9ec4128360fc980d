"""What of a layer no scale of its channels changes: the features that channels are compared by.

Of weights the signs and the square root of their sizes, after rows and columns were balanced
(`models/balance.py`): so which weights are kept counts as much as how large they are. A reference that was
pruned or trained in another way has most of them in common with a copy.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ticket_sig.models.balance import balance
from ticket_sig.models.graph import PARTS, KernelGraph, Link


@dataclass(frozen=True)
class KernelFeatures:
    """Of a layer that links several channels with several.

    Attributes:
        name: of the layer's weight.
        index: place of the link in the graph.
        values: float32 [groups, outputs, inputs, weights of a kernel], mean square 1 (or all zero).
    """

    name: str
    index: int
    link: Link
    values: Tensor


@dataclass(frozen=True)
class ChannelFeatures:
    """Of a batch norm, a depthwise convolution or a bias: some numbers for each channel.

    Attributes:
        name: of the layer's weight.
        index: place of the link in the graph.
        values: float32 [channels, numbers].
        nodes: int64 [channels], of each row.
        signs: int64 [channels] each: the nodes that change a row's sign with their own.
    """

    name: str
    index: int
    values: Tensor
    nodes: Tensor
    signs: tuple[Tensor, ...]


@dataclass(frozen=True)
class Features:
    """All features of a network."""

    kernels: tuple[KernelFeatures, ...]
    channels: tuple[ChannelFeatures, ...]

    def without(self, names: Collection[str]) -> Features:
        """Those of other layers."""
        kernels = tuple(one for one in self.kernels if one.name not in names)
        return Features(kernels, tuple(one for one in self.channels if one.name not in names))


def features_of(
    graph: KernelGraph, weights: Mapping[str, Tensor], eps_of: Callable[[str], float]
) -> Features:
    """The features of a network's links.

    Args:
        weights: all of its tensors by name.
        eps_of: of a batch norm, by the name of its weight.
    """
    kernels, channels = list[KernelFeatures](), list[ChannelFeatures]()
    for index, link in enumerate(graph.links):
        if link.name is None:
            continue
        if link.norm:
            channels += _of_norm(index, link, weights, eps_of(link.name))
        elif link.name in weights:
            own = link.kernels(weights[link.name].detach())
            if link.single:
                channels.append(_of_depthwise(index, link, own))
            else:
                values, rows = _balanced(own)
                kernels.append(KernelFeatures(link.name, index, link, _even(values)))
                channels += _of_bias(index, link, weights, rows)
    return Features(tuple(kernels), tuple(channels))


def _balanced(kernels: Tensor) -> tuple[Tensor, Tensor]:
    """Features of a layer, and the factors of its rows, float64 [groups, outputs]."""
    values, factors = [], []
    for group in kernels:
        rows, columns = balance(group)
        sizes = group.double().abs() * rows[:, None, None] * columns[None, :, None]
        values.append(sizes.sqrt() * group.sign())  # float64: a layer of it may be larger than float32 holds
        factors.append(rows)
    return torch.stack(values), torch.stack(factors)


def _of_depthwise(index: int, link: Link, kernels: Tensor) -> ChannelFeatures:
    """A kernel for each channel, over the mean size of its weights."""
    sizes = kernels[:, 0, 0].double().abs()
    mean = sizes.mean(1, keepdim=True)
    values = (sizes / torch.where(mean > 0, mean, 1)).sqrt() * kernels[:, 0, 0].sign()
    tails, heads = link.tails.flatten(), link.heads.flatten()
    return ChannelFeatures(str(link.name), index, _even(values), heads, (tails, heads))


def _of_norm(index: int, link: Link, weights: Mapping[str, Tensor], eps: float) -> list[ChannelFeatures]:
    """Mean over deviation, and the angle between shift and factor.

    One that has seen nothing, all variances equal, stands for one that was fused with its layer: of it the
    sign of the factor alone tells something, how the sign behind it goes with that of the layer.
    """
    tails, heads = link.tails.flatten(), link.heads.flatten()
    own = {part: weights[name].double() for part, name in link.parts(weights).items()}
    factor, shift, mean, var = (own.get(part) for part in PARTS)
    told = var is None or bool((var != var[0]).any())
    found = list[tuple[Tensor, tuple[Tensor, ...]]]()
    if mean is not None and var is not None:
        size = (mean**2 + (var + eps).clamp_min(0)).sqrt().clamp_min(1e-300)
        found.append((mean / size * told, (tails,)))
    if factor is not None and shift is not None:
        size = torch.hypot(factor, shift)
        size = torch.where(size > 0, size, torch.inf)
        angle = factor / size if told else factor.sign()
        found += [(shift / size * told, (heads,)), (angle, (tails, heads))]
    name = str(link.name)
    return [ChannelFeatures(name, index, v.float()[:, None], heads, signs) for v, signs in found]


def _of_bias(index: int, link: Link, weights: Mapping[str, Tensor], rows: Tensor) -> list[ChannelFeatures]:
    """A bias in the unit of its row."""
    if link.bias is None or link.bias not in weights:
        return []
    values = weights[link.bias].detach().double() * rows.flatten()
    heads = link.heads.flatten()
    return [ChannelFeatures(str(link.name), index, _even(values[:, None]), heads, (heads,))]


def _even(values: Tensor) -> Tensor:
    """Values over their root mean square, float32."""
    size = float(values.double().square().mean().sqrt())
    return (values / (size or 1.0)).float()
