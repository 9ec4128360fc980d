"""Reading the mirror code: the layers' differences under the keyed signs, in every turn of the network."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, reduce
from operator import add

import numpy as np
import scipy  # `scipy.optimize` takes time to import, and is imported where it is first used
from numpy.typing import NDArray
from torch import Tensor

from ticket_sig.errors import InputError, not_there
from ticket_sig.formats.names import found_elsewhere, names_in
from ticket_sig.marks.carrier import Layer, Measured, by_shape
from ticket_sig.marks.mark import check_dtype
from ticket_sig.marks.message_code import Signs
from ticket_sig.marks.mirror.cells import Cells, Patterns, Turn, turns
from ticket_sig.marks.strength import kept_as_claimed
from ticket_sig.prf import Stream
from ticket_sig.statistics import log10_of_signs, log_orders

_CLEAR = -100.0  # log10: named layers that say so much are not tried in other orders
_MOST_PAIRS = 1 << 17  # of claimed and found layers, in every turn: what a hostile claim may have compared


@dataclass(frozen=True)
class Tally:
    """What cells say of each bit.

    Attributes:
        sums: T, [bits]: the sum of s w D.
        variances: [bits], of T where the two patterns of a cell are equally likely: the sum of w^2 n.
        squares: the sum of w^2 D^2 over all cells.
    """

    sums: NDArray[np.float64]
    variances: NDArray[np.float64]
    squares: float

    @classmethod
    def of_cells(cls, cells: Cells, stream: Stream, layer: int, bits: int) -> Tally:
        """Tallies the cells of one layer."""
        (bit, sign), weights = cells.keyed(stream, layer, bits), cells.weights
        values = weights * cells.differences
        return cls(
            np.bincount(bit, weights=sign * values, minlength=bits).astype(np.float64),
            np.bincount(bit, weights=weights**2 * cells.counts, minlength=bits).astype(np.float64),
            float(values @ values),
        )

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.sums + other.sums, self.variances + other.variances, self.squares + other.squares)


@dataclass(frozen=True)
class Way:
    """One way to read a suspect.

    Attributes:
        names: of the claimed layers, in order, in the suspect.
        turn, side: the network as a whole turned, and mirrored (-1).
        log10_choices: how many ways there were.
    """

    names: tuple[str, ...]
    turn: Turn
    side: int
    log10_choices: float


@dataclass(frozen=True)
class Reader:
    """A suspect under the keyed signs of a claim.

    Attributes:
        layers: as claimed.
        weights: of the suspect, by name.
        sent: the claimed code.
    """

    layers: Sequence[Layer]
    weights: Mapping[str, Tensor]
    stream: Stream
    sent: Signs
    _patterns: dict[tuple[str, int], Patterns] = field(default_factory=dict, init=False)
    _tallies: dict[tuple[int, str, Turn], Tally] = field(default_factory=dict, init=False)

    def measured(self) -> Measured:
        """The reading with the most evidence: the layers by name, or in the order that fits best.

        Each as all turns of the network as a whole, of which the thief may have made one.

        Raises:
            InputError: the suspect has fewer layers of a shape than the claim, or too many to try all orders.
        """
        ways = list(self._by_name())
        if not ways or (self._pairs <= _MOST_PAIRS and min(map(self._log10_p, ways)) > _CLEAR):
            ways += self._by_order()
        best = min(ways, key=self._log10_p)
        tally = self._tally(best)
        return Measured(
            sums=best.side * tally.sums,
            deviations=np.sqrt(tally.variances),
            squares=tally.squares,
            log10_choices=best.log10_choices,
            found_as=found_elsewhere(dict(zip((one.name for one in self.layers), best.names, strict=True))),
        )

    def _by_name(self) -> Iterator[Way]:
        """The ways with every layer under its name; none where a name is not found."""
        claimed = {layer.name: layer.shape for layer in self.layers}
        shapes = {name: tuple(tensor.shape) for name, tensor in self.weights.items()}
        try:
            found = names_in(claimed, shapes)
        except InputError:
            return  # several names could be meant: all orders are tried
        if any(shapes.get(found.get(name, "")) != shape for name, shape in claimed.items()):
            return
        names = tuple(found[name] for name in claimed)
        for name in names:
            check_dtype("model", name, self.weights[name].dtype)
        yield from (Way(names, turn, side, self._log10_turns) for turn in self._turns for side in (1, -1))

    def _by_order(self) -> Iterator[Way]:
        """The ways with layers of a shape in the order that says most for the claimed code."""
        if self._pairs > _MOST_PAIRS:
            expected = f"at most {_MOST_PAIRS} pairs of one shape to compare"
            hint = "restore the claim's names"
            raise not_there("model", "layers", expected, str(self._pairs), hint=hint)
        orders = sum(log_orders(len(mine), len(theirs)) for mine, theirs in self._groups)
        for turn in self._turns:
            for side in (1, -1):
                names = [""] * len(self.layers)
                for mine, theirs in self._groups:
                    says = [
                        [self._of(layer, name, turn).sums @ self.sent for name in theirs] for layer in mine
                    ]
                    rows, columns = scipy.optimize.linear_sum_assignment(side * np.array(says), maximize=True)
                    for row, column in zip(rows, columns, strict=True):
                        names[mine[row]] = theirs[column]
                yield Way(tuple(names), turn, side, self._log10_turns + orders / math.log(10))

    @cached_property
    def _groups(self) -> list[tuple[list[int], list[str]]]:
        """For each shape the claimed layers, by number, and those of the suspect, by name."""
        return [(mine, self._of_shape(shape, len(mine))) for shape, mine in by_shape(self.layers).items()]

    def _of_shape(self, shape: tuple[int, ...], least: int) -> list[str]:
        """The suspect's layers of a shape; NotThere where there are fewer than so many."""
        theirs = [
            name for name, t in self.weights.items() if tuple(t.shape) == shape and t.is_floating_point()
        ]
        if len(theirs) < least:
            expected, hint = f"{least} of shape {list(shape)}", "is it a network of this architecture?"
            raise not_there("model", "layers", expected, str(len(theirs)), hint=hint)
        return theirs

    @cached_property
    def _pairs(self) -> int:
        """How many times a claimed layer is compared with one of the suspect's, to try all orders."""
        return len(self._turns) * sum(len(mine) * len(theirs) for mine, theirs in self._groups)

    @cached_property
    def _turns(self) -> list[Turn]:
        return turns([layer.shape[2:] for layer in self.layers])

    @property
    def _log10_turns(self) -> float:
        """Of the choice among all turns, mirrored or not, by name or in order."""
        return math.log10(2 * 2 * len(self._turns))

    def _log10_p(self, way: Way) -> float:
        """For this way, and all that it was chosen from."""
        tally = self._tally(way)
        sigma = way.side * float(tally.sums @ self.sent) / math.sqrt(tally.squares or 1)
        return log10_of_signs(sigma) + way.log10_choices

    def _tally(self, way: Way) -> Tally:
        return reduce(add, (self._of(layer, name, way.turn) for layer, name in enumerate(way.names)))

    def _of(self, layer: int, name: str, turn: Turn) -> Tally:
        """What a layer of the suspect says when it is taken for a claimed one."""
        if (layer, name, turn) not in self._tallies:
            kept = self.layers[layer].kept
            if (name, kept) not in self._patterns:
                self._patterns[name, kept] = Patterns.of_kernels(kept_as_claimed(self.weights[name], kept))
            cells = self._patterns[name, kept].cells(turn)
            self._tallies[layer, name, turn] = Tally.of_cells(cells, self.stream, layer, len(self.sent))
        return self._tallies[layer, name, turn]
