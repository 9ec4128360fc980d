"""Kernels counted by their pattern of kept taps; a cell is a pattern together with its mirror image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ticket_sig.prf import Stream

MOST_TAPS = 128  # of a kernel: what a block of 16 bytes holds

Taps = NDArray[np.bool_]
Words = NDArray[np.uint64]


@dataclass(frozen=True)
class Patterns:
    """The patterns of a layer's kernels, each once.

    Attributes:
        taps: [patterns, kernel's sizes], boolean: kept.
        counts: [patterns], kernels of each.
        of: [kernels], the pattern of each kernel.
    """

    taps: Taps
    counts: NDArray[np.int64]
    of: NDArray[np.int64]

    @classmethod
    def of_kernels(cls, kept: Tensor) -> Patterns:
        """Counts the kernels of a layer: boolean [out, in, kernel's sizes]."""
        taps = kept.flatten(0, 1).numpy()
        first, of = _each_once(_words(taps))
        return cls(taps[first], np.bincount(of, minlength=len(first)), of)

    def cells(self, turn: Turn) -> Cells:
        """Pairs each pattern, turned, with its mirror image."""
        taps = turn.of(self.taps)
        own, image = _words(taps), _words(taps[..., ::-1])
        low = np.where(own[:, 1] == image[:, 1], own[:, 0] < image[:, 0], own[:, 1] < image[:, 1])
        side = np.where((own == image).all(1), 0, np.where(low, 1, -1))
        first, of = _each_once(np.where(low[:, None], own, image))
        counts = np.bincount(of, weights=self.counts * abs(side), minlength=len(first)).astype(float)
        differences = np.bincount(of, weights=self.counts * side, minlength=len(first)).astype(float)
        return Cells(np.where(low[:, None], own, image)[first], counts, differences, of, side)


@dataclass(frozen=True)
class Cells:
    """The cells of a layer, each a pattern and its mirror image; those that are their own image are empty.

    Attributes:
        words: [cells, 2], the taps of the first of the two patterns, in 16 bytes.
        counts: [cells], n: kernels of either pattern.
        differences: [cells], D: kernels of the first less those of the second.
        of: [patterns], the cell of each pattern.
        side: [patterns], 1 for the first of its cell, -1 for the second, 0 for its own image.
    """

    words: Words
    counts: NDArray[np.float64]
    differences: NDArray[np.float64]
    of: NDArray[np.int64]
    side: NDArray[np.int64]

    def keyed(self, stream: Stream, layer: int, bits: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The bit that each cell belongs to, and its sign, 1 or -1."""
        words = stream.of_blocks(layer, self.words)
        return (words[:, 0] % bits).astype(np.int64), 1 - 2 * (words[:, 1] & 1).astype(np.int64)

    @property
    def weights(self) -> NDArray[np.float64]:
        """What a kernel of each cell counts: the less, the more there are of them, n^(-3/4).

        With 1 the few patterns that most kernels have would be nearly all of the evidence; 1/n gives each
        cell the same, whatever it costs to fill. Of the powers between, this one left most after every attack
        on a ResNet-20, for the decoder and for the exact test.
        """
        return np.maximum(self.counts, 1) ** -0.75


@dataclass(frozen=True)
class Turn:
    """A symmetry of a network as a whole, but for the mirroring of the last axis.

    Attributes:
        flipped: axes, from the end.
        swapped: whether the last two axes change places.
    """

    flipped: tuple[int, ...] = ()
    swapped: bool = False

    def of(self, taps: Taps) -> Taps:
        """Taps [patterns, kernel's sizes], turned; an axis that they do not have stays as it is."""
        turned = taps.swapaxes(-1, -2) if self.swapped and taps.ndim > 2 else taps
        # Flipped after it: before it, some turns would be others mirrored, and some would be missing.
        return np.asarray(np.flip(turned, tuple(axis for axis in self.flipped if -axis < taps.ndim)))


def turns(kernels: Sequence[tuple[int, ...]]) -> list[Turn]:
    """All turns of kernels of these sizes; the first is none.

    With the mirroring they are the 2 symmetries of a line, the 4 of a rectangle, the 8 of a square.
    """
    flips: list[tuple[int, ...]] = [()]
    for axis in range(2, max(map(len, kernels)) + 1):
        flips += [(*flipped, -axis) for flipped in flips]
    square = len(flips) > 1 and all(len(sizes) == 1 or sizes[-1] == sizes[-2] for sizes in kernels)
    return [
        Turn(flipped, swapped) for swapped in ((False, True) if square else (False,)) for flipped in flips
    ]


def _words(taps: Taps) -> Words:
    """Each pattern in 16 bytes, as two words, [patterns, 2]."""
    packed = np.packbits(taps.reshape(len(taps), -1), axis=1, bitorder="little")
    block = np.zeros((len(taps), MOST_TAPS // 8), dtype=np.uint8)
    block[:, : packed.shape[1]] = packed
    return block.view("<u8").astype(np.uint64)


def _each_once(words: Words) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first place of each pattern, and which of these each place has; the patterns in order."""
    order = np.lexsort(words.T)
    new = np.ones(len(words), dtype=bool)
    new[1:] = (words[order[1:]] != words[order[:-1]]).any(1)
    of = np.empty(len(words), dtype=np.int64)
    of[order] = np.cumsum(new) - 1
    return order[new], of
