"""Scheme 1: the ticket is split into a key mask and a locked mask (NeurIPS'21, section 3.3, Algorithm 1).

The n kept weights that a score ranks highest become the key; the rest, the locked ticket, is what is handed
out. Who trains it without the key loses accuracy, and who holds the key can show it. What the locked ticket
must not tell (rewind weights under the key, an earlier claim) travels with it under the key's secret.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from torch import Tensor

from ticket_sig.claim import Claim, entry
from ticket_sig.digests import json_digest, tensor_digest
from ticket_sig.errors import about, bad_input
from ticket_sig.files import SECRET
from ticket_sig.formats.safetensors_file import read_metadata, read_safetensors, write_safetensors
from ticket_sig.mask import Mask
from ticket_sig.ticket import Round, Ticket, retie

SCHEME = "scheme 1: key mask"
KEY_FORMAT, KEY_VERSION = "ticket_sig key", 1
_POSITIONS, _WEIGHTS = "positions/", "weights/"
_NONCE = bytes(12)  # every secret seals one file, once


@dataclass(frozen=True)
class Key:
    """The split-off part of a ticket.

    Attributes:
        positions: by layer, flat indices int64 [n], ascending.
        weights: by layer, the weights there [n].
        secret: 32 bytes; makes the commitment say nothing of the key, and opens what was sealed.
        locked: digest of the locked ticket it belongs to.
    """

    positions: Mapping[str, Tensor]
    weights: Mapping[str, Tensor]
    secret: bytes
    locked: str

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
        positions, weights = parts[_POSITIONS], parts[_WEIGHTS]
        for name, index in positions.items():
            fine = index.dtype == torch.int64 and index.ndim == 1 and bool((index[1:] > index[:-1]).all())
            if not fine or name not in weights or weights[name].shape != index.shape:
                raise bad_input(path, name, "ascending positions, and as many weights", "something else")
        return cls(positions, weights, bytes.fromhex(head["secret"]), head["locked"])

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

    def check(self, key: Key) -> None:
        """Checks that a key is the one this claim was made with.

        Raises:
            InputError: it belongs to another ticket, or was altered.
        """
        if key.locked != self.locked:
            raise bad_input("key", "ticket", f"the claim's {self.locked}", f"a key of {key.locked}")
        if key.commitment != self.commitment:
            hint = "it was altered since the ticket was split, or forged"
            raise bad_input("key", "digest", f"the claim's {self.commitment}", key.commitment, hint=hint)


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
    """Splits exactly round(share * kept) weights off as the key.

    Args:
        share: of the kept weights (the paper's relative sparsity of the key), in (0, 1).
        scores: of the mask's names and shapes; the highest go. Of equal ones the larger magnitude goes,
            then the earlier.
        score: what they are called, for the claim.
        claim: of an earlier mark (claim.json); sealed, and given back by `unlock`.

    Raises:
        InputError: a share out of range, or that leaves nothing to the key or the locked ticket; scores
            of another ticket or that are not numbers.
    """
    if not 0 < share < 1:
        raise bad_input("", "share", "between 0 and 1, without both", str(share))
    count = round(share * ticket.mask.kept)
    if not 0 < count < ticket.mask.kept:
        expected = f"one that leaves weights to both of {ticket.mask.kept}"
        raise bad_input("", "share", expected, f"{share}, {count} weights")
    in_key = _highest(ticket, scores, count)
    mask = Mask({name: kept & ~in_key[name] for name, kept in ticket.mask.items()})
    locked = _without(ticket, in_key, mask)
    digest = _digest(locked)
    positions = {name: where for name, k in in_key.items() if len(where := k.flatten().nonzero().flatten())}
    weights = {name: ticket.weights[name].flatten()[where].clone() for name, where in positions.items()}
    key = Key(positions, weights, secrets.token_bytes(32), digest)
    mark = KeyMark(key.commitment, digest, score, mask.kept, len(key))
    made = Claim(scheme=SCHEME, signature=mark.to_json(), subject=tensor_digest(locked.weights))
    return Split(locked, key, made, _seal(ticket, claim, key))


def unlock(
    locked: Ticket, key: Key, claim: Claim, sealed: bytes | None
) -> tuple[Ticket, dict[str, Any] | None]:
    """Puts the two parts together: returns the ticket that was split, bit for bit, and its earlier claim.

    Args:
        locked: as it was handed out, not trained since.
        sealed: what came with it; None where it is lost: then the rewind weights are those of `locked`.

    Raises:
        InputError: the key is another ticket's, was altered or forged, or the locked ticket was changed.
    """
    mark = mark_of(claim)
    mark.check(key)
    if (found := _digest(locked)) != mark.locked:
        hint = "unlock it as it was handed out, before it is trained"
        raise bad_input("locked ticket", "digest", f"the claim's {mark.locked}", found, hint=hint)
    weights, kept = dict(locked.weights), dict(locked.mask)
    for name, where in key.positions.items():
        weights[name] = weights[name].flatten().index_copy(0, where, key.weights[name]).view_as(weights[name])
        kept[name] = kept[name].flatten().index_fill(0, where, True).view_as(kept[name])
    rewind, earlier = (locked.rewind, None) if sealed is None else _open(sealed, key)
    whole = Ticket(
        weights=retie(locked.weights, weights),
        mask=Mask(kept),
        rewind=rewind,
        recipe=locked.recipe,
        history=locked.history[:-1],
    )
    return whole, earlier


def mark_of(claim: Claim) -> KeyMark:
    """The claim's fields.

    Raises:
        InputError: it is of another scheme, or damaged.
    """
    with about(claim.source):
        if claim.scheme != SCHEME:
            raise bad_input("claim", "scheme", repr(SCHEME), repr(claim.scheme))
        return KeyMark.from_json(claim.signature)


def _highest(ticket: Ticket, scores: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
    """Boolean tensors of the mask's shapes: the `count` kept weights of the highest scores."""
    ticket.mask.check_shapes(scores, "scores")
    kept = {name: k.flatten() for name, k in ticket.mask.items()}
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


def _without(ticket: Ticket, in_key: Mapping[str, Tensor], mask: Mask) -> Ticket:
    """The ticket under the locked mask. Rewind weights are zero outside: large ones would tell the key."""
    # Not all that is pruned is put to +0.0: elsewhere the bits are to stay, be it -0.0.
    weights = {
        name: w.masked_fill(in_key[name], 0) if name in in_key else w for name, w in ticket.weights.items()
    }
    entry = Round(step="split", kept=mask.kept, total=mask.total)
    return replace(
        ticket,
        weights=retie(ticket.weights, weights),
        mask=mask,
        rewind=ticket.rewind and mask.apply(ticket.rewind),
        history=(*ticket.history, entry),
    )


def _digest(locked: Ticket) -> str:
    model, mask = tensor_digest(locked.weights), tensor_digest(locked.mask)
    return json_digest({"model": model, "mask": mask})


def _seal(ticket: Ticket, claim: Mapping[str, Any] | None, key: Key) -> bytes:
    """Rewind weights and earlier claim under the key's secret (ChaCha20-Poly1305, RFC 8439)."""
    tensors = {name: t.contiguous().clone() for name, t in (ticket.rewind or {}).items()}
    plain = safetensors.torch.save(
        tensors, {"claim": json.dumps(claim), "rewind": json.dumps(bool(ticket.rewind))}
    )
    return ChaCha20Poly1305(key.secret).encrypt(_NONCE, plain, key.locked.encode())


def _open(sealed: bytes, key: Key) -> tuple[dict[str, Tensor] | None, dict[str, Any] | None]:
    try:
        plain = ChaCha20Poly1305(key.secret).decrypt(_NONCE, sealed, key.locked.encode())
    except InvalidTag:
        raise bad_input("locked ticket", "sealed part", "what this key sealed", "something else") from None
    size = int.from_bytes(plain[:8], "little")
    told = json.loads(plain[8 : 8 + size])["__metadata__"]
    rewind = safetensors.torch.load(plain) if json.loads(told["rewind"]) else None
    return rewind, json.loads(told["claim"])


def _head_of(path: Path) -> dict[str, str]:
    """The key's metadata, checked."""
    try:
        head = json.loads(read_metadata(path)["ticket_sig"])
        bytes.fromhex(head["secret"])
        fine = len(head["secret"]) == 64 and isinstance(head["locked"], str)
    except (KeyError, TypeError, ValueError):
        fine = False
    if not fine:
        raise bad_input(path, "key", "a key that `ticket-sig split` wrote", "another file")
    if (head.get("format"), head.get("version")) != (KEY_FORMAT, KEY_VERSION):
        found = f"{head.get('format')!r} {head.get('version')!r}"
        raise bad_input(path, "format", f"{KEY_FORMAT!r} {KEY_VERSION}", found)
    return {name: head[name] for name in ("secret", "locked")}
