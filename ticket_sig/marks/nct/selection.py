"""What the key selects: parameters of one layer, so many for each bit, and the label that each is to get.

All of it follows from the secret, and is bound to everything that a claimant could choose beside the
classifier: payload, layer, shape and sizes.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ticket_sig.digests import json_digest
from ticket_sig.errors import bad_input
from ticket_sig.formats.weights import Weights
from ticket_sig.marks.bits import Bits, digits_of
from ticket_sig.marks.mark import check_dtype, claimed_layer
from ticket_sig.marks.payload import checked_bits
from ticket_sig.prf import keyed_places, keyed_words

VERSION = 1
LEAST, MOST = 8, 256  # parameters of a bit

_LONGEST_NAME = 1000


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The parameters that a key selects, and what is read off them.

    Attributes:
        payload: the bits; one or more.
        layer: name of its weights.
        shape: of its weights, [out, in, ...], 2 or more dimensions.
        per_bit: how many parameters each bit has; no parameter is selected twice.
        secret: decides which.

    Raises:
        InputError: one of them is out of range, or the layer has too few weights.
    """

    payload: Bits
    layer: str
    shape: tuple[int, ...]
    per_bit: int
    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        checked_bits(self.payload)
        if not 0 < len(self.layer) <= _LONGEST_NAME:
            raise bad_input("nct", "layer", "the name of a tensor", repr(self.layer)[:80])
        # Bounded, so that a hostile claim cannot have large numbers multiplied.
        if not (2 <= len(self.shape) <= 8 and all(type(n) is int and 0 < n < 2**48 for n in self.shape)):
            raise bad_input("nct", "shape", "2 or more sizes of 1 or more", repr(self.shape)[:80])
        if not LEAST <= self.per_bit <= MOST:
            raise bad_input("nct", "per_bit", f"{LEAST} to {MOST}", str(self.per_bit))
        if self.count > math.prod(self.shape):
            expected = f"at least {self.count} weights, {self.per_bit} for each of {len(self.payload)} bits"
            raise bad_input("nct", f"shape of {self.layer}", expected, str(math.prod(self.shape)))

    @property
    def count(self) -> int:
        """How many parameters are selected."""
        return len(self.payload) * self.per_bit

    @property
    def bound_to(self) -> str:
        """Digest of all that the places belong to."""
        own: dict[str, Any] = {**asdict(self), "payload": digits_of(self.payload), "secret": ""}
        return json_digest({**own, "version": VERSION})

    def labels(self) -> Bits:
        """What the classifier is to say of each bit's parameters: the bit, turned over by a keyed coin.

        So about half of the labels are 1, whatever the payload.
        """
        coins = keyed_words(self.secret, f"nct coins {self.bound_to}", len(self.payload)) % 2 == 1
        return tuple(bit != coin for bit, coin in zip(self.payload, coins.tolist(), strict=True))

    def vectors(self, weights: Weights) -> NDArray[np.float64]:
        """The selected parameters of a network, [bits, per_bit]: each bit's have length sqrt(per_bit), or 0.

        Among those of one place in the kernel the mean is 0 and the variance 1 before. So nothing that all
        networks of an architecture have in common, such as heavier centres of kernels, tells one bit's
        parameters from another's.

        Raises:
            InputError: no such layer, another shape or dtype, or numbers that are not finite.
        """
        name = claimed_layer(weights, self.layer, self.shape)
        check_dtype("nct", self.layer, weights.dtypes[name])
        total = math.prod(self.shape)
        places = keyed_places(self.secret, f"nct places {self.bound_to}", self.count, total)
        values = weights.take(name, places).double().cpu().numpy()
        if odd := int((~np.isfinite(values)).sum()):
            raise bad_input("weights", self.layer, "finite numbers", f"{odd} that are not")
        values = _standardised(values, places % math.prod(self.shape[2:]))
        order = keyed_words(self.secret, f"nct order {self.bound_to}", self.count).argsort(kind="stable")
        vectors = values[order].reshape(len(self.payload), self.per_bit)
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / np.where(length > 0, length, 1) * math.sqrt(self.per_bit)


def _standardised(values: NDArray[np.float64], groups: NDArray[np.int64]) -> NDArray[np.float64]:
    """Values with mean 0 and variance 1 in each group; 0 where all of a group are equal."""
    _, group = np.unique(groups, return_inverse=True)
    sizes = np.bincount(group)
    largest = np.abs(values).max()
    centred = values / (largest or 1.0)  # neither overflows nor vanishes when it is squared
    centred = centred - (np.bincount(group, centred) / sizes)[group]
    deviation = np.sqrt(np.bincount(group, centred**2) / sizes)
    deviation[deviation < 1e-12] = np.inf
    standardised: NDArray[np.float64] = centred / deviation[group]
    return standardised
