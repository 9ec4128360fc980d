"""What a claim says, in words, whatever its scheme."""

from __future__ import annotations

from ticket_sig.claim import Claim
from ticket_sig.errors import about
from ticket_sig.signatures import scheme1, scheme2, scheme3


def describe(claim: Claim) -> list[str]:
    """One line for each mark that a claim is of.

    Raises:
        InputError: the claim is damaged.
    """
    with about(claim.source):
        if claim.scheme == scheme3.SCHEME:
            mark = scheme3.TriggerMark.from_json(claim.signature)
            source = "from a secret" if mark.keyed else "chosen by somebody"
            own = f"{claim.scheme}, {mark.count} images of {mark.classes} classes, {source}"
            return [own, *(describe(scheme3.in_mask(claim)) if mark.beside else [])]
        if claim.scheme == scheme1.SCHEME:
            key = scheme1.KeyMark.from_json(claim.signature)
            return [f"{claim.scheme}, {key.kept_key} weights by {key.score}; {key.kept_locked} are locked"]
        if claim.scheme == scheme2.SCHEME:
            return [f"{claim.scheme}, {scheme2.Signature.from_json(claim.signature).message!r}"]
        return [claim.scheme]


def code_of(claim: Claim) -> scheme2.Signature | None:
    """The code of scheme 2 that a claim is of, also beside a trigger set; None where there is none.

    Raises:
        InputError: the claim is damaged.
    """
    with about(claim.source):
        if claim.scheme == scheme3.SCHEME and scheme3.TriggerMark.from_json(claim.signature).beside is None:
            return None
        marked = scheme3.in_mask(claim)
        return scheme2.Signature.from_json(marked.signature) if marked.scheme == scheme2.SCHEME else None
