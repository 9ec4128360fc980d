"""A mark of the thief's own, written over a network: ambiguity, and removal where the two meet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ticket_sig.attacks.attack import Attack, Attacked
from ticket_sig.attacks.scene import Scene, stolen
from ticket_sig.marks import MARKS, Mark, Model, claim_of
from ticket_sig.options import Options, one_of, one_or_more, option
from ticket_sig.ticket import Ticket


def _sizes() -> dict[str, Callable[[int], Options]]:
    """What makes the options of a mark of so many values or bits, for each mark that has a size."""
    return {n: of_size for n, k in MARKS.items() if (of_size := getattr(k.options, "of_size", None))}


def _has_size(name: str, mark: str) -> None:
    one_of(_sizes())(name, mark)


@dataclass(frozen=True, kw_only=True)
class OwnWatermark(Attack):
    """Writes a mark under a secret of the thief's; he knows its kind, and not the owner's secret."""

    mark: str = option(f"Kind of the mark, as of `embed`: {', '.join(_sizes())}.", check=_has_size)
    size: int = option("Of the mark: how many values or bits.", default=64, check=one_or_more)

    def attacked(self, ticket: Ticket, scene: Scene) -> Attacked:
        """Returns the ticket with the thief's mark, and the claim he would show; errors as of the mark."""
        mine = stolen(ticket)
        made = sized(self.mark, self.size, mine, scene.secret("own watermark"))
        marked = made.embed(mine)
        return Attacked(marked, claim_of([made], marked.weights))


def sized(mark: str, size: int, model: Model, secret: bytes) -> Mark:
    """A mark of so many values or bits, under a secret; InputError where it does not fit the model."""
    return MARKS[mark].drawn(model, secret, size).mark
