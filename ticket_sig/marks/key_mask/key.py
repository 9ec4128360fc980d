"""The key of scheme 1: the split-off part of a ticket, and its file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ticket_sig.digests import json_digest, tensor_digest
from ticket_sig.errors import about, bad_input
from ticket_sig.fields import check_format, entry, hexadecimal, parse_json
from ticket_sig.files import SECRET
from ticket_sig.formats.safetensors_file import read_metadata, read_safetensors, write_safetensors
from ticket_sig.mask import described

KEY_FORMAT, KEY_VERSION = "ticket_sig key", 1
_POSITIONS, _WEIGHTS = "positions/", "weights/"


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
                expected = f"{len(where)} weights, one for each position"
                raise bad_input("key", name, expected, described(weights))

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
        """Reads a key's file; InputError where it is missing, damaged, or no key of this version."""
        path = Path(path)
        tensors = read_safetensors(path)
        secret, locked = _head_of(path)
        positions, weights = (
            {n.removeprefix(kind): t for n, t in tensors.items() if n.startswith(kind)}
            for kind in (_POSITIONS, _WEIGHTS)
        )
        with about(path):
            if extra := sorted(n for n in tensors if not n.startswith((_POSITIONS, _WEIGHTS))):
                raise bad_input("key", "tensors", "positions and weights", ", ".join(extra))
            return cls(positions, weights, secret, locked)

    def _tensors(self) -> dict[str, Tensor]:
        positions = {_POSITIONS + name: t for name, t in self.positions.items()}
        return {**positions, **{_WEIGHTS + name: t for name, t in self.weights.items()}}

    def _head(self) -> dict[str, Any]:
        secret = self.secret.hex()
        return {"format": KEY_FORMAT, "version": KEY_VERSION, "secret": secret, "locked": self.locked}


def _head_of(path: Path) -> tuple[bytes, str]:
    try:
        head = parse_json(read_metadata(path)["ticket_sig"])
    except (KeyError, ValueError):
        head = None
    if not isinstance(head, dict) or "secret" not in head:
        raise bad_input(path, "key", "a key that `ticket-sig split` wrote", "another file")
    with about(path):
        check_format(head, "key", KEY_FORMAT, KEY_VERSION)
        return hexadecimal(head, "secret", "key", 32), entry(head, "locked", str, "key")
