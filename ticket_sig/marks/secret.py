"""The owner's secret: 32 bytes in a file of its own, to which a claim only commits."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from ticket_sig.errors import bad_input
from ticket_sig.files import SECRET, read_bytes, whole_file

SIZE = 32  # bytes


@dataclass(frozen=True)
class Secret:
    """32 bytes that decide where a mark stands. Lost, the mark cannot be verified; seen, it can be erased."""

    value: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.value) != SIZE:
            raise bad_input("", "secret", f"{SIZE} bytes", str(len(self.value)))

    @classmethod
    def fresh(cls) -> Secret:
        """A new one."""
        return cls(secrets.token_bytes(SIZE))

    @classmethod
    def read(cls, path: Path) -> Secret:
        """Reads a file; InputError where it is missing, or of another size."""
        data = read_bytes(path, "secret")
        if len(data) != SIZE:
            raise bad_input(path, "secret", f"{SIZE} bytes", str(len(data)))
        return cls(data)

    def write(self, path: Path) -> None:
        """Writes a file that only its owner may read."""
        with whole_file(path, SECRET) as partial:
            partial.write_bytes(self.value)

    @property
    def commitment(self) -> str:
        """What a claim says of it; it does not tell the secret."""
        return f"sha256:{hashlib.sha256(b'ticket_sig secret' + self.value).hexdigest()}"
