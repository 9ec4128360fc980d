"""What a suspect is asked: the owner's triggers and the verifier's decoys, in an order that only he knows."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ticket_sig.claim import Claim
from ticket_sig.datasets.images import Pixels
from ticket_sig.errors import about, bad_input
from ticket_sig.signatures.keyed import keyed_words
from ticket_sig.signatures.scheme3 import SCHEME, TriggerMark
from ticket_sig.signatures.triggers import TriggerSecret, TriggerSet

DECOYS = 300
FEWEST_DECOYS, MOST_DECOYS = 100, 100_000
NONCE_BYTES = 32


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
        return f"sha256:{hashlib.sha256(np.ascontiguousarray(self.images).tobytes()).hexdigest()}"


def prepare(claim: Claim, triggers: TriggerSet, decoys: int = DECOYS, nonce: bytes | None = None) -> Queries:
    """Makes the queries for a claim of scheme 3.

    Args:
        decoys: how many unrelated images to ask about beside the triggers.
        nonce: what decoys and order follow from; fresh by default. Whoever judges a claim must draw it.

    Raises:
        InputError: the claim is damaged or of another scheme, the trigger set is not the claim's, or there
            are too few or too many decoys.
    """
    mark_of(claim).check(triggers)
    if not FEWEST_DECOYS <= decoys <= MOST_DECOYS:
        raise bad_input("", "decoys", f"{FEWEST_DECOYS} to {MOST_DECOYS}", str(decoys))
    nonce = secrets.token_bytes(NONCE_BYTES) if nonce is None else nonce
    if len(nonce) != NONCE_BYTES:
        raise bad_input("", "nonce", f"{NONCE_BYTES} bytes", str(len(nonce)))
    return Queries(triggers, nonce, decoys)


def mark_of(claim: Claim) -> TriggerMark:
    """What a claim says of its trigger set.

    Raises:
        InputError: the claim is damaged or of another scheme.
    """
    with about(claim.source):
        if claim.scheme != SCHEME:
            raise bad_input("claim", "scheme", repr(SCHEME), repr(claim.scheme))
        return TriggerMark.from_json(claim.signature)
