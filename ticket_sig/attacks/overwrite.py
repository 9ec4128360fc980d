"""Overwriting (fake3): a thief who knows the encoding writes a code of his own.

Source: Chen et al., NeurIPS 2021, Table 7. With the place known, the paper's 91.37 % fall to 57.00 %.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ticket_sig.attacks.scene import Scene, stolen
from ticket_sig.signatures.scheme2 import Embedded, embed
from ticket_sig.ticket import Ticket


@dataclass(frozen=True, kw_only=True)
class Overwrite:
    """Writes another message, over the owner's code where the place is known (`Scene.signature`).

    Attributes:
        message: the thief's.
        version, level, layer: of his code, as for `embed`; an insider takes the owner's.
    """

    message: str
    version: int | None = None
    level: str | None = None
    layer: str | None = None

    def __call__(self, ticket: Ticket, scene: Scene) -> Ticket:
        """Returns the ticket with the thief's code in it (see `forge`)."""
        return self.forge(ticket, scene).ticket

    def forge(self, ticket: Ticket, scene: Scene) -> Embedded:
        """Returns the ticket with the thief's code, and the claim he would show.

        Raises:
            InputError: the message does not fit, or the model is too dense or too sparse for the code.
        """
        known, key = scene.signature, torch.randint(256, (32,), generator=scene.draw("overwrite"))
        return embed(
            stolen(ticket),
            self.message,
            version=known.version if known and self.version is None else self.version,
            level=self.level or (known.level if known else "H"),
            layer=self.layer,
            place=known.placement if known and self.layer is None else None,
            key=bytes(key.tolist()),
        )
