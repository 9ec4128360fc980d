"""Trigger removal: the thief trains on until the network forgets its trigger set (scheme 3).

He knows the kind of images, not the secret: besides the data he can teach abstract images of his own
with random labels. Sources: Adi et al., USENIX Security 2018, section 5 (fine-tuning); NeurIPS'21, Tables 3
and 5, for what triggers answer after embedding and after pruning.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ticket_sig.attacks.scene import Scene, check_positive, stolen
from ticket_sig.attacks.train_on import train_on
from ticket_sig.datasets import Dataset
from ticket_sig.errors import bad_input
from ticket_sig.signatures.triggers import MOST_IMAGES, TriggerSecret
from ticket_sig.ticket import Ticket
from ticket_sig.training.batches import TriggerBatch
from ticket_sig.training.recipe import Recipe

_PER_BATCH = 16


@dataclass(frozen=True, kw_only=True)
class TriggerRemoval:
    """Trains on with clean data at a high learning rate, and with misleading abstract images.

    Attributes:
        epochs: length, in place of the recipe's.
        lr: largest learning rate, in place of the recipe's. The recipe's own is that of a training from
            the rewind weights, and so already high for a trained network.
        images: how many abstract images with random labels to teach beside the data; none by default.
            Every batch gets up to 16 of them.
    """

    epochs: int | None = None
    lr: float | None = None
    images: int = 0

    def __post_init__(self) -> None:
        check_positive(epochs=self.epochs, lr=self.lr)
        if not 0 <= self.images <= MOST_IMAGES:
            raise bad_input("", "images", f"0 to {MOST_IMAGES}", str(self.images))

    def __call__(self, ticket: Ticket, scene: Scene) -> Ticket:
        """Returns the ticket trained on, with one entry of history.

        Raises:
            InputError: no data or recipe, or weights that do not fit the network.
        """

        def misleading(data: Dataset, recipe: Recipe) -> TriggerBatch:
            draw = torch.randint(256, (32,), generator=scene.draw("abstract images"))
            secret = TriggerSecret(bytes(draw.tolist()), self.images, data.size, data.classes)
            return TriggerBatch(secret.trigger_set().split, min(self.images, _PER_BATCH))

        made = misleading if self.images else None
        return train_on(stolen(ticket), scene, epochs=self.epochs, lr=self.lr, make_triggers=made)
