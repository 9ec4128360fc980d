"""What a suspect is asked: the owner's triggers and the verifier's decoys, in an order that only he knows.

Whoever asks the same suspect twice must ask the same images: what two askings with different decoys have in
common is the trigger set. That is what the record is for.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ticket_sig.claim import Claim
from ticket_sig.datasets.images import Pixels
from ticket_sig.errors import about, bad_input
from ticket_sig.fields import check_format, hexadecimal, whole
from ticket_sig.files import SECRET, read_json, write_json
from ticket_sig.marks.claims import of_kind
from ticket_sig.marks.trigger_set.mark import TriggerMark
from ticket_sig.marks.trigger_set.triggers import TriggerSecret, TriggerSet, check_extent
from ticket_sig.prf import keyed_words

FORMAT, FORMAT_VERSION = "ticket_sig queries", 1
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
    """Makes the queries for a claim on a trigger set.

    Args:
        decoys: how many unrelated images to ask about beside the triggers.
        nonce: what decoys and order follow from; fresh by default. Whoever judges a claim must draw it.

    Raises:
        InputError: the claim is damaged or of no trigger set, the trigger set is not the claim's, or there
            are too few or too many decoys, or decoys of such a size.
    """
    of_kind(TriggerMark, claim).check(triggers)
    if not FEWEST_DECOYS <= decoys <= MOST_DECOYS:
        raise bad_input("", "decoys", f"{FEWEST_DECOYS} to {MOST_DECOYS}", str(decoys))
    check_extent("decoys", decoys, triggers.size, triggers.classes)
    nonce = secrets.token_bytes(NONCE_BYTES) if nonce is None else nonce
    if len(nonce) != NONCE_BYTES:
        raise bad_input("", "nonce", f"{NONCE_BYTES} bytes", str(len(nonce)))
    return Queries(triggers, nonce, decoys)


def write_record(queries: Queries, path: Path) -> None:
    """Writes what the queries can be made again from; it tells triggers from decoys.

    Nobody but its owner may read it. Whole or not at all.
    """
    write_json(path, _record(queries), mode=SECRET)


def read_queries(path: Path, claim: Claim, triggers: TriggerSet) -> Queries:
    """Reads a record and makes the queries again.

    Raises:
        InputError: missing, damaged, of another claim, or the pictures that follow from it are not those
            that were written.
    """
    value = read_json(path)
    with about(path):
        nonce, decoys = _fields(value)
        queries = prepare(claim, triggers, decoys, nonce)
        ours = _record(queries)
        for name, theirs in (
            ("commitment", "the claim's"),
            ("pictures", "those of claim, triggers and nonce"),
        ):
            if value.get(name) != ours[name]:
                raise bad_input("queries", name, f"{theirs} {ours[name]}", repr(value.get(name))[:80])
    return queries


def _record(queries: Queries) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "commitment": queries.triggers.commitment,
        "nonce": queries.nonce.hex(),
        "decoys": queries.decoys,
        "pictures": queries.digest,
    }


def _fields(value: Mapping[str, Any]) -> tuple[bytes, int]:
    check_format(value, "queries", FORMAT, FORMAT_VERSION)
    return hexadecimal(value, "nonce", "queries", NONCE_BYTES), whole(value, "decoys", "queries")
