"""A mark of the thief's own, written over a network: ambiguity, and removal where the two meet."""

from __future__ import annotations

from dataclasses import dataclass

from ticket_sig.attacks.attack import Attack, Attacked
from ticket_sig.attacks.scene import Scene, stolen
from ticket_sig.errors import bad_input
from ticket_sig.marks import MARKS, Mark, Model, claim_of
from ticket_sig.options import one_or_more, option
from ticket_sig.ticket import Ticket


@dataclass(frozen=True, kw_only=True)
class OwnWatermark(Attack):
    """Writes a mark under a secret of the thief's; he knows its kind, and not the owner's secret."""

    mark: str = option("Kind of the mark, as of `embed`: freezenet or uchida.")
    size: int = option("Of the mark: values of freezenet, bits of uchida.", default=64, check=one_or_more)

    def attacked(self, ticket: Ticket, scene: Scene) -> Attacked:
        """Returns the ticket with the thief's mark, and the claim he would show.

        Raises:
            InputError: no mark of that name that has a size, it does not fit the network, or the network is
                sparse where it belongs.
        """
        mine = stolen(ticket)
        made = sized(self.mark, self.size, mine, scene.secret("own watermark"))
        marked = made.embed(mine)
        return Attacked(marked, claim_of([made], marked.weights))


def sized(mark: str, size: int, model: Model, secret: bytes) -> Mark:
    """A mark of so many values or bits, under a secret.

    Raises:
        InputError: no mark of that name that has a size, or it does not fit.
    """
    kinds = {n: of_size for n, k in MARKS.items() if (of_size := getattr(k.options, "of_size", None))}
    if mark not in kinds:
        raise bad_input("", "mark", f"one of {', '.join(kinds)}", repr(mark)[:80])
    return MARKS[mark].make(model, kinds[mark](size), secret)
