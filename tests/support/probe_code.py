"""The least carrier: each bit of the code is the keyed sum over its share of all mask bits of a model."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ticket_sig import Mask, Ticket
from ticket_sig.errors import bad_input
from ticket_sig.marks.carrier import Carrier, Layer, Measured
from ticket_sig.marks.message_code import Signs
from ticket_sig.prf import Stream


class ProbeCode(Carrier):
    """A message in the signs of sums over all mask bits; for tests of what all carriers share."""

    name = "probe-code"
    usual_sigma = 68.0

    @classmethod
    def carrying(cls, mask: Mask) -> tuple[Layer, ...]:
        """All layers."""
        layers = tuple(Layer(name, tuple(kept.shape), int(kept.sum())) for name, kept in mask.items())
        if not sum(layer.kept for layer in layers):
            raise bad_input("", "kept weights", "some", "none")
        return tuple(layer for layer in layers if layer.kept)

    def written(self, ticket: Ticket, stream: Stream, spared: Mapping[str, Tensor]) -> Mask:
        """Swaps kept weights of the wrong sign with pruned ones of the right sign, as many in each layer."""
        sent = self.code.encode(self.payload.data)
        out = {name: kept.clone() for name, kept in ticket.mask.items()}
        total, start = sum(math.prod(layer.shape) for layer in self.layers), 0
        for layer in self.layers:
            kept, size = out[layer.name].numpy().reshape(-1), math.prod(layer.shape)
            density = kept.mean()
            bit, sign = self._shares(stream, start, size)
            start += size
            right = sign * sent[bit] > 0
            free = ~spared[layer.name].numpy().reshape(-1) if layer.name in spared else np.ones(size, bool)
            stands = np.bincount(bit, weights=sign * sent[bit] * (kept - density), minlength=self.code.size)
            wanted = self.margin * np.sqrt(total / self.code.size * density * (1 - density)) * size / total
            need = np.ceil(np.maximum(0, wanted - stands) / 2).astype(int)
            go = _first(np.flatnonzero(kept & ~right & free), bit, need)
            come = _first(np.flatnonzero(~kept & right & free), bit, need)
            count = min(len(go), len(come))
            kept[go[:count]], kept[come[:count]] = False, True
        return Mask(out)

    def measured(self, suspect: Ticket, stream: Stream, sent: Signs) -> Measured:
        """The sums over what is kept, each less its layer's density."""
        sums, squares, start = np.zeros((2, self.code.size)), 0.0, 0
        for layer in self.layers:
            if layer.name not in suspect.weights or suspect.weights[layer.name].shape != layer.shape:
                found = suspect.weights.get(layer.name)
                told = "none of that name" if found is None else str(list(found.shape))
                raise bad_input("model", layer.name, f"the mark's shape {list(layer.shape)}", told)
            kept = (suspect.weights[layer.name] != 0).double().numpy().reshape(-1)
            values = kept - kept.mean()
            bit, sign = self._shares(stream, start, kept.size)
            start += kept.size
            sums[0] += np.bincount(bit, weights=sign * values, minlength=self.code.size)
            sums[1] += np.bincount(bit, weights=values**2, minlength=self.code.size)
            squares += float((values**2).sum())
        return Measured(sums=sums[0], deviations=np.sqrt(sums[1]), squares=squares)

    def _shares(self, stream: Stream, start: int, size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        words = stream.words(start, size).astype(np.int64)
        return (words >> 1) % self.code.size, 1 - 2 * (words & 1)


def _first(places: NDArray[np.int64], bit: NDArray[np.int64], need: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of the places of each bit the first so many."""
    order = np.argsort(bit[places], kind="stable")
    of = bit[places][order]
    rank = np.arange(len(of)) - np.searchsorted(of, np.arange(len(need)))[of]
    return places[order][rank < need[of]]
