"""A ticket taken apart into the key and the locked ticket (NeurIPS'21, section 3.3, Algorithm 1)."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ticket_sig.digests import json_digest, tensor_digest
from ticket_sig.errors import bad_input
from ticket_sig.marks.key_mask.key import Key
from ticket_sig.mask import Mask
from ticket_sig.options import share as check_share
from ticket_sig.ticket import HistoryEntry, Ticket, retie

# Batch norm's running statistics, by the last part of their names, and what they start from.
_STATISTICS = {"running_mean": 0, "running_var": 1, "num_batches_tracked": 0}


def taken_apart(
    ticket: Ticket, share: float, scores: Mapping[str, Tensor], secret: bytes | None = None
) -> tuple[Ticket, Key, dict[str, str]]:
    """Takes exactly round(share * kept) weights out as the key; tied weights are one.

    Args:
        share: of the kept weights, in (0, 1).
        scores: of the mask's names and shapes; the highest go. Of equal ones the larger magnitude goes,
            then the earlier. Of tied weights the first name's count.
        secret: the key's 32 bytes; fresh by default.

    Returns:
        The locked ticket, the key, and which names hold the same weights as an earlier one.

    Raises:
        InputError: a share that leaves nothing to the key or the locked ticket; scores of another ticket or
            that are not numbers; tied weights under different masks.
    """
    check_share("share", share)
    copies = _copies(ticket)
    kept = sum(int(k.sum()) for name, k in ticket.mask.items() if name not in copies)
    count = round(share * kept)
    if not 0 < count < kept:
        expected = f"one that leaves weights to both of {kept}"
        raise bad_input("", "share", expected, f"{share}, {count} weights")
    in_key = _highest(ticket, scores, count, copies)
    locked = _without(ticket, in_key, copies)
    positions = {name: where for name, k in in_key.items() if len(where := k.flatten().nonzero().flatten())}
    weights = {name: ticket.weights[name].flatten()[where].clone() for name, where in positions.items()}
    key = Key(
        positions, weights, secrets.token_bytes(32) if secret is None else secret, locked_digest(locked)
    )
    _check_nothing_left(locked, key, copies)
    return locked, key, copies


def locked_digest(locked: Ticket) -> str:
    """Digest of a locked ticket's model and mask: what key and claim know it by."""
    return json_digest({"model": tensor_digest(locked.weights), "mask": tensor_digest(locked.mask)})


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
        if is_statistic(name):
            weights[name] = torch.full_like(w, _STATISTICS[name.rpartition(".")[2]])
    under = Mask({**mask, **{name: mask[home] for name, home in copies.items()}})
    return replace(
        ticket,
        weights=retie(ticket.weights, weights),
        mask=mask,
        rewind=None if ticket.rewind is None else under.apply(ticket.rewind),
        history=(*ticket.history, HistoryEntry(step="split", kept=mask.kept, total=mask.total)),
    )


def is_statistic(name: str) -> bool:
    """Whether a tensor is one of the running statistics of a batch norm."""
    return name.rpartition(".")[2] in _STATISTICS


def _check_nothing_left(locked: Ticket, key: Key, copies: Mapping[str, str]) -> None:
    """Stops a split that would hand out a weight of the key."""
    for tensors in (locked.weights, locked.rewind or {}):
        for name, tensor in tensors.items():
            where = key.positions.get(copies.get(name, name))
            assert where is None or not tensor.flatten()[where].any(), f"{name} holds weights of the key"
