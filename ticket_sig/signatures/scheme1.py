"""Scheme 1: the ticket is split into a key mask and a locked mask (NeurIPS'21, section 3.3, Algorithm 1).

The n kept weights that a score ranks highest become the key; the rest, the locked ticket, is what is handed
out. Who trains it without the key loses accuracy, and who holds the key can show it. What the locked ticket
must not tell travels with it under the key's secret: rewind weights under the key; the statistics of batch
norm, which differ from those that the locked network has, most in the channels that the key feeds; and an
earlier claim.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ticket_sig.claim import Claim, entry
from ticket_sig.digests import json_digest, tensor_digest
from ticket_sig.errors import about, bad_input
from ticket_sig.files import SECRET
from ticket_sig.formats.safetensors_file import read_metadata, read_safetensors, write_safetensors
from ticket_sig.mask import Mask
from ticket_sig.signatures.sealed import Sealed
from ticket_sig.ticket import Round, Ticket, retie

SCHEME = "scheme 1: key mask"
KEY_FORMAT, KEY_VERSION = "ticket_sig key", 1
_POSITIONS, _WEIGHTS = "positions/", "weights/"
# Batch norm's running statistics, by the last part of their names, and what they start from.
_STATISTICS = {"running_mean": 0, "running_var": 1, "num_batches_tracked": 0}


@dataclass(frozen=True)
class Key:
    """The split-off part of a ticket.

    Attributes:
        positions: by layer, flat indices int64 [n], ascending.
        weights: by layer, the weights there [n].
        secret: 32 bytes; makes the commitment say nothing of the key, and opens what was sealed.
        locked: digest of the locked ticket it belongs to.

    Raises:
        InputError: it has no layers, or a layer's positions are none, not ascending from 0 on, or not as many
            as its weights; the secret has another length.
    """

    positions: Mapping[str, Tensor]
    weights: Mapping[str, Tensor]
    secret: bytes
    locked: str

    def __post_init__(self) -> None:
        if len(self.secret) != 32:
            raise bad_input("key", "secret", "32 bytes", str(len(self.secret)))
        if not self.positions or self.positions.keys() != self.weights.keys():
            found = ", ".join(sorted(self.positions.keys() ^ self.weights.keys())) or "none"
            raise bad_input("key", "layers", "positions and weights of each", found)
        for name, where in self.positions.items():
            fine = where.dtype == torch.int64 and where.ndim == 1 and len(where) > 0
            if not (fine and int(where[0]) >= 0 and bool((where[1:] > where[:-1]).all())):
                raise bad_input("key", name, "positions, ascending from 0 on", "something else")
            if (weights := self.weights[name]).shape != where.shape or not weights.is_floating_point():
                found = f"{str(weights.dtype).removeprefix('torch.')} {list(weights.shape)}"
                raise bad_input("key", name, f"{len(where)} weights, one for each position", found)

    def __len__(self) -> int:
        return sum(len(p) for p in self.positions.values())

    @property
    def commitment(self) -> str:
        """Digest of the whole key, for claims."""
        return json_digest({**self._head(), "tensors": tensor_digest(self._tensors())})

    def write(self, path: Path) -> None:
        """Writes the key's file, readable by its owner alone; whole or not at all."""
        write_safetensors(path, self._tensors(), json.dumps(self._head()), mode=SECRET)

    @classmethod
    def read(cls, path: Path | str) -> Key:
        """Reads a key's file.

        Raises:
            InputError: missing, damaged, or no key of this version.
        """
        path = Path(path)
        tensors = read_safetensors(path)
        head = _head_of(path)
        parts = {
            kind: {n.removeprefix(kind): t for n, t in tensors.items() if n.startswith(kind)}
            for kind in (_POSITIONS, _WEIGHTS)
        }
        with about(path):
            if extra := sorted(n for n in tensors if not n.startswith((_POSITIONS, _WEIGHTS))):
                raise bad_input("key", "tensors", "positions and weights", ", ".join(extra))
            return cls(parts[_POSITIONS], parts[_WEIGHTS], bytes.fromhex(head["secret"]), head["locked"])

    def _tensors(self) -> dict[str, Tensor]:
        positions = {_POSITIONS + name: t for name, t in self.positions.items()}
        return {**positions, **{_WEIGHTS + name: t for name, t in self.weights.items()}}

    def _head(self) -> dict[str, Any]:
        return {
            "format": KEY_FORMAT,
            "version": KEY_VERSION,
            "secret": self.secret.hex(),
            "locked": self.locked,
        }


