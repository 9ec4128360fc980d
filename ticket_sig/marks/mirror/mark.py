"""The mirror code as a mark: it stands whatever the order, the names, the signs or the scales of channels.

A kernel's pattern of kept taps and its mirror image are equally likely in a network that was trained on
images and their mirror images. The owner's secret gives each pair of patterns of a layer a bit of the code
and a sign; kernels are mirrored until the differences of the counts say the bit. What is counted is public:
who knows the method can even out all pairs without the secret, so that it is never to stand alone.

Own design; the p-value is that of the keyed signs (`statistics.log10_of_signs`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from ticket_sig.claim import MOST_MARKS
from ticket_sig.errors import bad_input
from ticket_sig.marks.carrier import Carrier, CarrierOptions, Layer, Measured
from ticket_sig.marks.mark import Model
from ticket_sig.marks.message_code import Signs
from ticket_sig.marks.mirror.cells import MOST_TAPS
from ticket_sig.marks.mirror.reading import Reader
from ticket_sig.marks.mirror.writing import Writer
from ticket_sig.mask import Mask
from ticket_sig.options import Options
from ticket_sig.prf import Stream
from ticket_sig.ticket import Ticket
from ticket_sig.verdict import Rows

_ROUNDING = 1e-9
_RISE = 1.25  # of the margin, at a time
_WIDE = f"kernels of a width of 2 or more, of up to {MOST_TAPS} taps"

_Own = TypeVar("_Own", bound="Mirror")


@dataclass(frozen=True, kw_only=True)
class Mirror(Carrier):
    """A message in how often each pattern of kept taps occurs in a layer, against its mirror image."""

    name: ClassVar[str] = "mirror"
    options: ClassVar[type[Options] | None] = CarrierOptions
    usual_sigma: ClassVar[float] = 36.0

    @classmethod
    def carrying(cls, mask: Mask) -> tuple[Layer, ...]:
        """The layers of kernels with a width that do not all keep what their mirror image keeps.

        Raises:
            InputError: there are none.
        """
        wide = {name: kept for name, kept in mask.items() if has_width(tuple(kept.shape))}
        lopsided = [name for name, kept in wide.items() if (kept != kept.flip(-1)).any()]
        if not lopsided:
            raise bad_input(cls.name, "pruned layers", _WIDE, "none", hint="take the mark spread")
        counts = {name: int(torch.count_nonzero(mask[name])) for name in lopsided}
        return tuple(Layer(name, tuple(mask[name].shape), count) for name, count in counts.items())

    def written(self, ticket: Ticket, stream: Stream, spared: Mapping[str, Tensor]) -> Mask:
        """Mirrors kernels, also spared ones: marks that are spared stand in whole kernels, kept or not.

        Where a network has few pairs of patterns the usual margin proves too little: then more are mirrored.

        Raises:
            InputError: the message does not fit (says how many bytes would, at which margin).
        """
        length, sent = self.code.length, self.code.encode(self.payload.data)
        writer = Writer.of_ticket(ticket, [layer.name for layer in self.layers], stream)
        writer.check(length, self.margin)
        usual = mask = writer.written(sent, self.margin)
        margin = self.margin
        while self.may_rise and not self._stands(mask):
            margin *= _RISE
            if not writer.fits(length, margin):
                return usual
            mask = writer.written(sent, margin)
        return mask

    def _stands(self, mask: Mask) -> bool:
        """Whether a mask that was just written verifies it, however many marks are tried with it."""
        kept = {layer.name: mask[layer.name].half() for layer in self.layers}
        return replace(self.read(Ticket(weights=kept, mask=Mask({}))).verdict(), tried=MOST_MARKS).verified

    def under(self, ticket: Ticket, mask: Mask, secret: bytes, in_place: bool) -> Ticket:
        """The ticket under the mask that was written; the weights of a mirrored kernel move with its taps."""
        names = [layer.name for layer in self.layers]
        changed = {n: (mask[n] != ticket.mask[n]).flatten(2).any(2).nonzero(as_tuple=True) for n in names}
        turned = {n: ticket.weights[n].detach()[where].flip(-1) for n, where in changed.items()}
        signed = super().under(ticket, mask, secret, in_place)
        for name, own in turned.items():
            kernels = signed.weights[name][changed[name]]
            # A kept weight that is zero cannot be read: such a one keeps the value that it was given.
            signed.weights[name][changed[name]] = torch.where(own != 0, own, kernels)
        return signed

    def measured(self, suspect: Ticket, stream: Stream, sent: Signs) -> Measured:
        """Reads it by the layers' names or, where these say little, in the order that fits best."""
        return Reader(self.layers, suspect.weights, stream, sent).measured()

    @classmethod
    def from_json(cls: type[_Own], value: Mapping[str, Any]) -> _Own:
        """Reads the claim's fields; InputError as of every carrier, or for a layer that has no width."""
        made = super().from_json(value)
        if flat := [layer for layer in made.layers if not has_width(layer.shape)]:
            found = f"{flat[0].name} of shape {list(flat[0].shape)}"
            raise bad_input("claim", "layers", _WIDE, found)
        return made

    def facts(self, before: Model, after: Model) -> Rows:
        """As of every carrier; bits that have too few kernels stand by less than the margin."""
        reading = self.read(after)
        stand = int((reading.soft * reading.sent > self.margin - _ROUNDING).sum())
        code = f"{self.code.size} bits, {stand} stand by {self.margin:.3g} standard deviations or more"
        return [("code", code), *list(super().facts(before, after))[1:]]


def has_width(shape: tuple[int, ...]) -> bool:
    """Whether weights are kernels, [out, in, kernel's sizes], with a last axis that can be mirrored."""
    return len(shape) > 2 and shape[-1] > 1 and math.prod(shape[2:]) <= MOST_TAPS
