"""Readings of many networks under many secrets at once: the same p-values that `Carrier.read` gives.

What stands in a network does not depend on the secret, and what a secret decides does not depend on the
network: so one is a matrix [networks, places], the other [places, secrets], and all readings are a product.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ticket_sig.formats.names import names_in
from ticket_sig.marks.carrier import Carrier
from ticket_sig.marks.mirror.cells import Cells, Patterns, Turn, turns
from ticket_sig.marks.mirror.mark import Mirror
from ticket_sig.marks.secret import Secret
from ticket_sig.marks.spread.mark import Spread
from ticket_sig.marks.spread.signs import Signs, signs_of
from ticket_sig.marks.spread.strength import strongest
from ticket_sig.marks.strength import kept_as_claimed
from ticket_sig.statistics import corrected, log10_of_signs
from ticket_sig.ticket import Ticket

Numbers = NDArray[np.float32]
_log10_of_signs = np.vectorize(log10_of_signs, otypes=[float])
_STEP, _MOST = 0.01, 100.0  # standard deviations


def numbered(number: int) -> Secret:
    """One of the secrets that are tried; nothing depends on them but the readings."""
    return Secret(hashlib.sha256(f"ticket_sig calibration, secret {number}".encode()).digest())


class Many(Protocol):
    """Networks under one claim.

    Attributes:
        imbalance: of the mirror code, how many times larger than by chance the squared differences of a pattern
            and its mirror image are: in the network where they are smallest, and where they are largest.
    """

    imbalance: tuple[float, float] | None

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
        keyed = np.empty((self.stands.shape[1], len(secrets)), dtype=np.float32)
        for column, secret in enumerate(secrets):
            signs = self._signs(secret)
            keyed[:, column] = signs.signs * sent[signs.groups]
        return np.asarray(_log10_of_signs(self.stands @ keyed))

    def _signs(self, secret: Secret) -> Signs:
        return signs_of(self.mark._stream(secret), self.mark.layers, self.mark.code.size)

    def _stands(self, suspect: Ticket, signs: Signs) -> Numbers:
        """What stands in each weight: kept or not, less the share of its layer that is kept."""
        parts = [
            strongest(suspect.weights[layer.name], layer.kept, at)
            for layer, at in zip(self.mark.layers, signs.places, strict=True)
        ]
        return np.concatenate([kept - kept.mean() for kept in parts]).astype(np.float32)


Way = tuple[int, str, Turn]  # a claimed layer, the suspects' layer that is taken for it, and how it is turned


class ManyMirror:
    """The mirror code: the layers by name in every turn; in other orders where these could say more."""

    def __init__(self, mark: Mirror, suspects: Sequence[Ticket]) -> None:
        self.mark, self.suspects = mark, suspects
        shapes = {name: tuple(tensor.shape) for name, tensor in suspects[0].weights.items()}
        found = names_in({layer.name: layer.shape for layer in mark.layers}, shapes)
        self.named = [found[layer.name] for layer in mark.layers]
        self.theirs = [
            [name for name, shape in shapes.items() if shape == layer.shape] for layer in mark.layers
        ]
        self.turns = turns([layer.shape[2:] for layer in mark.layers])
        self.words: list[Cells] = []
        self.stands: dict[Way, NDArray[np.float64]] = {}
        self.filled: dict[Way, NDArray[np.int64]] = {}
        for number in range(len(mark.layers)):
            self._measure(number)
        self.squares = {way: (stands**2).sum(1) for way, stands in self.stands.items()}
        self.log10_turns = math.log10(4 * len(self.turns))  # by name or in order, mirrored or not
        mine = Counter(layer.shape for layer in mark.layers)
        theirs = Counter(shapes.values())
        orders = sum(math.lgamma(theirs[s] + 1) - math.lgamma(theirs[s] - n + 1) for s, n in mine.items())
        needed = self.log10_turns + orders / math.log(10)
        self.telling = next(s for s in np.arange(0, _MOST, _STEP) if log10_of_signs(s) + needed < 0)

    def _measure(self, number: int) -> None:
        """What stands in the suspects' layers, where they are taken for a claimed one: w D for each cell."""
        kept = self.mark.layers[number].kept
        cells = {
            (number, name, turn): [one.cells(turn) for one in patterns]
            for name in self.theirs[number]
            for patterns in [
                [Patterns.of_kernels(kept_as_claimed(s.weights[name], kept)) for s in self.suspects]
            ]
            for turn in self.turns
        }
        each = [one for several in cells.values() for one in several]
        words = np.unique(np.concatenate([one.words for one in each]), axis=0)
        place = {tuple(word): at for at, word in enumerate(words.tolist())}
        self.words.append(replace(each[0], words=words))
        for way, several in cells.items():
            stands = np.zeros((len(several), len(words)))
            for row, one in zip(stands, several, strict=True):
                row[[place[tuple(word)] for word in one.words.tolist()]] = one.weights * one.differences
            self.stands[way] = stands
            self.filled[way] = np.array([np.count_nonzero(one.counts) for one in several])

    @property
    def imbalance(self) -> tuple[float, float]:
        """As `Many`."""
        ways = [(number, name, self.turns[0]) for number, name in enumerate(self.named)]
        squares, filled = (np.sum([of[way] for way in ways], axis=0) for of in (self.squares, self.filled))
        chance = squares / np.maximum(filled, 1)
        return float(chance.min()), float(chance.max())

    def log10_p(self, secrets: Sequence[Secret]) -> NDArray[np.float64]:
        """As `Many`. Where another order of the layers could tell anything, the mark itself reads."""
        says = self._says(secrets)
        sigma, other = np.zeros((2, len(self.suspects), len(secrets)))
        for turn in self.turns:
            by_name = [(number, name, turn) for number, name in enumerate(self.named)]
            towards = abs(sum(says[way] for way in by_name))
            np.maximum(sigma, _over(towards, sum(self.squares[way] for way in by_name)), out=sigma)
            ways = [[(number, name, turn) for name in names] for number, names in enumerate(self.theirs)]
            least = sum(np.min([self.squares[way] for way in some], axis=0) for some in ways)
            for side in (1, -1):
                most = sum(np.max([side * says[way] for way in some], axis=0) for some in ways)
                np.maximum(other, _over(most, least), out=other)
        found = np.minimum(0, _log10_of_signs(sigma) + self.log10_turns)
        for row, column in np.argwhere(other > self.telling):
            secret = secrets[column]
            reading = replace(self.mark, secret=secret, commitment=secret.commitment).read(self.suspects[row])
            found[row, column] = corrected(reading.log10_p_here, reading.log10_choices)
        return found

    def _says(self, secrets: Sequence[Secret]) -> dict[Way, NDArray[np.float64]]:
        """T towards the claimed code, of every layer taken for every claimed one, [networks, secrets]."""
        code = self.mark.code
        sent, says = code.encode(self.mark.payload.data), {}
        for number, cells in enumerate(self.words):
            keyed = np.empty((len(cells.words), len(secrets)))
            for column, secret in enumerate(secrets):
                bits, signs = cells.keyed(self.mark._stream(secret), number, code.size)
                keyed[:, column] = signs * sent[bits]
            for name in self.theirs[number]:
                for turn in self.turns:
                    says[number, name, turn] = self.stands[number, name, turn] @ keyed
        return says


def _over(sums: NDArray[np.float64], squares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard deviations; 0 where nothing stands."""
    return sums / np.sqrt(np.where(squares > 0, squares, np.inf))[:, None]


MANY: dict[str, Callable[[Any, Sequence[Ticket]], Many]] = {"spread": ManySpread, "mirror": ManyMirror}