@dataclass(frozen=True)
class KeyMark:
    """What a claim says of a key.

    Attributes:
        commitment: digest of the key (`Key.commitment`).
        locked: digest of the locked ticket.
        score: what the key's weights were chosen by.
        kept_locked, kept_key: number of weights of each.
    """

    commitment: str
    locked: str
    score: str
    kept_locked: int
    kept_key: int

    def to_json(self) -> dict[str, Any]:
        """The signature's fields of claim.json."""
        return dict(vars(self))

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> KeyMark:
        """Reads the signature's fields of claim.json.

        Raises:
            InputError: a field is missing or of another type.
        """
        return cls(
            entry(value, "commitment", str),
            entry(value, "locked", str),
            entry(value, "score", str),
            entry(value, "kept_locked", int),
            entry(value, "kept_key", int),
        )

    def check(self, key: Key, locked: Ticket) -> None:
        """Checks that key and locked ticket are those this claim was made with, and fit each other.

        Raises:
            InputError: one belongs to another claim or was changed; or the key names layers that the locked
                ticket does not have, positions that are not there, or weights of the locked mask itself.
        """
        if key.locked != self.locked:
            raise bad_input("key", "ticket", f"the claim's {self.locked}", f"a key of {key.locked}")
        if key.commitment != self.commitment:
            hint = "it was altered since the ticket was split, or forged"
            raise bad_input("key", "digest", f"the claim's {self.commitment}", key.commitment, hint=hint)
        if (found := locked_digest(locked)) != self.locked:
            hint = "it must be as it was handed out, before it is trained"
            raise bad_input("locked ticket", "digest", f"the claim's {self.locked}", found, hint=hint)
        for name, where in key.positions.items():
            _check_layer(name, where, key.weights[name], locked)


@dataclass(frozen=True)
class Split:
    """A ticket in two: what is handed out with its claim and what is sealed in it, and the key."""

    locked: Ticket
    key: Key
    claim: Claim
    sealed: bytes


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
        claim: of an earlier mark (claim.json); sealed, and given back by `unlock`.

    Raises:
        InputError: a share out of range, or that leaves nothing to the key or the locked ticket; scores
            of another ticket or that are not numbers; tied weights under different masks; a claim that is
            none.
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
    trained, subject = ticket.last_trained(), tensor_digest(locked.weights)
    promised = trained.test if trained else None
    made = Claim(scheme=SCHEME, signature=mark.to_json(), subject=subject, accuracy=promised)
    sealed = Sealed(
        rewind=ticket.rewind,
        statistics={name: t for name, t in ticket.weights.items() if _is_statistic(name)},
        recipe=ticket.recipe,
        history=ticket.history,
        claim=claim,
        copies=copies,
    )
    return Split(locked, key, made, sealed.seal(key.secret, digest))


