"""The owner's secret: 32 bytes in a file of its own, to which a claim only commits."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ticket_sig.errors import about, bad_input
from ticket_sig.files import SECRET, read_bytes, write_new
from ticket_sig.formats.bundle import is_bundle

SIZE = 32  # bytes
CARE = (
    "lost, the mark cannot be verified; seen by a thief, it can be erased: keep it apart from claim and model"
)


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
    def of(cls, value: Secret | bytes | None) -> Secret:
        """One that is given, or its bytes; a fresh one for None."""
        if value is None:
            return cls.fresh()
        return value if isinstance(value, Secret) else cls(value)

    @classmethod
    def read(cls, path: Path) -> Secret:
        """Reads a file; InputError where it is missing, or of another size."""
        data = read_bytes(path, "secret")
        with about(path):
            return cls(data)

    def write(self, path: Path) -> None:
        """Writes a file that only its owner may read; InputError where the name is taken, also just now."""
        write_new(path, self.value, "secret", SECRET)

    def derived(self, name: str) -> bytes:
        """32 bytes for something else that is not so secret: they tell nothing of this."""
        return hashlib.sha256(f"secret of {name}".encode() + self.value).digest()

    @property
    def commitment(self) -> str:
        """What a claim says of it; it does not tell the secret."""
        return f"sha256:{hashlib.sha256(b'ticket_sig secret' + self.value).hexdigest()}"


@contextmanager
def read_or_made(path: Path, claim: Path) -> Iterator[Secret]:
    """The secret in a file; a fresh one where there is none.

    The file is written before the block runs, and taken away again where that fails: what was made with a
    secret never lacks it.

    Args:
        claim: that the block writes. Where it commits to the secret by then, the file stays.

    Raises:
        InputError: something else has the name.
    """
    if os.path.lexists(path):
        yield Secret.read(path)
        return
    fresh = Secret.fresh()
    fresh.write(path)
    try:
        yield fresh
    except BaseException:
        if not (claim.is_file() and fresh.commitment.encode() in claim.read_bytes()):
            path.unlink(missing_ok=True)
        raise


def outside(path: Path, folders: Iterable[Path]) -> None:
    """Checks that a secret does not lie in a folder that is to be given away, nor in another bundle.

    Raises:
        InputError: it does.
    """
    place = Path(os.path.realpath(path))  # `resolve` raises for a link to itself
    for folder in [*folders, *filter(is_bundle, place.parents)]:
        if place.is_relative_to(folder.resolve()):
            hint = "the model is given away, the secret never"
            raise bad_input(path, "secret", f"a file outside of {folder}", "one inside", hint=hint)
