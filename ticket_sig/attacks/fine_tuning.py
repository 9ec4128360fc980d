"""Fine-tuning: the thief trains the model on, on the owner's data set or on another one.

Source: Chen et al., NeurIPS 2021, section 4.3, Table 4. The mask stays: nothing that is pruned comes back.
"""

from __future__ import annotations

from dataclasses import dataclass

from ticket_sig.attacks.attack import Attack, Attacked
from ticket_sig.attacks.scene import Scene, stolen
from ticket_sig.attacks.train_on import EPOCHS, LR, train_on
from ticket_sig.options import one_or_more, option, positive
from ticket_sig.ticket import Ticket


@dataclass(frozen=True, kw_only=True)
class FineTuning(Attack):
    """Trains on under the same mask, from the model's weights, with the recipe's schedule.

    For another data set than the model's own the classifier is a fresh, dense one. The first layer
    stays: grey images are repeated for a network of colour images, colour ones become grey.
    """

    epochs: int | None = option(EPOCHS, default=None, check=one_or_more)
    lr: float | None = option(LR, default=None, check=positive)

    def attacked(self, ticket: Ticket, scene: Scene) -> Attacked:
        """Returns the ticket trained on, with one entry of history; errors as of `train_on`."""
        return Attacked(train_on(stolen(ticket), scene, epochs=self.epochs, lr=self.lr))
