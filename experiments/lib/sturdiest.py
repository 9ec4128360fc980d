"""The paper's code, in the layer where most of it outlives pruning."""

from __future__ import annotations

from ticket_sig.lottery.prune import prune_ticket
from ticket_sig.marks import CodeMark, of_kind
from ticket_sig.marks.embed import Embedded, embed
from ticket_sig.ticket import Ticket

MESSAGE, VERSION, LEVEL = "signature", 3, "H"
TRIED_RATE = 0.1


def sturdiest(ticket: Ticket, key: bytes | None = None) -> Embedded:
    """The ticket signed in the layer where most of the code outlives pruning, tried before it is retrained.

    The most similar region, which `embed` takes by itself, may lie where kernels hang on one small weight.
    """
    side = 17 + 4 * VERSION
    layers = [row.name for row in ticket.mask.table() if min(row.shape[:2]) >= side]
    signed = [embed(ticket, MESSAGE, version=VERSION, level=LEVEL, layer=name, secret=key) for name in layers]

    def left(embedded: Embedded) -> int:
        pruned = prune_ticket(embedded.ticket, TRIED_RATE)
        return of_kind(CodeMark, embedded.claim).read(pruned).matches

    return max(signed, key=left)
