"""The rule that the committed cells of tickets pruned once were signed by, before `embed` had its own."""

from __future__ import annotations

from ticket_sig.lottery.prune import prune_ticket
from ticket_sig.marks import CodeMark, claim_of
from ticket_sig.marks.embed import Embedded
from ticket_sig.marks.qr_code import qr
from ticket_sig.marks.qr_code.placement import most_similar
from ticket_sig.ticket import Ticket

MESSAGE, VERSION, LEVEL = "signature", 3, "H"
TRIED_RATE = 0.1


def sturdiest(ticket: Ticket, key: bytes) -> Embedded:
    """The ticket signed in the layer where most of the code, at the most similar place, outlives pruning.

    Kept for those cells alone, which are of its mask: what is signed from now on is signed by `embed`.
    """
    codes, side = qr.encode(MESSAGE, VERSION, LEVEL), qr.side(VERSION)
    signed = []
    for row in ticket.mask.table():
        if min(row.shape[:2]) >= side:
            place, code = most_similar({row.name: ticket.mask.kernel_map(row.name).numpy()}, codes)
            mark = CodeMark(MESSAGE, VERSION, LEVEL, code.data_mask, place, row.shape, code.eci, key)
            signed.append((mark, mark.embed(ticket)))

    def left(one: tuple[CodeMark, Ticket]) -> int:
        return one[0].read(prune_ticket(one[1], TRIED_RATE)).matches

    mark, marked = max(signed, key=left)
    return Embedded(marked, claim_of([mark], marked.weights), (mark,))
