"""Splitting a ticket and putting it together again (NeurIPS'21, section 3.3, Algorithm 1).

The n kept weights that a score ranks highest become the key; the rest, the locked ticket, is what is handed
out. Who trains it without the key loses accuracy, and who holds the key can show it. What the locked ticket
must not tell travels with it under the key's secret: rewind weights under the key; the statistics of batch
norm, which differ from those that the locked network has, most in the channels that the key feeds; and an
earlier claim.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ticket_sig.claim import Claim
from ticket_sig.errors import bad_input
from ticket_sig.marks.key_mask.key import Key
from ticket_sig.marks.key_mask.mark import KeyMark
from ticket_sig.marks.key_mask.parts import is_statistic, taken_apart
from ticket_sig.marks.key_mask.sealed import Sealed
from ticket_sig.marks.mark import claim_of, of_kind
from ticket_sig.mask import Mask
from ticket_sig.ticket import Ticket, retie


@dataclass(frozen=True)
class Split:
    """A ticket in two: what is handed out with its claim and what is sealed in it, and the key.

    Attributes:
        kept_back: names of the earlier claim's marks, which the locked ticket's own is not of.
    """

    locked: Ticket
    key: Key
    claim: Claim
    sealed: bytes
    kept_back: tuple[str, ...] = ()


def split(
    ticket: Ticket,
    share: float,
    scores: Mapping[str, Tensor],
    *,
    score: str = "own",
    claim: Mapping[str, Any] | None = None,
) -> Split:
    """Splits exactly round(share * kept) weights off as the key; tied weights are one.

    Args:
        share: of the kept weights (the paper's relative sparsity of the key), in (0, 1).
        scores: of the mask's names and shapes; the highest go. Of equal ones the larger magnitude goes,
            then the earlier. Of tied weights the first name's count.
        score: what they are called, for the claim.
        claim: of earlier marks (claim.json); sealed, and given back by `unlock`.

    Raises:
        InputError: as `taken_apart`, or a claim that is none.
    """
    locked, key, copies = taken_apart(ticket, share, scores)
    mark = KeyMark(key.commitment, key.locked, score, locked.mask.kept, len(key))
    trained = ticket.last_trained()
    made = claim_of([mark], locked.weights, trained.test if trained else None)
    sealed = Sealed(
        rewind=ticket.rewind,
        statistics={name: t for name, t in ticket.weights.items() if is_statistic(name)},
        recipe=ticket.recipe,
        history=ticket.history,
        claim=claim,
        copies=copies,
    )
    earlier = Claim.from_json(claim).marks if claim else ()
    return Split(locked, key, made, sealed.seal(key.secret, key.locked), tuple(one.name for one in earlier))


def unlock(
    locked: Ticket, key: Key, claim: Claim, sealed: bytes | None
) -> tuple[Ticket, Mapping[str, Any] | None]:
    """Puts the parts together: returns the ticket that was split, bit for bit, and its earlier claim.

    Recipe and history are those that were sealed, whatever the locked ticket's own say now.

    Args:
        locked: as it was handed out, not trained since.
        sealed: what came with it.

    Raises:
        InputError: as `KeyMark.check`; or the sealed part is missing or not this key's.
    """
    of_kind(KeyMark, claim).check(key, locked)
    if sealed is None:
        expected = "the sealed.bin that was handed out with it"
        hint = "without it the ticket cannot be given back bit for bit"
        raise bad_input("locked ticket", "sealed part", expected, "none", hint=hint)
    rest = Sealed.open(sealed, key.secret, key.locked, locked.weights)
    weights, kept = {**locked.weights, **rest.statistics}, dict(locked.mask)
    for name in weights:
        first = rest.copies.get(name, name)
        if (where := key.positions.get(first)) is None:
            continue
        flat = weights[name].flatten().index_copy(0, where, key.weights[first])
        weights[name] = flat.view_as(weights[name])
        if name in kept:
            kept[name] = kept[name].flatten().index_fill(0, where, True).view_as(kept[name])
    whole = Ticket(
        weights=retie(locked.weights, weights),
        mask=Mask(kept),
        rewind=rest.rewind,
        recipe=rest.recipe,
        history=rest.history,
    )
    return whole, rest.claim
