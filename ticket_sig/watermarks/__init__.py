"""Marks in dense weights, by name; a new one is one file and one line here."""

from __future__ import annotations

from collections.abc import Mapping

from ticket_sig.claim import Claim
from ticket_sig.errors import about, bad_input
from ticket_sig.watermarks.freezenet import Watermark
from ticket_sig.watermarks.mark import Mark, Reading, as_weights, claim_of
from ticket_sig.watermarks.uchida import Uchida

WATERMARKS: Mapping[str, type[Mark]] = {
    Watermark.scheme: Watermark,
    Uchida.scheme: Uchida,
}


def mark_of(claim: Claim) -> Mark:
    """The watermark of a claim.

    Raises:
        InputError: the claim is of no watermark, or a field is missing or out of range.
    """
    with about(claim.source):
        if claim.scheme not in WATERMARKS:
            raise bad_input("claim", "scheme", f"one of {', '.join(WATERMARKS)}", repr(claim.scheme))
        return WATERMARKS[claim.scheme].from_json(claim.signature)


__all__ = ["WATERMARKS", "Mark", "Reading", "Uchida", "Watermark", "as_weights", "claim_of", "mark_of"]
