"""Which bit of the code each weight speaks for, and with which sign: keyed, and nothing is permuted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ticket_sig.marks.carrier import Layer
from ticket_sig.prf import Stream

CAP = 1 << 22  # weights that are used of a large model, as an expectation
_RUN = 1 << 10  # weights in a row that are used together, or not
_PART = 1 << 18  # weights that are counted together
_RUNS_AT = 1 << 64  # words from here on say which; no model has so many weights

Groups = NDArray[np.uint16]
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Signs:
    """The weights that carry a code, all layers one after another; n of them.

    Attributes:
        places: for each layer, where its weights lie in the flattened tensor, ascending.
        layers: [n], each weight's layer, its number in the claim.
        groups: [n], the bit of the code that it speaks for.
        signs: [n], 1 or -1: on which side.
        words: [n], of 31 bits, that decided the groups: fair, whatever the signs.
        size: bits of the code.
    """

    places: Sequence[NDArray[np.int64]]
    layers: Groups
    groups: Groups
    signs: NDArray[np.int8]
    words: NDArray[np.uint32]
    size: int

    def standing(self, kept: NDArray[np.bool_]) -> tuple[Numbers, Numbers]:
        """What keyed signs measure in kept weights [n]: T = sum s a, and sum a^2, for each bit, [size].

        a is 1 for a kept weight and 0 for another, less the share that is kept of its layer. It knows nothing
        of the signs: which weights are used is decided by other words than theirs.
        """
        sums, squares = np.zeros(self.size), np.zeros(self.size)
        cuts = np.cumsum([len(at) for at in self.places])[:-1]
        for groups, signs, own in zip(
            *(np.split(one, cuts) for one in (self.groups, self.signs, kept)), strict=True
        ):
            share = float(own.mean()) if len(own) else 0.0
            sums += self._count(groups[own], signs[own]) - share * self._count(groups, signs)
            squares += (1 - 2 * share) * self._count(groups[own]) + share**2 * self._count(groups)
        return sums, squares

    def of_layer(self, number: int) -> Signs:
        """Those of one layer."""
        own = slice(*np.searchsorted(self.layers, (number, number + 1)))
        return Signs(
            [self.places[number]],
            self.layers[own],
            self.groups[own],
            self.signs[own],
            self.words[own],
            self.size,
        )

    def _count(self, groups: Groups, weights: NDArray[np.int8] | None = None) -> Numbers:
        total = np.zeros(self.size)
        for start in range(0, len(groups), _PART):  # `bincount` makes 16 bytes of every weight
            part = slice(start, start + _PART)
            total += np.bincount(groups[part], None if weights is None else weights[part], self.size)
        return total


def signs_of(stream: Stream, layers: Sequence[Layer], size: int, cap: int = CAP) -> Signs:
    """The weights that carry a code of `size` bits, from one 32-bit word for each.

    A weight's word is the one at its position, counted through all layers. Its lowest bit is the sign, the
    others are the bit of the code. Where there are more than `cap` weights, runs of 1024 are taken with
    chance cap / weights, each by a word of its own: no words are drawn for the others.
    """
    sizes = [math.prod(layer.shape) for layer in layers]
    ends = np.cumsum(sizes)
    total = int(ends[-1])
    runs = np.arange(-(-total // _RUN))
    if total > cap:
        runs = runs[stream.words(_RUNS_AT, len(runs)) < np.uint32(cap / total * 2**32)]
    positions = np.add.outer(runs * _RUN, np.arange(_RUN)).ravel()
    positions = positions[: np.searchsorted(positions, total)]
    words = _words(stream, runs)[: len(positions)]
    signs = ((words & 1).astype(np.int8) << 1) - np.int8(1)
    words >>= 1
    cuts = np.searchsorted(positions, ends)
    places = np.split(positions, cuts[:-1])
    for at, end, own in zip(places, ends, sizes, strict=True):
        at -= end - own
    groups = np.empty(len(words), dtype=np.uint16)
    for start in range(0, len(words), _PART):  # 8 bytes of every weight in between
        part = slice(start, start + _PART)
        groups[part] = words[part] * np.uint64(size) >> np.uint64(31)
    return Signs(
        places=places,
        layers=np.repeat(np.arange(len(layers), dtype=np.uint16), np.diff(cuts, prepend=0)),
        groups=groups,
        signs=signs,
        words=words,
        size=size,
    )


def _words(stream: Stream, runs: NDArray[np.int64]) -> NDArray[np.uint32]:
    """The words of these runs, neighbours together."""
    firsts = np.flatnonzero(np.diff(runs, prepend=-2) != 1)
    lengths = np.diff(np.append(firsts, len(runs)))
    parts = [stream.words(int(runs[f]) * _RUN, int(n) * _RUN) for f, n in zip(firsts, lengths, strict=True)]
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.uint32)
