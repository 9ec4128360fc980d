"""What of a suspect a layer of the reference could be: one layer, or two without anything between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import isqrt, prod

import torch
from torch import Tensor

from ticket_sig.models.graph import Link
from ticket_sig.recovery.normed import affine_of
from ticket_sig.recovery.parts import Part
from ticket_sig.recovery.rounding import without_rounding

SYMMETRIES = 8  # of a square
# Share of a larger kernel's squares that may lie outside the reference's taps, in a quarter of the inputs;
# others may have noise there that cancels between a channel and its copy.
_RING, _CLEAN = 0.05, 0.75
_MORE_TAPS = 8  # in each direction
_MORE_OUTPUTS = 1024
_COLOURS = (3, 1)  # channels of images


@dataclass(frozen=True)
class Slot:
    """A layer of the reference, and what the suspect's must fit.

    Attributes:
        link: its channels.
        shape: of its weight.
        width: how many channels the suspect has in the layer's input.
        first: whether the layer reads the network's input.
    """

    link: Link
    shape: tuple[int, ...]
    width: int
    first: bool = False

    @property
    def widest(self) -> int:
        """How many outputs the suspect's may have: all pairs of them are compared."""
        return 4 * self.link.heads.numel() + _MORE_OUTPUTS

    @property
    def depthwise(self) -> bool:
        """Whether every output reads one channel alone."""
        groups, _, inputs = self.link.shape
        return groups > 1 and inputs == 1

    @property
    def taps(self) -> tuple[int, ...]:
        """The shape of a kernel; the pixels of a channel, where a linear layer reads flattened images."""
        pixels = prod(self.shape) // prod(self.link.shape)
        return self.shape[2:] if len(self.shape) > 2 else (pixels,) if pixels > 1 else ()

    @property
    def spatial(self) -> bool:
        """Whether its kernels change if images are mirrored."""
        return prod(self.taps) > 1 or self.image is not None

    @property
    def image(self) -> tuple[int, int, int] | None:
        """Channels, height and width of the flattened image that a first linear layer reads."""
        sides = {channels: isqrt(self.width // channels) for channels in _COLOURS}
        square = [(n, side, side) for n, side in sides.items() if side > 1 and n * side * side == self.width]
        return square[0] if self.first and len(self.shape) == 2 and square else None


@dataclass(frozen=True)
class Candidate:
    """What could be the layer.

    Attributes:
        parts: one layer; or two, the first read by the second, and a batch norm between them.
        kernels: [out, in of a group, taps], of the suspect's channels and the reference's taps.
        bias: [out], or None.
        padded: whether its kernels were larger than the reference's.
        turned: whether they were turned back.
    """

    parts: tuple[Part, ...]
    kernels: Tensor
    bias: Tensor | None
    padded: bool
    turned: bool = False

    def weight(self, slot: Slot) -> Tensor:
        """The kernels as a weight: of the suspect's widths, else as the reference's."""
        kernels = self.kernels.transpose(0, 1) if slot.link.transposed else self.kernels
        out, into = kernels.shape[:2]
        return kernels.reshape((out, into, *slot.taps) if len(slot.shape) > 2 else (out, -1)).contiguous()


def single(part: Part, slot: Slot, symmetry: int) -> Candidate | None:
    """The part as the layer, the network turned by `symmetry` (`turned`); None where it cannot be it."""
    groups, outputs, inputs = slot.link.shape
    weight = _whole(part, slot, inputs if groups > 1 else slot.width)
    found = None if weight is None else _cut(weight, slot.taps)
    if found is None:
        return None
    kernels, padded = found
    expected = slot.width * outputs if slot.depthwise else groups * outputs
    if groups > 1 and (len(kernels) != expected or not (slot.depthwise or slot.width == groups * inputs)):
        return None
    moved = turned(kernels, slot, symmetry)
    if moved is None:
        return None
    return Candidate((part,), moved, _bias(part, moved), padded, bool(symmetry) and slot.spatial)


def chains(parts: Sequence[Part], norms: Sequence[Part], slot: Slot, symmetry: int) -> Iterator[Candidate]:
    """Two parts as the layer, one read by the other, and one with kernels of one tap: their products.

    A batch norm may stand between them.
    """
    if slot.link.shape[0] > 1 or slot.link.transposed:
        return
    for fit_first, fit_second in ((_point, _whole), (_whole, _point))[: 1 + slot.spatial]:
        for first in parts:
            inner = fit_first(first, slot, slot.width)
            if inner is None:
                continue
            within = [None, *(norm for norm in norms if norm.width == len(inner))]
            for second in parts:
                out = None if second is first else fit_second(second, slot, len(inner))
                if out is None:
                    continue
                for norm in within:
                    chain = _chain((first, norm, second), inner, out, slot, symmetry)
                    if chain is not None:
                        yield chain


def _chain(
    parts: tuple[Part, Part | None, Part], first: Tensor, second: Tensor, slot: Slot, symmetry: int
) -> Candidate | None:
    """The product of two layers' kernels, and its bias. What padding adds to a bias within is left out."""
    bias = _bias(parts[0], first)
    if (norm := parts[1]) is not None:
        affine = affine_of(norm.values)
        first = first * affine.scale.reshape(-1, *[1] * (first.ndim - 1))
        bias = affine.shift if bias is None else affine.shift + affine.scale * bias.double()
    sides = max(first.shape[2:], second.shape[2:], key=prod)
    whole = _product(second, first, parts[0].weight.dtype).reshape(len(second), -1, *sides)
    cut = _cut(whole, slot.taps)
    moved = None if cut is None else turned(cut[0], slot, symmetry)
    if cut is None or moved is None:
        return None
    own = _bias(parts[2], second)
    if bias is not None:
        passed = second.double().flatten(2).sum(2) @ bias.double()
        own = passed if own is None else passed + own.double()
    back = bool(symmetry) and slot.spatial
    return Candidate(tuple(part for part in parts if part is not None), moved, own, cut[1], back)


def _product(second: Tensor, first: Tensor, dtype: torch.dtype) -> Tensor:
    """The kernels of two layers in a row, one with kernels of one tap: float64 [out, in, taps]."""
    pair = second.flatten(2).double(), first.flatten(2).double()
    sums, squares = (torch.einsum("omt,mis->oits", *both) for both in (pair, [k.square() for k in pair]))
    return without_rounding(sums, squares, dtype).flatten(2)


def _bias(part: Part, kernels: Tensor) -> Tensor | None:
    """A part's bias; None where it is no bias of what these kernels write."""
    bias = part.values.get("bias")
    return bias if bias is not None and len(bias) == len(kernels) else None


def _point(part: Part, slot: Slot, into: int) -> Tensor | None:
    """A part's weight as kernels of one tap, as one of two layers has them."""
    weight = _shaped(part, slot, into, ())
    cut = None if weight is None else _cut(weight, ())
    return None if cut is None else cut[0]


def _whole(part: Part, slot: Slot, into: int) -> Tensor | None:
    """A part's weight as kernels of the slot's taps, or more."""
    return _shaped(part, slot, into, slot.taps)


def _shaped(part: Part, slot: Slot, into: int, taps: tuple[int, ...]) -> Tensor | None:
    """A part's weight as [out, into, ...], with these taps or more; None where it cannot be so."""
    weight = part.weight
    if slot.link.transposed and weight.ndim > 2:
        weight = weight.transpose(0, 1)
    if len(weight) > slot.widest:
        return None
    if weight.ndim == 2:
        count = prod(taps)
        return weight.reshape(len(weight), into, count) if weight.shape[1] == into * count else None
    wanted = _wanted(weight, taps)
    if weight.shape[1] != into or len(wanted) != weight.ndim - 2:
        return None
    more = [have - want for have, want in zip(weight.shape[2:], wanted, strict=True)]
    return weight if min(more) >= 0 and max(more) <= _MORE_TAPS else None


def _wanted(weight: Tensor, taps: tuple[int, ...]) -> tuple[int, ...]:
    """The taps in as many dimensions as a convolution's weight has."""
    return taps if prod(taps) > 1 else (1,) * (weight.ndim - 2)


def _cut(weight: Tensor, taps: tuple[int, ...]) -> tuple[Tensor, bool] | None:
    """Kernels [out, in, ...], cut where they have more taps, and whether they had; None if more are in use.

    Zeros stand around kernels, or beside them: in a mirrored network with strides.
    """
    wanted = _wanted(weight, taps)
    if len(wanted) != weight.ndim - 2:  # a linear layer's, flattened
        return weight, False
    more = [have - want for have, want in zip(weight.shape[2:], wanted, strict=True)]
    if not any(more):
        return weight, False
    sizes = weight.double().square().sum(0)
    total = sizes.flatten(1).sum(1)
    sizes = sizes[total > 0] / total[total > 0].reshape(-1, *[1] * len(wanted))
    centre = product(*([n // 2, *(k for k in range(n + 1) if k != n // 2)] for n in more))
    windows = [tuple(slice(n, n + want) for n, want in zip(at, wanted, strict=True)) for at in centre]
    shares = [sizes[(slice(None), *window)].flatten(1).sum(1) for window in windows]
    within = [float(share.quantile(_CLEAN)) if len(share) else 1.0 for share in shares]
    best = windows[within.index(max(within))]
    return (weight[(slice(None), slice(None), *best)], True) if max(within) >= 1 - _RING else None


def turned(kernels: Tensor, slot: Slot, symmetry: int) -> Tensor | None:
    """Kernels of a network that was turned back, [out, in, taps].

    Args:
        kernels: [out, in, ...], with the slot's taps.
        symmetry: 0 to 7. First mirrored left to right (1) and upside down (2), then transposed (4).

    Returns:
        None where they cannot be turned so: they, or the flattened images that they read, are not square.
    """
    flat = kernels.reshape(*kernels.shape[:2], -1)
    if not symmetry or not slot.spatial:
        return flat
    sides = slot.taps
    if (image := slot.image) is not None:
        return _square(flat.reshape(len(flat), *image), symmetry).reshape(flat.shape)
    if len(slot.shape) == 2:  # the pixels of a flattened image
        sides = (isqrt(flat.shape[2]),) * 2
    if len(sides) != 2 or prod(sides) != flat.shape[2] or (symmetry & 4 and sides[0] != sides[1]):
        return None
    return _square(flat.reshape(*flat.shape[:2], *sides), symmetry).flatten(2)


def _square(images: Tensor, symmetry: int) -> Tensor:
    """Images [..., height, width], turned."""
    images = images.flip([axis for axis, bit in ((-1, 1), (-2, 2)) if symmetry & bit])
    return images.transpose(-1, -2) if symmetry & 4 else images
