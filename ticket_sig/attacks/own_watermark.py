"""A mark of the thief's own, written over a network: ambiguity, and removal where the two meet."""

from __future__ import annotations

from dataclasses import dataclass

from ticket_sig.attacks.attack import Attack, Attacked
from ticket_sig.attacks.scene import Scene, stolen
from ticket_sig.marks import MARKS, Model, claim_of
from ticket_sig.marks.mark import Drawn
from ticket_sig.options import one_of, one_or_more, option
from ticket_sig.ticket import Ticket


def _written() -> list[str]:
    """The marks that `embed` puts in."""
    return [name for name, kind in MARKS.items() if kind.options is not None]


def _is_written(name: str, mark: str) -> None:
    one_of(_written())(name, mark)


@dataclass(frozen=True, kw_only=True)
class OwnWatermark(Attack):
    """Writes a mark under a secret of the thief's; he knows its kind, and not the owner's secret."""

    mark: str = option(f"Kind of the mark, as of `embed`: {', '.join(_written())}.", check=_is_written)
    size: int = option("Of the mark: how many values or bits.", default=64, check=one_or_more)

    def attacked(self, ticket: Ticket, scene: Scene) -> Attacked:
        """Returns the ticket with the thief's mark, and the claim he would show; errors as of the mark."""
        mine = stolen(ticket)
        made = sized(self.mark, self.size, mine, scene.secret("own watermark"))
        marked = made.mark.embed(mine)
        return Attacked(marked, claim_of([made.mark], marked.weights), made.shown)


def sized(mark: str, size: int, model: Model, secret: bytes) -> Drawn:
    """A mark of so many values or bits, under a secret; InputError where it does not fit the model."""
    return MARKS[mark].drawn(model, secret, size)
