"""Readings of many networks under many secrets at once: the same p-values that `Carrier.read` gives.

What stands in a network does not depend on the secret, and what a secret decides does not depend on the
network: so one is a matrix [networks, places], the other [places, secrets], and all readings are a product.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from experiments.lib.bench import no_secret
from ticket_sig.marks.mirror.cells import Cells, Patterns, turns
from ticket_sig.marks.mirror.mark import Mirror
from ticket_sig.marks.secret import Secret
from ticket_sig.marks.spread.mark import Spread
from ticket_sig.marks.spread.signs import Signs, signs_of
from ticket_sig.marks.strength import kept_as_claimed, strongest
from ticket_sig.statistics import log10_of_signs
from ticket_sig.ticket import Ticket

Numbers = NDArray[np.float32]
_log10_of_signs = np.vectorize(log10_of_signs, otypes=[float])
_STEP, _MOST = 0.01, 100.0  # standard deviations


def numbered(number: int) -> Secret:
    """One of the secrets that are tried; nothing depends on them but the readings."""
    return Secret(no_secret(f"ticket_sig calibration, secret {number}"))


class Many(Protocol):
    """Networks under one claim.

    Attributes:
        imbalance: of the mirror code, how many times larger than by chance the squared differences of a
            pattern and its mirror image are: in the network where they are smallest, and where largest.
    """

    @property
    def imbalance(self) -> tuple[float, float] | None:
        """As above; None for the spread code."""

    def log10_p(self, secrets: Sequence[Secret]) -> NDArray[np.float64]:
        """[networks, secrets], for one secret and one message; the ways to read a network are counted."""


class ManySpread:
    """The spread code; of networks that are not so large that a secret chooses among their weights."""

    imbalance = None

    def __init__(self, mark: Spread, suspects: Sequence[Ticket]) -> None:
        self.mark = mark
        signs = self._signs(numbered(0))
        assert len(signs.signs) == sum(math.prod(layer.shape) for layer in mark.layers)
        stands = np.stack([self._stands(suspect, signs) for suspect in suspects])
        self.stands = stands / np.linalg.norm(stands, axis=1, keepdims=True)

    def log10_p(self, secrets: Sequence[Secret]) -> NDArray[np.float64]:
        """As `Many`."""
        sent = self.mark.code.encode(self.mark.payload.data)
        keyed = np.empty((len(secrets), self.stands.shape[1]), dtype=np.float32)
        for row, secret in zip(keyed, secrets, strict=True):
            signs = self._signs(secret)
            np.multiply(signs.signs, sent[signs.groups], out=row)
        return np.asarray(_log10_of_signs(self.stands @ keyed.T))

    def _signs(self, secret: Secret) -> Signs:
        return signs_of(self.mark.stream(secret), self.mark.layers, self.mark.code.size)

    def _stands(self, suspect: Ticket, signs: Signs) -> Numbers:
        """What stands in each weight: kept or not, less the share of its layer that is kept."""
        parts = [
            strongest(suspect.weights[layer.name], layer.kept, at)
            for layer, at in zip(self.mark.layers, signs.places, strict=True)
        ]
        return np.concatenate([kept - kept.mean() for kept in parts]).astype(np.float32)


@dataclass(frozen=True)
class Shape:
    """Layers of one shape.

    Attributes:
        mine: the claimed ones, by number.
        theirs: the suspects' own, by name.
        named: for each claimed one, which of theirs has its name.
        words: for each claimed one, the cells that any suspect has; their counts are of no use.
        stands: what stands in them, w D, [turns, mine, theirs, networks, cells].
        squares: of it, [turns, mine, theirs, networks].
        filled: cells that have kernels, [networks], of the layers by name.
    """

    mine: Sequence[int]
    theirs: Sequence[str]
    named: Sequence[int]
    words: Sequence[Cells]
    stands: Sequence[NDArray[np.float64]]
    squares: NDArray[np.float64]
    filled: NDArray[np.int64]

    def says(self, keyed: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
        """T towards the claimed code, [turns, mine, theirs, networks, secrets]."""
        return np.stack([one @ signs for one, signs in zip(self.stands, keyed, strict=True)], axis=1)


class ManyMirror:
    """The mirror code: the layers by name, and in the order that says most, in every turn."""

    def __init__(self, mark: Mirror, suspects: Sequence[Ticket]) -> None:
        self.mark, self.turns = mark, turns([layer.shape[2:] for layer in mark.layers])
        self.shapes = [self._of_shape(suspects, shape) for shape in {layer.shape: 0 for layer in mark.layers}]
        self.log10_turns = math.log10(4 * len(self.turns))  # by name or in order, mirrored or not
        orders = [(len(one.mine), len(one.theirs)) for one in self.shapes]
        log_orders = sum(math.lgamma(all_ + 1) - math.lgamma(all_ - few + 1) for few, all_ in orders)
        self.log10_orders = self.log10_turns + log_orders / math.log(10)
        steps = np.arange(0, _MOST, _STEP)
        self.telling = next(s for s in steps if log10_of_signs(s) + self.log10_orders < 0)

    def _of_shape(self, suspects: Sequence[Ticket], shape: tuple[int, ...]) -> Shape:
        layers = {number: one for number, one in enumerate(self.mark.layers) if one.shape == shape}
        theirs = [name for name, tensor in suspects[0].weights.items() if tuple(tensor.shape) == shape]
        named = [theirs.index(layer.name) for layer in layers.values()]
        words, stands, filled = [], [], np.zeros(len(suspects), dtype=np.int64)
        for layer in layers.values():
            cells = self._cells(suspects, theirs, layer.kept)
            words.append(
                replace(cells[0], words=np.unique(np.concatenate([one.words for one in cells]), axis=0))
            )
            rows = np.stack([_rows(one, words[-1].words) for one in cells])
            stands.append(rows.reshape(len(self.turns), len(theirs), len(suspects), -1))
            own = theirs.index(layer.name) * len(suspects)
            filled += [np.count_nonzero(one.counts) for one in cells[own : own + len(suspects)]]
        squares = np.stack([(one**2).sum(-1) for one in stands], axis=1)
        return Shape(list(layers), theirs, named, words, stands, squares, filled)

    def _cells(self, suspects: Sequence[Ticket], theirs: Sequence[str], kept: int) -> list[Cells]:
        """Of every turn, layer and network, in this order."""
        patterns = [
            Patterns.of_kernels(kept_as_claimed(one.weights[name], kept))
            for name in theirs
            for one in suspects
        ]
        return [one.cells(turn) for turn in self.turns for one in patterns]

    @property
    def imbalance(self) -> tuple[float, float]:
        """As `Many`."""
        squares = sum(one.squares[0, range(len(one.mine)), one.named].sum(0) for one in self.shapes)
        chance = squares / np.maximum(sum(one.filled for one in self.shapes), 1)
        return float(np.min(chance)), float(np.max(chance))

    def log10_p(self, secrets: Sequence[Secret]) -> NDArray[np.float64]:
        """As `Many`."""
        says = [
            one.says([self._keyed(secrets, *of) for of in zip(one.mine, one.words, strict=True)])
            for one in self.shapes
        ]
        found = np.zeros(says[0].shape[-2:])
        for turn in range(len(self.turns)):
            # T and its squares, [mine, theirs, networks(, secrets)], of each shape
            pairs = [(t[turn], one.squares[turn], one) for t, one in zip(says, self.shapes, strict=True)]
            sums = sum(t[range(len(t)), one.named].sum(0) for t, _, one in pairs)
            squares = sum(q[range(len(q)), one.named].sum(0) for _, q, one in pairs)
            by_name = _log10_of_signs(_over(abs(sums), squares)) + self.log10_turns
            found = np.minimum(found, by_name)
            least = sum(q.min(1).sum(0) for _, q, _ in pairs)
            for side in (1, -1):
                most = sum((side * t).max(1).sum(0) for t, _, _ in pairs)
                for row, column in np.argwhere(_over(most, least) > self.telling):
                    in_order = self._in_order(pairs, side, row, column)
                    found[row, column] = min(found[row, column], in_order)
        return found

    def _in_order(self, pairs: Sequence[Any], side: int, network: int, secret: int) -> float:
        """log10 p with layers of a shape in the order that says most for the claimed code."""
        total = squares = 0.0
        for says, square, _ in pairs:
            t = side * says[:, :, network, secret]
            order = linear_sum_assignment(t, maximize=True)
            total, squares = total + t[order].sum(), squares + square[:, :, network][order].sum()
        return log10_of_signs(total / math.sqrt(squares)) + self.log10_orders

    def _keyed(self, secrets: Sequence[Secret], number: int, cells: Cells) -> NDArray[np.float64]:
        """Signs times the claimed code, [cells, secrets]."""
        code = self.mark.code
        sent, columns = code.encode(self.mark.payload.data), []
        for secret in secrets:
            bits, signs = cells.keyed(self.mark.stream(secret), number, code.size)
            columns.append(signs * sent[bits])
        return np.stack(columns, axis=1).astype(np.float64)


def _rows(cells: Cells, words: NDArray[np.uint64]) -> NDArray[np.float64]:
    """w D of every cell that any network has, [cells]."""
    place = {word: at for at, word in enumerate(map(bytes, words))}
    row = np.zeros(len(words))
    row[[place[bytes(word)] for word in cells.words]] = cells.weights * cells.differences
    return row


def _over(sums: NDArray[np.float64], squares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard deviations; 0 where nothing stands."""
    return sums / np.sqrt(np.where(squares > 0, squares, np.inf))[:, None]


MANY: dict[str, Callable[[Any, Sequence[Ticket]], Many]] = {"spread": ManySpread, "mirror": ManyMirror}
