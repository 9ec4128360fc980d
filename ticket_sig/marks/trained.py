"""Training and claims: which marks it keeps; it promises the new accuracy, and triggers that were taught."""

from __future__ import annotations

from dataclasses import replace

from ticket_sig.claim import Claim, ClaimedMark
from ticket_sig.digests import tensor_digest
from ticket_sig.errors import InputError
from ticket_sig.marks import Mark, marks_of
from ticket_sig.marks.mark import tried, verdict_on
from ticket_sig.marks.trigger_set.mark import TriggerMark
from ticket_sig.marks.trigger_set.triggers import TriggerSet
from ticket_sig.ticket import Ticket
from ticket_sig.verdict import Verdict


def claim_triggers(triggers: TriggerSet, subject: str, beside: Claim | None = None) -> Claim:
    """The claim of a network that was taught a trigger set.

    Args:
        subject: digest of the network's tensors, triggers taught.
        beside: the claim of what the network carries too; an earlier trigger set gives way.
    """
    kept = [one for one in (beside.marks if beside else ()) if one.name != TriggerMark.name]
    taught = ClaimedMark(TriggerMark.name, TriggerMark.of(triggers).to_json())
    fresh = Claim(marks=(*kept, taught), subject=subject)
    return replace(beside, marks=fresh.marks, subject=subject, created=fresh.created) if beside else fresh


def claim_after(claim: Claim | None, ticket: Ticket, taught: TriggerSet | None = None) -> Claim | None:
    """The claim of a trained network, from that before; None where nothing is claimed.

    Raises:
        InputError: the claim is damaged.
    """
    if taught is not None:
        claim = claim_triggers(taught, tensor_digest(ticket.weights), claim)
    if claim is None or any(mark.locks for mark in marks_of(claim)):
        return claim  # what a locked ticket reaches is not what its owner promises
    return replace(claim, accuracy=ticket.history[-1].test)


def kept_in_training(claim: Claim | None) -> list[Mark]:
    """The marks of a claim that training has to keep, or to teach; the others the mask keeps, or nothing.

    Raises:
        InputError: the claim is damaged.
    """
    return [mark for mark in (marks_of(claim) if claim else []) if type(mark).bind is not Mark.bind]


def still_read(claim: Claim | None, ticket: Ticket) -> list[tuple[str, Verdict | InputError]]:
    """Each mark that a trained network's own weights tell: its name, and the verdict or why there is none.

    Raises:
        InputError: the claim is damaged.
    """
    marks = [mark for mark in tried(marks_of(claim) if claim else []) if not mark.needs]
    return [(mark.name, verdict_on(mark, ticket, len(marks))) for mark in marks]
