"""What a locked ticket must not tell, under its key's secret: the file sealed.bin (scheme 1)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import safetensors.torch
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from safetensors import SafetensorError
from torch import Tensor

from ticket_sig.claim import Claim
from ticket_sig.errors import bad_input
from ticket_sig.fields import parse_json
from ticket_sig.ticket import HistoryEntry

_NONCE = bytes(12)  # every secret seals one file, once
_REWIND, _STATISTICS = "rewind/", "statistics/"
# What a file can be wrong in, if its key fits: somebody made both.
_DAMAGE = (SafetensorError, ValueError, KeyError, TypeError, AttributeError)


@dataclass(frozen=True, kw_only=True)
class Sealed:
    """The rest of a ticket that was split: with the locked ticket and the key, all of it.

    Attributes:
        rewind: the rewind weights; None where they were not known.
        statistics: of batch norm, by name.
        recipe, history: of the ticket.
        claim: of an earlier mark (claim.json).
        copies: tied weights and equal copies of a masked one, {name: name in the mask}.
    """

    rewind: Mapping[str, Tensor] | None
    statistics: Mapping[str, Tensor]
    recipe: Mapping[str, Any] | None
    history: tuple[HistoryEntry, ...]
    claim: Mapping[str, Any] | None
    copies: Mapping[str, str]

    def __post_init__(self) -> None:
        if not isinstance(self.claim, Mapping | None):
            raise bad_input("claim", "JSON", "an object", f"a {type(self.claim).__name__}")
        if self.claim is not None:
            Claim.from_json(self.claim)

    def seal(self, secret: bytes, locked: str) -> bytes:
        """The content of the file (ChaCha20-Poly1305, RFC 8439), bound to a locked ticket by its digest.

        Raises:
            InputError: recipe, history or claim is no JSON.
        """
        told = {
            "rewind": self.rewind is not None,
            "recipe": self.recipe,
            "history": [entry.to_json() for entry in self.history],
            "claim": self.claim,
            "copies": dict(self.copies),
        }
        try:
            text = json.dumps(told, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise bad_input("", "recipe, history and claim", "JSON", f"something else ({error})") from None
        named = {_REWIND + n: t for n, t in (self.rewind or {}).items()}
        named |= {_STATISTICS + n: t for n, t in self.statistics.items()}
        tensors = {name: t.detach().cpu().contiguous().clone() for name, t in named.items()}
        plain = safetensors.torch.save(tensors, {"ticket_sig": text})
        return ChaCha20Poly1305(secret).encrypt(_NONCE, plain, locked.encode())

    @classmethod
    def open(cls, content: bytes, secret: bytes, locked: str, weights: Mapping[str, Tensor]) -> Sealed:
        """Reads the content of the file.

        Args:
            weights: of the locked ticket; what was sealed must be theirs.

        Raises:
            InputError: another secret sealed it, for another ticket; it was changed, or is damaged.
        """
        try:
            plain = ChaCha20Poly1305(secret).decrypt(_NONCE, content, locked.encode())
            return cls._parse(plain, weights)
        except InvalidTag:
            found = "something else"
        except _DAMAGE as error:
            found = f"content that cannot be used ({str(error)[:160]})"
        raise bad_input("locked ticket", "sealed part", "what this key sealed", found)

    @classmethod
    def _parse(cls, plain: bytes, weights: Mapping[str, Tensor]) -> Sealed:
        tensors = safetensors.torch.load(plain)
        head = plain[8 : 8 + int.from_bytes(plain[:8], "little")]
        told = parse_json(parse_json(head)["__metadata__"]["ticket_sig"])
        statistics = {n: tensors[_STATISTICS + n] for n in weights if _STATISTICS + n in tensors}
        rewind = {n: tensors[_REWIND + n] for n in weights} if told["rewind"] else None
        if odd := [name for name, tensor in statistics.items() if tensor.shape != weights[name].shape]:
            raise ValueError(f"{odd[0]} of another shape")
        for name, first in told["copies"].items():
            if weights[name].shape != weights[first].shape:
                raise ValueError(f"{name} is no copy of {first}")
        if not isinstance(told["recipe"], dict | None):
            raise TypeError("a recipe that is no object")
        return cls(
            rewind=rewind,
            statistics=statistics,
            recipe=told["recipe"],
            history=tuple(HistoryEntry.from_json(entry) for entry in told["history"]),
            claim=told["claim"],
            copies=told["copies"],
        )
