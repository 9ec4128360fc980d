"""A forged key (fake1): the thief has a locked ticket of scheme 1 and guesses what is missing.

Source: Chen et al., NeurIPS 2021, Table 7 and Figure 5.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ticket_sig.attacks.attack import Attack, Attacked
from ticket_sig.attacks.revive import draw_positions, initial_spread, revive
from ticket_sig.attacks.scene import Scene
from ticket_sig.attacks.train_on import LR, train_on
from ticket_sig.errors import bad_input
from ticket_sig.options import one_or_more, option, positive, share
from ticket_sig.ticket import Ticket


@dataclass(frozen=True, kw_only=True)
class FakeKey(Attack):
    """Puts a key of random positions outside the locked mask, with random values as large as initial ones.

    The locked ticket is handed out with its rewind weights, so here the thief has them: forged values go
    into them as well, and training starts from there.
    """

    share: float | None = option(
        "Share of the forged key in the whole ticket, locked part and key (the paper's relative sparsity).",
        default=None,
        check=share,
    )
    count: int | None = option(
        "Number of weights of the key, in place of a share.", default=None, check=one_or_more
    )
    epochs: int | None = option(
        "Train the whole for so long; not at all by default.", default=None, check=one_or_more
    )
    lr: float | None = option(LR, default=None, check=positive)

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.share is None) == (self.count is None):
            found = "neither" if self.share is None else f"{self.share} and {self.count}"
            raise bad_input("", "forged key", "a share or a count", found, hint="give --share or --count")
        if self.lr is not None and self.epochs is None:
            raise bad_input("", "lr", "epochs beside it", "none")

    def attacked(self, ticket: Ticket, scene: Scene) -> Attacked:
        """Returns the locked ticket with the forged key in it.

        Raises:
            InputError: fewer weights are pruned than the key has; or it is to be trained, without data.
        """
        locked = replace(ticket, history=())
        kept, free = locked.mask.kept, locked.mask.total - locked.mask.kept
        count = round(self.share / (1 - self.share) * kept) if self.share else self.count or 0
        if count > free:
            raise bad_input("mask", "pruned weights", f"{count}, for the forged key", str(free))
        draw = scene.draw("fake key")
        positions = draw_positions({name: ~kept for name, kept in locked.mask.items()}, count, draw)
        forged = revive(locked, positions, initial_spread(locked), draw)
        if self.epochs is None:
            return Attacked(forged)
        start = "model" if forged.rewind is None else "rewind"
        return Attacked(train_on(forged, scene, epochs=self.epochs, lr=self.lr, start=start))
