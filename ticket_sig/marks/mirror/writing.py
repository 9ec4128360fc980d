"""Writing the mirror code: kernels of the wrong side are mirrored in place, the cheapest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import add

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ticket_sig.errors import bad_input
from ticket_sig.marks.carrier import LEAST_MARGIN
from ticket_sig.marks.message_code import CRC, MessageCode, Signs
from ticket_sig.marks.mirror.cells import Cells, Patterns, Turn
from ticket_sig.marks.mirror.reading import Tally
from ticket_sig.mask import Mask
from ticket_sig.prf import Stream
from ticket_sig.ticket import Ticket

_TOLD = 1.5  # bits that the network can tell for each bit of the message, at the least

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Writer:
    """A ticket's kernels by cell, to be written.

    Attributes:
        names: of the layers.
        patterns, cells: of each.
    """

    ticket: Ticket
    stream: Stream
    names: Sequence[str]
    patterns: Sequence[Patterns]
    cells: Sequence[Cells]
    _reached: dict[int, Floats] = field(default_factory=dict, init=False)

    @classmethod
    def of_ticket(cls, ticket: Ticket, names: Sequence[str], stream: Stream) -> Writer:
        """Counts the kernels of some layers."""
        patterns = [Patterns.of_kernels(ticket.mask[name]) for name in names]
        return cls(ticket, stream, names, patterns, [one.cells(Turn()) for one in patterns])

    def written(self, sent: Signs, margin: float) -> Mask:
        """The mask in which all bits together stand as if each did by a margin.

        Bits of too few kernels are written with all of them, and the others stand by more.
        """
        tally, level = self._tally(len(sent)), self._level(len(sent), margin)
        need = level * np.sqrt(tally.variances) - tally.sums * sent
        moves = [self._moves(number, sent) for number in range(len(self.names))]
        layer = np.repeat(np.arange(len(moves)), [len(kernels) for kernels, *_ in moves])
        kernel, bit, gain, price = (np.concatenate(column) for column in zip(*moves, strict=True))
        order = np.lexsort((price / gain, bit))
        gained = np.cumsum(gain[order]) - gain[order]  # by those before
        gained -= gained[np.searchsorted(bit[order], bit[order])]  # of the same bit
        chosen = order[gained < need[bit[order]]]
        written = dict(self.ticket.mask)
        for number, name in enumerate(self.names):
            written[name] = mirrored(written[name], kernel[chosen[layer[chosen] == number]])
        return Mask.of_own(written)

    def check(self, length: int, margin: float) -> None:
        """Checks that a message of so many bytes fits by a margin; InputError says what would."""
        if self.fits(length, margin):
            return
        shorter = next((n for n in range(length - 1, 0, -1) if self.fits(n, margin)), 0)
        tenths = range(int(10 * margin), int(10 * LEAST_MARGIN) - 1, -1)
        lower = next((m / 10 for m in tenths if self.fits(length, m / 10)), 0)
        expected = "a lower margin" if lower else "kernels of more patterns"
        if shorter:
            expected = f"at most {shorter} bytes at margin {margin:.3g}"
        hint = f"it would fit at --margin {lower:g}" if lower else "or take the mark spread"
        raise bad_input("mirror", "message", expected, f"{length} bytes", hint=hint)

    def fits(self, length: int, margin: float) -> bool:
        """Whether a message of so many bytes fits: the margins can stand, and enough does to decode from.

        A bit that stands by z standard deviations tells about 1 - exp(-0.6 z^2) of it.
        """
        bits = MessageCode(length).size
        if (level := self._level(bits, margin)) == np.inf:
            return False
        told = 1 - np.exp(-0.6 * np.minimum(level, self._reach(bits)) ** 2)
        return float(told.sum()) >= _TOLD * 8 * (length + CRC)

    def _level(self, bits: int, margin: float) -> float:
        """By how much bits that can are to stand, so that the squares of all come to those of the margin."""
        reach = np.sort(self._reach(bits))
        wanted, below = bits * margin**2, np.cumsum(reach**2)
        at_each = below + reach**2 * np.arange(
            bits - 1, -1, -1
        )  # all squares, with a bit's reach as the level
        if at_each[-1] < wanted:
            return np.inf
        first = int(np.searchsorted(at_each, wanted))
        return float(np.sqrt((wanted - below[first] + reach[first] ** 2) / (bits - first)))

    def _reach(self, bits: int) -> Floats:
        """By how many standard deviations each bit would stand in all its kernels."""
        if bits not in self._reached:
            most = np.zeros(bits)
            for number, cells in enumerate(self.cells):
                bit, _ = cells.keyed(self.stream, number, bits)
                most += np.bincount(bit, weights=cells.weights * cells.counts, minlength=bits)
            deviations = np.sqrt(self._tally(bits).variances)
            self._reached[bits] = np.divide(most, deviations, out=np.zeros(bits), where=deviations > 0)
        return self._reached[bits]

    def _tally(self, bits: int) -> Tally:
        return reduce(add, (Tally.of_cells(c, self.stream, n, bits) for n, c in enumerate(self.cells)))

    def _moves(self, layer: int, sent: Signs) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats, Floats]:
        """The kernels of a layer on the wrong side: which, of which bit, what each gains and its price."""
        cells, patterns, name = self.cells[layer], self.patterns[layer], self.names[layer]
        bit, sign = cells.keyed(self.stream, layer, len(sent))
        wrong = cells.side * sign[cells.of] * sent[bit[cells.of]] < 0
        kernels = np.flatnonzero(wrong[patterns.of])
        cell = cells.of[patterns.of[kernels]]
        return kernels, bit[cell], 2 * cells.weights[cell], self._prices(name, kernels)

    def _prices(self, name: str, kernels: NDArray[np.int64]) -> Floats:
        """What mirroring kernels costs: for each tap that moves 1 and its size, in means of the layer.

        Less the size of the weight that comes back, where the rewind weights are known: a large one makes
        up for the 1.
        """
        kept = self.ticket.mask[name]
        taps = _kernels(kept, kernels)
        goes = taps & ~taps.flip(-1)
        price = goes + goes * _sizes(self.ticket.weights[name], kept, kernels)
        if self.ticket.rewind:
            price -= goes.flip(-1) * _sizes(self.ticket.rewind[name], kept, kernels).clamp(max=1)
        return np.asarray(price.flatten(1).sum(1).numpy())


def mirrored(tensor: Tensor, kernels: NDArray[np.int64]) -> Tensor:
    """A layer in which some kernels, by number, are mirrored."""
    flat = tensor.flatten(0, 1).clone()
    where = torch.from_numpy(kernels)
    flat[where] = flat[where].flip(-1)
    return flat.view(tensor.shape)


def _kernels(tensor: Tensor, kernels: NDArray[np.int64]) -> Tensor:
    return tensor.flatten(0, 1)[torch.from_numpy(kernels)]


def _sizes(weights: Tensor, kept: Tensor, kernels: NDArray[np.int64]) -> Tensor:
    """Magnitudes of kernels' weights, in means of the layer's kept ones."""
    mean = weights.abs().double()[kept].mean()
    return _kernels(weights, kernels).abs().double() / (mean if mean > 0 else 1)
