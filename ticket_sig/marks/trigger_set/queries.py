"""What a suspect is asked: the owner's triggers and the verifier's decoys, in an order that only he knows.

Whoever asks the same suspect twice must ask the same images: what two askings with different decoys have in
common is the trigger set. That is what a record is for (`record.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ticket_sig.datasets.images import Pixels
from ticket_sig.digests import bytes_digest
from ticket_sig.marks.trigger_set.triggers import TriggerSecret, TriggerSet
from ticket_sig.prf import keyed_words


@dataclass(frozen=True)
class Queries:
    """Images to ask about; everything but the triggers follows from the nonce.

    Decoys are what the generator of keyed triggers makes of the nonce: to whoever does not know the owner's
    secret, triggers and decoys look the same.

    Attributes:
        triggers: the owner's trigger set.
        nonce: 32 bytes that the verifier drew and keeps until the answers are there.
        decoys: number of decoys.
    """

    triggers: TriggerSet
    nonce: bytes
    decoys: int

    def __len__(self) -> int:
        return len(self.triggers) + self.decoys

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """Which image is asked when: numbers below len(triggers) are triggers, the others decoys."""
        return np.argsort(keyed_words(self.nonce, "query order", len(self)), kind="stable")

    @cached_property
    def images(self) -> Pixels:
        """The images in the order they are asked in, uint8 [n, height, width, channels]."""
        size, classes = self.triggers.size, self.triggers.classes
        decoys = TriggerSecret(self.nonce, self.decoys, size, classes).trigger_set().split.images
        together: Pixels = np.concatenate([self.triggers.split.images.numpy(), decoys.numpy()])
        return together[self.order]

    @property
    def digest(self) -> str:
        """SHA-256 of the images as they are asked."""
        return bytes_digest(self.images.tobytes())
