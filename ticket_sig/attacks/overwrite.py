"""Overwriting (fake3): a thief who knows the encoding writes a code of his own.

Source: Chen et al., NeurIPS 2021, Table 7. With the place known, the paper's 91.37 % fall to 57.00 %.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ticket_sig.attacks.attack import Attack, Attacked
from ticket_sig.attacks.scene import Scene, stolen
from ticket_sig.marks import CodeMark, claim_of
from ticket_sig.marks.qr_code.mark import CodeOptions
from ticket_sig.options import option
from ticket_sig.ticket import Ticket


@dataclass(frozen=True, kw_only=True)
class Overwrite(Attack):
    """Writes another message, over the owner's code where the thief is an insider."""

    of_insiders: ClassVar[bool] = True

    message: str = option("The thief's own.")
    version: int | None = option("Size of his code; an insider takes the owner's.", default=None)
    level: str | None = option("Its error correction; H, or of an insider the owner's.", default=None)
    layer: str | None = option("Its layer; that of `embed`, or of an insider the owner's.", default=None)

    def attacked(self, ticket: Ticket, scene: Scene) -> Attacked:
        """The ticket with the thief's code, and the claim he would show; errors as of `CodeMark`."""
        known, mine = scene.place, stolen(ticket)
        options = CodeOptions(
            message=self.message,
            version=known.version if known and self.version is None else self.version,
            level=self.level or (known.level if known else "H"),
            layer=self.layer,
        )
        place = known.placement if known and self.layer is None else None
        code = CodeMark.make(mine, options, scene.secret("overwrite"), place)
        signed = code.embed(mine)
        return Attacked(signed, claim_of([code], signed.weights))