def unlock(
    locked: Ticket, key: Key, claim: Claim, sealed: bytes | None
) -> tuple[Ticket, Mapping[str, Any] | None]:
    """Puts the parts together: returns the ticket that was split, bit for bit, and its earlier claim.

    Recipe and history are those that were sealed, whatever the locked ticket's own say now.

    Args:
        locked: as it was handed out, not trained since.
        sealed: what came with it.

    Raises:
        InputError: the key is another ticket's, was altered or forged, or the locked ticket was changed; the
            sealed part is missing or not this key's.
    """
    mark_of(claim).check(key, locked)
    if sealed is None:
        hint = "without it the ticket cannot be given back bit for bit"
        expected = "the sealed.bin that was handed out with it"
        raise bad_input("locked ticket", "sealed part", expected, "none", hint=hint)
    rest = Sealed.open(sealed, key.secret, key.locked, locked.weights)
    weights, kept = {**locked.weights, **rest.statistics}, dict(locked.mask)
    for name in weights:
        first = rest.copies.get(name, name)
        if (where := key.positions.get(first)) is None:
            continue
        weights[name] = (
            weights[name].flatten().index_copy(0, where, key.weights[first]).view_as(weights[name])
        )
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


def mark_of(claim: Claim) -> KeyMark:
    """The claim's fields.

    Raises:
        InputError: it is of another scheme, or damaged.
    """
    with about(claim.source):
        if claim.scheme != SCHEME:
            raise bad_input("claim", "scheme", repr(SCHEME), repr(claim.scheme))
        return KeyMark.from_json(claim.signature)


def _check_layer(name: str, where: Tensor, weights: Tensor, locked: Ticket) -> None:
    if name not in locked.mask:
        raise bad_input("key", "layer", "one of the locked mask", name)
    kept, dtype = locked.mask[name].flatten(), locked.weights[name].dtype
    if int(where[-1]) >= len(kept):
        raise bad_input("key", name, f"positions below {len(kept)}", str(int(where[-1])))
    if weights.dtype != dtype:
        names = [str(d).removeprefix("torch.") for d in (dtype, weights.dtype)]
        raise bad_input("key", name, f"weights of {names[0]}, as the locked ticket's", names[1])
    if within := int(kept[where].sum()):
        raise bad_input("key", name, "positions outside the locked mask", f"{within} within")


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
        if name in ticket.mask and not torch.equal(ticket.mask[name], ticket.mask[home]):
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
    if np.isnan(ranked).any():
        found = f"{np.isnan(ranked).sum()} that are not"
        raise bad_input("scores", "kept weights", "numbers", found)
    chosen = torch.zeros(len(ranked), dtype=torch.bool)
    chosen[torch.from_numpy(np.lexsort((-sizes, -ranked))[:count].copy())] = (
        True  # stable: earlier ones first
    )
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
        history=(*ticket.history, Round(step="split", kept=mask.kept, total=mask.total)),
    )


def _is_statistic(name: str) -> bool:
    return name.rpartition(".")[2] in _STATISTICS


def _check_nothing_left(locked: Ticket, key: Key, copies: Mapping[str, str]) -> None:
    """Stops a split that would hand out a weight of the key."""
    for tensors in (locked.weights, locked.rewind or {}):
        for name, tensor in tensors.items():
            where = key.positions.get(copies.get(name, name))
            assert where is None or not tensor.flatten()[where].any(), f"{name} holds weights of the key"


def locked_digest(locked: Ticket) -> str:
    """Digest of a locked ticket's model and mask: what key and claim know it by."""
    model, mask = tensor_digest(locked.weights), tensor_digest(locked.mask)
    return json_digest({"model": model, "mask": mask})


def _head_of(path: Path) -> dict[str, str]:
    """The key's metadata, checked."""
    try:
        head = json.loads(read_metadata(path)["ticket_sig"])
        fine = bool(re.fullmatch("[0-9a-f]{64}", head["secret"])) and isinstance(head["locked"], str)
    except (KeyError, TypeError, ValueError, RecursionError):
        fine = False
    if not fine:
        raise bad_input(path, "key", "a key that `ticket-sig split` wrote", "another file")
    if (head.get("format"), head.get("version")) != (KEY_FORMAT, KEY_VERSION):
        found = f"{head.get('format')!r} {head.get('version')!r}"
        raise bad_input(path, "format", f"{KEY_FORMAT!r} {KEY_VERSION}", found)
    return {name: head[name] for name in ("secret", "locked")}
