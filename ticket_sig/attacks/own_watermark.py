"""A watermark of the thief's own, written over a dense network: ambiguity, and removal where the two meet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch

from ticket_sig.attacks.scene import Scene, stolen
from ticket_sig.claim import Claim
from ticket_sig.errors import bad_input
from ticket_sig.ticket import Ticket
from ticket_sig.watermarks import WATERMARKS, Mark, claim_of

SIZE = 64


class Forged(NamedTuple):
    """What the thief has then: the network, the claim he would show, and its mark."""

    ticket: Ticket
    claim: Claim
    mark: Mark


@dataclass(frozen=True, kw_only=True)
class OwnWatermark:
    """Writes a watermark under a secret of the thief's; he knows the scheme, and not the owner's secret.

    Attributes:
        scheme: of `WATERMARKS`.
        size: of the mark: values of FreezeNet, bits of Uchida.
    """

    scheme: str
    size: int = SIZE

    def __post_init__(self) -> None:
        if self.scheme not in WATERMARKS:
            raise bad_input("", "scheme", f"one of {', '.join(WATERMARKS)}", repr(self.scheme)[:80])

    def __call__(self, ticket: Ticket, scene: Scene) -> Ticket:
        """Returns the ticket with the thief's mark in it (see `forge`)."""
        return self.forge(ticket, scene).ticket

    def forge(self, ticket: Ticket, scene: Scene) -> Forged:
        """Returns the ticket with the thief's mark, and the claim he would show.

        Raises:
            InputError: the mark does not fit the network, or the network is sparse where it belongs.
        """
        secret = bytes(torch.randint(256, (32,), generator=scene.draw("own watermark")).tolist())
        mark = WATERMARKS[self.scheme].make(ticket.weights, self.size, secret)
        marked = mark.embed(stolen(ticket))
        return Forged(marked, claim_of(mark, marked.weights), mark)
