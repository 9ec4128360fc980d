"""A text in the signs of one layer's weights: a secret says which weights, and which signs."""

from dataclasses import dataclass

import torch

from ticket_sig.marks.bits import BitsRead, bits_of
from ticket_sig.marks.mark import Model, PlainMark, layer_of, signed
from ticket_sig.options import option
from ticket_sig.ticket import Ticket


@dataclass(frozen=True, kw_only=True)
class SignBits(PlainMark):
    """Writes signs and leaves magnitudes; a text of 12 bytes or more can be verified."""

    name, stands_in, carries = "sign-bits", "weights", "bits"
    message: str = option("Text to write.")
    layer: str = option("Layer whose weights hold it.")

    def embed(self, ticket: Ticket) -> Ticket:
        weights = layer_of(ticket, self.layer)
        signs = self.signs(weights, len(bits_of(self.message)))
        return signed(ticket, {self.layer: torch.where(signs == 0, weights, signs * weights.abs())})

    def read(self, suspect: Model) -> BitsRead:
        weights = layer_of(suspect, self.layer)
        signs = self.signs(weights, len(bits_of(self.message)))
        return BitsRead.of(self, self.message, (weights * signs > 0)[signs != 0], suspect)
