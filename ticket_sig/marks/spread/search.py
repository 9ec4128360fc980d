"""Finding the layers of a spread code in a suspect under any names: by shape, in the order that fits best."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import scipy  # `scipy.optimize` takes time to import, and is imported where it is first used
from numpy.typing import NDArray
from torch import Tensor

from ticket_sig.errors import not_there
from ticket_sig.marks.carrier import Layer, by_shape
from ticket_sig.marks.mark import DTYPES
from ticket_sig.marks.message_code import Signs as Code
from ticket_sig.marks.spread.signs import Signs
from ticket_sig.marks.strength import strongest
from ticket_sig.statistics import log_orders

_MOST_PAIRS = 1 << 14  # of claimed and found layers: what a hostile claim may have compared
_MOST_WEIGHTS = 1 << 32  # in all of them


@dataclass(frozen=True)
class Searched:
    """A suspect whose layers have other names than the claimed ones.

    Attributes:
        layers: as claimed.
        weights: of the suspect, by name.
        sent: the claimed code.
    """

    layers: Sequence[Layer]
    weights: Mapping[str, Tensor]
    signs: Signs
    sent: Code
    _strong: dict[tuple[str, int], NDArray[np.bool_]] = field(default_factory=dict, init=False)

    def names(self) -> dict[str, str]:
        """For each claimed layer a layer of its shape: the order that says most for the claimed code."""
        names: dict[str, str] = {}
        for mine, theirs in groups(self.layers, self.weights):
            says = np.array([[self._says(number, name) for name in theirs] for number in mine])
            rows, columns = scipy.optimize.linear_sum_assignment(says, maximize=True)
            names |= {self.layers[mine[r]].name: theirs[c] for r, c in zip(rows, columns, strict=True)}
        return names

    @property
    def log10_orders(self) -> float:
        """How many orders there are to choose from."""
        found = groups(self.layers, self.weights)
        return sum(log_orders(len(mine), len(theirs)) for mine, theirs in found) / math.log(10)

    def _says(self, number: int, name: str) -> float:
        """What a layer of the suspect says for the code when it is taken for a claimed one."""
        layer, own = self.layers[number], self.signs.of_layer(number)
        at = own.places[0]
        if len(at) < math.prod(layer.shape):  # of a large model other weights are used for each layer
            kept = strongest(self.weights[name], layer.kept, at)
        else:
            if (name, layer.kept) not in self._strong:
                self._strong[name, layer.kept] = strongest(self.weights[name], layer.kept, at)
            kept = self._strong[name, layer.kept]
        return float(own.standing(kept)[0] @ self.sent)


def check_work(layers: Sequence[Layer], weights: Mapping[str, Tensor]) -> None:
    """Checks that all orders can be tried; before signs are drawn, which take room for whatever is claimed.

    Raises:
        NotThere: the suspect has fewer layers of a shape than the claim, or too many to try all orders.
    """
    pairs = [(len(mine) * len(theirs), layers[mine[0]].shape) for mine, theirs in groups(layers, weights)]
    if (count := sum(count for count, _ in pairs)) > _MOST_PAIRS:
        expected = f"at most {_MOST_PAIRS} pairs of one shape to compare"
        raise not_there("model", "layers", expected, str(count))
    if (work := sum(count * math.prod(shape) for count, shape in pairs)) > _MOST_WEIGHTS:
        raise not_there("model", "layers", f"at most {_MOST_WEIGHTS} weights to compare", str(work))


def groups(layers: Sequence[Layer], weights: Mapping[str, Tensor]) -> Iterator[tuple[list[int], list[str]]]:
    """For each shape the claimed layers, by number, and those of the suspect, by name; errors as above."""
    there: dict[tuple[int, ...], list[str]] = {}
    for name, tensor in weights.items():
        if tensor.dtype in DTYPES:
            there.setdefault(tuple(tensor.shape), []).append(name)
    for shape, mine in by_shape(layers).items():
        theirs = there.get(shape, [])
        if len(theirs) < len(mine):
            hint = f"the claimed {layers[mine[0]].name} has no such name here either"
            expected = f"{len(mine)} of shape {list(shape)}"
            raise not_there("model", "layers", expected, str(len(theirs)), hint=hint)
        yield mine, theirs
