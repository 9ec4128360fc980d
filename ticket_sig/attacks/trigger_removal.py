"""Trigger removal: the thief trains on until the network forgets its trigger set (scheme 3).

He knows the kind of images, not the secret: besides the data he can teach abstract images of his own
with random labels. Sources: Adi et al., USENIX Security 2018, section 5 (fine-tuning); NeurIPS'21, Tables 3
and 5, for what triggers answer after embedding and after pruning.
"""

from __future__ import annotations

from dataclasses import dataclass

from ticket_sig.attacks.attack import Attack, Attacked
from ticket_sig.attacks.scene import Scene, stolen
from ticket_sig.attacks.train_on import EPOCHS, LR, train_on
from ticket_sig.datasets import Dataset
from ticket_sig.marks.trigger_set.triggers import MOST_IMAGES, TriggerSecret
from ticket_sig.options import one_or_more, option, positive, within
from ticket_sig.ticket import Ticket
from ticket_sig.training.batches import TriggerBatch
from ticket_sig.training.recipe import Recipe

_PER_BATCH = 16


@dataclass(frozen=True, kw_only=True)
class TriggerRemoval(Attack):
    """Trains on with clean data at a high learning rate, and with misleading abstract images.

    The recipe's own learning rate is that of a training from the rewind weights, and so already high for a
    trained network. Every batch gets up to 16 of the abstract images.
    """

    epochs: int | None = option(EPOCHS, default=None, check=one_or_more)
    lr: float | None = option(LR, default=None, check=positive)
    images: int = option(
        "Abstract images with random labels to teach beside the data.",
        default=0,
        check=within(0, MOST_IMAGES),
    )

    def attacked(self, ticket: Ticket, scene: Scene) -> Attacked:
        """Returns the ticket trained on, with one entry of history; errors as of `train_on`."""

        def misleading(data: Dataset, recipe: Recipe) -> TriggerBatch:
            secret = TriggerSecret(scene.secret("abstract images"), self.images, data.size, data.classes)
            return TriggerBatch(secret.trigger_set().split, min(self.images, _PER_BATCH))

        made = misleading if self.images else None
        return Attacked(train_on(stolen(ticket), scene, epochs=self.epochs, lr=self.lr, make_triggers=made))
