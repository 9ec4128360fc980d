"""Splitting a ticket and putting it together again (NeurIPS'21, section 3.3, Algorithm 1).

The n kept weights that a score ranks highest become the key; the rest, the locked ticket, is what is handed
out. Who trains it without the key loses accuracy, and who holds the key can show it. What the locked ticket
must not tell travels with it under the key's secret: rewind weights under the key; the statistics of batch
norm, which differ from those that the locked network has, most in the channels that the key feeds; and an
earlier claim.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ticket_sig.claim import Claim
from ticket_sig.digests import tensor_digest
from ticket_sig.errors import bad_input
from ticket_sig.marks.key_mask.key import Key
from ticket_sig.marks.key_mask.mark import KeyMark, locked_digest
from ticket_sig.marks.key_mask.sealed import Sealed
from ticket_sig.marks.mark import claim_of, of_kind
from ticket_sig.mask import Mask
from ticket_sig.ticket import HistoryEntry, Ticket, retie

# Batch norm's running statistics, by the last part of their names, and what they start from.
_STATISTICS = {"running_mean": 0, "running_var": 1, "num_batches_tracked": 0}


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
        InputError: a share that leaves nothing to the key or the locked ticket; scores of another ticket or
            that are not numbers; tied weights under different masks; a claim that is none.
    """
    if not 0 < share < 1:
        raise bad_input("", "share", "between 0 and 1, without both", str(share))
    copies = _copies(ticket)
    kept = sum(int(k.sum()) for name, k in ticket.mask.items() if name not in copies)
    count = round(share * kept)
    if not 0 < count < kept:
        expected = f"one that leaves weights to both of {kept}"
        raise bad_input("", "share", expected, f"{share}, {count} weights")
    in_key = _highest(ticket, scores, count, copies)
    locked = _without(ticket, in_key, copies)
    digest = locked_digest(locked)
    positions = {name: where for name, k in in_key.items() if len(where := k.flatten().nonzero().flatten())}
    weights = {name: ticket.weights[name].flatten()[where].clone() for name, where in positions.items()}
    key = Key(positions, weights, secrets.token_bytes(32), digest)
    _check_nothing_left(locked, key, copies)
    mark = KeyMark(key.commitment, digest, score, locked.mask.kept, len(key))
    trained = ticket.last_trained()
    made = claim_of([mark], locked.weights, trained.test if trained else None)
    sealed = Sealed(
        rewind=ticket.rewind,
        statistics={name: t for name, t in ticket.weights.items() if _is_statistic(name)},
        recipe=ticket.recipe,
        history=ticket.history,
        claim=claim,
        copies=copies,
    )
    earlier = Claim.from_json(claim).marks if claim else ()
    return Split(locked, key, made, sealed.seal(key.secret, digest), tuple(one.name for one in earlier))


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


def _copies(ticket: Ticket) -> dict[str, str]:
    """Names that hold the same weights as an earlier one of the mask, tied or not: {name: name in the mask}.

    A file that knows nothing of ties holds them twice; either would give the other away.
    """
    homes: dict[str, str] = {}
    copies = {}
    for name in (*ticket.mask, *(n for n in ticket.weights if n not in ticket.mask)):
        weights = ticket.weights[name]
        if weights.ndim < 2 or not weights.any():
            continue
        home = homes.setdefault(tensor_digest({"": weights}), name)
        if home == name or home not in ticket.mask:
            continue
        if name in ticket.mask and not ticket.mask[name].equal(ticket.mask[home]):
            raise bad_input("mask", name, f"that of {home}, which holds the same weights", "another")
        copies[name] = home
    return copies


def _highest(
    ticket: Ticket, scores: Mapping[str, Tensor], count: int, copies: Mapping[str, str]
) -> dict[str, Tensor]:
    """Boolean tensors of the mask's shapes, without copies: the `count` kept weights that score highest."""
    ticket.mask.check_shapes(scores, "scores")
    kept = {name: k.flatten() for name, k in ticket.mask.items() if name not in copies}
    ranked = np.concatenate([scores[name].flatten()[k].double().numpy() for name, k in kept.items()])
    sizes = np.concatenate([ticket.weights[n].flatten()[k].abs().double().numpy() for n, k in kept.items()])
    if odd := np.isnan(ranked).sum():
        raise bad_input("scores", "kept weights", "numbers", f"{odd} that are not")
    order = np.lexsort((-sizes, -ranked))  # stable: earlier ones first
    chosen = torch.zeros(len(ranked), dtype=torch.bool)
    chosen[torch.from_numpy(order[:count])] = True
    parts = torch.split(chosen, [int(k.sum()) for k in kept.values()])
    return {
        name: torch.zeros_like(k).masked_scatter(k, part).view(ticket.mask[name].shape)
        for (name, k), part in zip(kept.items(), parts, strict=True)
    }


def _without(ticket: Ticket, in_key: Mapping[str, Tensor], copies: Mapping[str, str]) -> Ticket:
    """The ticket under the locked mask. Rewind weights are zero outside: large ones would tell the key."""
    gone = {**in_key, **{name: in_key[home] for name, home in copies.items()}}
    mask = Mask({name: kept & ~gone[name] for name, kept in ticket.mask.items()})
    weights = {}
    for name, w in ticket.weights.items():
        # Not all that is pruned is put to +0.0: elsewhere the bits are to stay, be it -0.0.
        weights[name] = w.masked_fill(gone[name], 0) if name in gone else w
        if _is_statistic(name):
            weights[name] = torch.full_like(w, _STATISTICS[name.rpartition(".")[2]])
    under = Mask({**mask, **{name: mask[home] for name, home in copies.items()}})
    return replace(
        ticket,
        weights=retie(ticket.weights, weights),
        mask=mask,
        rewind=None if ticket.rewind is None else under.apply(ticket.rewind),
        history=(*ticket.history, HistoryEntry(step="split", kept=mask.kept, total=mask.total)),
    )


def _is_statistic(name: str) -> bool:
    return name.rpartition(".")[2] in _STATISTICS


def _check_nothing_left(locked: Ticket, key: Key, copies: Mapping[str, str]) -> None:
    """Stops a split that would hand out a weight of the key."""
    for tensors in (locked.weights, locked.rewind or {}):
        for name, tensor in tensors.items():
            where = key.positions.get(copies.get(name, name))
            assert where is None or not tensor.flatten()[where].any(), f"{name} holds weights of the key"
