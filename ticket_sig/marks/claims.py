"""Claims and the marks that they are of; which marks there are is the registry's to know (`marks/`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from torch import Tensor

from ticket_sig.claim import Claim, ClaimedMark
from ticket_sig.digests import tensor_digest
from ticket_sig.errors import about, bad_input
from ticket_sig.fields import SHOWN
from ticket_sig.marks.mark import Mark

_Kind = TypeVar("_Kind", bound=Mark)


def claim_of(marks: Sequence[Mark], weights: Mapping[str, Tensor], accuracy: float | None = None) -> Claim:
    """The claim on a marked network. It holds the marks' secrets: to be kept until there is a dispute.

    Args:
        weights: of the marked network.
        accuracy: test accuracy in % that is promised.
    """
    listed = tuple(ClaimedMark(mark.name, mark.to_json()) for mark in marks)
    return Claim(marks=listed, subject=tensor_digest(weights), accuracy=accuracy)


def of_kind(kind: type[_Kind], claim: Claim) -> _Kind:
    """The mark of a claim that is of this kind, the first if there are several.

    Raises:
        InputError: the claim is of none, or damaged.
    """
    with about(claim.source):
        for one in claim.marks:
            if one.name == kind.name:
                return kind.from_json(one.fields)
        found = ", ".join(repr(one.name) for one in claim.marks)
        raise bad_input("claim", "marks", repr(kind.name), found[:SHOWN])
