"""The spread code: each bit of a coded message is the sign of a keyed sum over its share of all mask bits.

    mark = Spread.make(ticket, CarrierOptions(message="mine"))
    signed = retrain(mark.embed(ticket), recipe, data, run)
    mark.read(signed.weights).verdict()

As spread spectrum does in dense weights (TATTOOED, ACSAC 2024): every weight carries a little of it, and who
does not know the secret cannot tell which way any of them points.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ticket_sig.errors import InputError, bad_input
from ticket_sig.formats.names import found_elsewhere, names_in
from ticket_sig.marks.carrier import LEAST_MARGIN, Carrier, CarrierOptions, Layer, Measured
from ticket_sig.marks.mark import check_dtype
from ticket_sig.marks.message_code import MessageCode
from ticket_sig.marks.message_code import Signs as Code
from ticket_sig.marks.spread.search import Searched, check_work
from ticket_sig.marks.spread.signs import Signs, signs_of
from ticket_sig.marks.spread.swaps import swapped
from ticket_sig.marks.strength import strongest
from ticket_sig.mask import Mask
from ticket_sig.options import Options
from ticket_sig.prf import Stream
from ticket_sig.ticket import Ticket

LEAST_WEIGHTS = 2048  # prunable ones: four or so for a bit of the shortest codes
_MARGINS = 6  # that are tried to tell which would do


@dataclass(frozen=True, kw_only=True)
class Spread(Carrier):
    """A message all over the mask, for any network with some thousand prunable weights."""

    name: ClassVar[str] = "spread"
    options: ClassVar[type[Options] | None] = CarrierOptions

    @classmethod
    def carrying(cls, mask: Mask) -> tuple[Layer, ...]:
        """The layers that are pruned and not empty.

        Raises:
            InputError: there are none, or they have too few weights together.
        """
        counts = {name: int(torch.count_nonzero(kept)) for name, kept in mask.items()}
        layers = tuple(
            Layer(name, tuple(kept.shape), counts[name])
            for name, kept in mask.items()
            if 0 < counts[name] < kept.numel()
        )
        if not layers:
            told = f"{mask.kept} of {mask.total} weights kept"
            raise bad_input("", cls.name, "a sparse model", told, hint="prune it: --prune SHARE")
        if (found := sum(math.prod(layer.shape) for layer in layers)) < LEAST_WEIGHTS:
            expected = f"{LEAST_WEIGHTS} or more weights in pruned layers"
            raise bad_input("", cls.name, expected, str(found), hint="the network is too small for it")
        return layers

    def written(self, ticket: Ticket, stream: Stream, spared: Mapping[str, Tensor]) -> Mask:
        """The ticket's mask with the message in it; see `swapped` for which weights move.

        Raises:
            InputError: the message does not fit (says how many bytes would, and at which margin it does).
        """
        places, after = self._swapped(ticket, stream, spared)
        cuts = np.cumsum([len(at) for at in places])[:-1]
        tensors = dict(ticket.mask)
        for layer, at, new in zip(self.layers, places, np.split(after, cuts), strict=True):
            flat = tensors[layer.name].reshape(-1).clone()
            flat[torch.from_numpy(at)] = torch.from_numpy(new)
            tensors[layer.name] = flat.view(layer.shape)
        return Mask.of_own(tensors)

    def _swapped(
        self, ticket: Ticket, stream: Stream, spared: Mapping[str, Tensor]
    ) -> tuple[Sequence[NDArray[np.int64]], NDArray[np.bool_]]:
        """Where the weights that carry it lie, by layer, and which of them all are kept with it, [n]."""
        signs = signs_of(stream, self.layers, self.code.size)
        kept = self._used(ticket.mask, signs).numpy()
        free = np.ones_like(kept)
        for number in [number for number, layer in enumerate(self.layers) if layer.name in spared]:
            at = torch.from_numpy(signs.places[number])
            taken = spared[self.layers[number].name].reshape(-1)[at]
            free[signs.layers == number] = ~taken.numpy()
        prices = self._prices(ticket, signs, kept)
        sent = self.code.encode(self.payload.data)

        def tried(signs: Signs, sent: Code, margin: float) -> NDArray[np.bool_] | None:
            return swapped(signs, kept, sent, prices, free, margin)

        if (after := tried(signs, sent, self.margin)) is None:
            raise self._too_much(tried, signs, sent)
        return signs.places, after

    def measured(self, suspect: Ticket, stream: Stream, sent: Code) -> Measured:
        """Measures the strongest weights of each layer, as many as the claim says were kept.

        Layers that are not found by their names are found by their shapes, in the order that fits best.

        Raises:
            NotThere: it has too few layers of a shape, or too many to try all orders.
            InputError: several tensors could be a claimed one by their names.
        """
        names, orders = self._names(suspect.weights), 0.0
        if names is None:
            check_work(self.layers, suspect.weights)
        signs = signs_of(stream, self.layers, self.code.size)
        if names is None:
            searched = Searched(self.layers, suspect.weights, signs, sent)
            names, orders = searched.names(), searched.log10_orders
        kept = [
            strongest(suspect.weights[names[layer.name]], layer.kept, at)
            for layer, at in zip(self.layers, signs.places, strict=True)
        ]
        sums, squares = signs.standing(np.concatenate(kept))
        return Measured(
            sums=sums,
            deviations=np.sqrt(squares),
            squares=float(squares.sum()),
            log10_choices=orders,
            found_as=found_elsewhere(names),
        )

    def room(self, mask: Mask) -> int:
        """Half of the weights kept in its layers: embedding refuses to move more."""
        return sum(layer.kept for layer in self.layers) // 2

    def _names(self, suspect: Mapping[str, Tensor]) -> dict[str, str] | None:
        """The claimed layers' names in a suspect; None where one has no such name, or another shape."""
        shapes = {name: tuple(tensor.shape) for name, tensor in suspect.items()}
        names = names_in({layer.name: layer.shape for layer in self.layers}, shapes)
        if any(shapes.get(names.get(layer.name, layer.name)) != layer.shape for layer in self.layers):
            return None
        for layer in self.layers:
            check_dtype("model", layer.name, suspect[names[layer.name]].dtype)
        return names

    def _used(self, tensors: Mapping[str, Tensor], signs: Signs) -> Tensor:
        """The entries of the layers' tensors that carry it, [n]."""
        found = zip(self.layers, signs.places, strict=True)
        return torch.cat([tensors[one.name].detach().reshape(-1)[torch.from_numpy(at)] for one, at in found])

    def _prices(self, ticket: Ticket, signs: Signs, kept: NDArray[np.bool_]) -> NDArray[np.float32]:
        """What a move costs: a kept weight's size; the largest come first where they were pruned.

        How large they were the rewind weights say; where those are not known, pseudo-random words decide, of
        which the upper bits are the same for all weights of a bit of the code.
        """
        if ticket.rewind is None:
            chance = signs.words * np.uint32(signs.size)  # of which the lowest 31 bits do not overflow
            comes = (chance & np.uint32(2**31 - 1)).astype(np.float32)
        else:
            comes = self._used(ticket.rewind, signs).float().abs().numpy()
        stays = self._used(ticket.weights, signs).float().abs().numpy()
        return np.where(kept, stays, np.negative(comes, out=comes))

    def _too_much(
        self, tried: Callable[[Signs, Code, float], object], signs: Signs, sent: Code
    ) -> InputError:
        """The error for a message that does not fit: how long it may be, and which margin would do."""
        length, room = len(self.payload.data), 0
        longest = {MessageCode(n).size: n for n in range(1, length)}  # of the messages of a code
        for size in sorted(longest.keys() - {signs.size}, reverse=True):
            groups = signs.groups.astype(np.int64) * size // signs.size
            shorter = replace(signs, groups=groups.astype(np.uint16), size=size)
            if tried(shorter, sent[:size], self.margin) is not None:
                room = longest[size]
                break
        low, high = 0.0, self.margin
        for _ in range(_MARGINS):
            middle = (low + high) / 2
            fits = tried(signs, sent, middle) is not None
            low, high = (middle, high) if fits else (low, middle)
        expected = f"at most {room} bytes at margin {self.margin:.3g}"
        would = math.floor(100 * low) / 100
        hint = f"it would fit at --margin {would:g}" if would >= LEAST_MARGIN else "it fits at no margin"
        return bad_input(self.name, "message", expected, f"{length} bytes", hint=hint)
