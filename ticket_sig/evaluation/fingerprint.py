"""The unaltered mask of a ticket as a passive fingerprint: nothing is put in, and the mask knows it again.

    taken = extracted(ticket)
    matched(taken, suspect).detected

An extractor takes the mask; a matcher says how much of it a suspect has, and how surprising that is. The
null models are those of a key mask (`marks/key_mask/reading.py`): an unrelated network keeps weights at
random within each layer, tap, in-channel or out-channel; the largest p-value counts, and 2^64 masks that a
claimant may have tried are paid for. So is a size demanded, as there: a quarter of the way from what is
expected to all that the suspect keeps. A p-value as small as 1e-33000 says that chance alone is no
explanation, not that there is no other one: masks pruned of one dense network resemble each other, those of
one initialisation do a little, and no null model knows that. A mask is no secret: a fingerprint that is
younger than the suspect proves nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ticket_sig.digests import bytes_digest, json_digest, tensor_digest
from ticket_sig.errors import bad_input
from ticket_sig.evaluation.method import EvaluationTask, Found, Instance, Method
from ticket_sig.formats.names import names_in
from ticket_sig.marks.key_mask.reading import WAY, alike, kept_as, log10_p_overlap
from ticket_sig.mask import Mask
from ticket_sig.statistics import LOG10_SECRETS, corrected
from ticket_sig.ticket import Ticket
from ticket_sig.verdict import LOG10_THRESHOLD


@dataclass(frozen=True)
class Fingerprint:
    """A mask, one bit a weight.

    Attributes:
        shapes: of its layers.
        bits: of each layer, packed, 1 = kept.
    """

    shapes: Mapping[str, tuple[int, ...]]
    bits: Mapping[str, bytes]

    @cached_property
    def mask(self) -> Mask:
        """The mask that it was taken from."""
        return Mask({name: _unpacked(self.bits[name], shape) for name, shape in self.shapes.items()})

    @property
    def digest(self) -> str:
        """SHA-256 of names, shapes and bits."""
        layers = {n: [list(shape), bytes_digest(self.bits[n])] for n, shape in self.shapes.items()}
        return json_digest({"format": "ticket_sig mask fingerprint", "layers": layers})


@dataclass(frozen=True, kw_only=True)
class Match:
    """How much of a fingerprint stands in a suspect.

    Attributes:
        found, kept: weights that both keep, of all that the suspect keeps in these layers.
        expected: how many of them an unrelated network shares, by the most generous null model.
        log10_p_here: the largest chance of as many, over the null models.
    """

    found: int
    kept: int
    expected: float
    log10_p_here: float

    @property
    def agreement(self) -> float:
        """Share of the suspect's kept weights that the fingerprint has, too."""
        return self.found / self.kept if self.kept else 0.0

    @property
    def log10_p(self) -> float:
        """Corrected for 2^64 masks that a claimant may have tried."""
        return corrected(self.log10_p_here, LOG10_SECRETS)

    @property
    def detected(self) -> bool:
        """Whether the p-value is below the threshold, and the agreement well beyond what is expected."""
        far = self.found - self.expected >= WAY * (self.kept - self.expected)
        return self.log10_p < LOG10_THRESHOLD and far


def extracted(ticket: Ticket) -> Fingerprint:
    """The extractor: the mask of a ticket; InputError where it is dense, and so says nothing."""
    if ticket.mask.kept == ticket.mask.total:
        raise bad_input("mask fingerprint", "mask", "pruned weights", "none", hint="prune the network first")
    shapes = {name: tuple(kept.shape) for name, kept in ticket.mask.items()}
    bits = {name: np.packbits(kept.numpy()).tobytes() for name, kept in ticket.mask.items()}
    return Fingerprint(shapes, bits)


def matched(fingerprint: Fingerprint, suspect: Ticket) -> Match:
    """The matcher: compares a fingerprint with the mask of a suspect, read off its weights.

    Of a layer in which the suspect keeps more weights than the fingerprint, the largest count: small numbers
    at all pruned weights hide nothing. Tied weights, and equal copies, count once.

    Raises:
        InputError: the suspect lacks a layer, or has it in another shape.
    """
    there = names_in(fingerprint.shapes, {name: w.shape for name, w in suspect.weights.items()})
    found, kept, seen = 0, 0, set[str]()
    nulls: dict[str, list[tuple[int, float]]] = {}
    for name, own in fingerprint.mask.items():
        weights = suspect.weights.get(there.get(name, name))
        if weights is None or weights.shape != own.shape:
            shape = "none" if weights is None else str(list(weights.shape))
            raise bad_input("model", name, f"weights {list(own.shape)}, as the fingerprint's", shape)
        if (digest := tensor_digest({"": weights})) in seen:
            continue
        seen.add(digest)
        theirs = kept_as(weights, int(own.sum()))
        found, kept = found + int((own & theirs).sum()), kept + int(theirs.sum())
        for null, classes in alike(theirs, own, torch.ones_like(own)).items():
            nulls.setdefault(null, []).extend(classes)
    return Match(
        found=found,
        kept=kept,
        expected=max(sum(n * density for n, density in classes) for classes in nulls.values()),
        log10_p_here=max(log10_p_overlap(classes, found) for classes in nulls.values()),
    )


class MaskFingerprint(Method):
    """The unaltered mask of a ticket: it has no key, and so a ticket has one fingerprint."""

    name, passive, keyed, subject, stands_in = "mask-fingerprint", True, False, "ticket", "mask"

    def instance(self, network: Ticket, secret: bytes, task: EvaluationTask) -> OneFingerprint:
        """The fingerprint of a ticket, whatever the secret; InputError where it is dense."""
        taken = extracted(network)
        return OneFingerprint(taken.digest, taken)


@dataclass(frozen=True)
class OneFingerprint(Instance):
    """A fingerprint to try.

    Attributes:
        digest: its SHA-256.
        fingerprint: of the unaltered ticket.
    """

    digest: str
    fingerprint: Fingerprint

    def inject(self, network: Ticket, task: EvaluationTask) -> Ticket:
        """The network as it is: the fingerprint was extracted for the instance."""
        return network

    def test(self, suspect: Ticket, task: EvaluationTask) -> Found:
        """Matching; a fingerprint carries no payload."""
        match = matched(self.fingerprint, suspect)
        return Found(detected=match.detected, log10_p=match.log10_p)


def _unpacked(bits: bytes, shape: tuple[int, ...]) -> Tensor:
    count = int(np.prod(shape))
    return torch.from_numpy(np.unpackbits(np.frombuffer(bits, np.uint8), count=count).astype(bool)).view(
        shape
    )
