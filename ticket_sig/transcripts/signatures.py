"""Signatures over heads of a chain: whoever signed a head cannot deny what was in the chain by then."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ticket_sig.errors import InputError, bad_input
from ticket_sig.fields import matching, parse_json, whole
from ticket_sig.files import is_there
from ticket_sig.key_pair import PUBLIC, KeyPair, is_signed
from ticket_sig.transcripts.chain import Entry

_LONGEST = 1 << 12  # bytes of a line
_DOMAIN = b"ticket_sig transcript head\n"  # a signature over a head is none over anything else


@dataclass(frozen=True)
class Signature:
    """A signature over the head after one entry."""

    entry: int
    public: str
    signature: str


def sign_head(path: Path, entry: Entry, key: KeyPair) -> None:
    """Adds a signature over the head after an entry to a file of signatures."""
    signature = key.sign(_DOMAIN + entry.head.encode())
    line = json.dumps({"entry": entry.number, "public": key.public, "signature": signature})
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")
        file.flush()
        os.fsync(file.fileno())


def read_signatures(path: Path, entries: Sequence[Entry]) -> list[Signature]:
    """The signatures of a file, each checked; none where there is no file.

    Raises:
        InputError: one is damaged, of another key than the first, over an entry that is not there, or wrong.
    """
    signatures: list[Signature] = []
    for number, line in enumerate(_lines(path)):
        signatures.append(one := _signature(path, number, line))
        if one.public != signatures[0].public:
            raise _wrong(path, number, f"the key {signatures[0].public}", one.public)
        if not 0 <= one.entry < len(entries):
            raise _wrong(path, number, f"entry 0 to {len(entries) - 1}", f"entry {one.entry}")
        if not is_signed(one.public, one.signature, _DOMAIN + entries[one.entry].head.encode()):
            raise _wrong(path, number, f"a signature over the head after entry {one.entry}", "another")
    return signatures


def _lines(path: Path) -> Iterator[bytes]:
    if is_there(path, "signatures"):
        with path.open("rb") as file:
            yield from iter(lambda: file.readline(_LONGEST), b"")


def _signature(path: Path, number: int, line: bytes) -> Signature:
    where = f"{path}: signature {number}"
    try:
        value = parse_json(line)
    except ValueError as error:
        raise _wrong(path, number, "JSON", f"text that does not parse ({error})") from None
    if not isinstance(value, dict):
        raise _wrong(path, number, "an object", type(value).__name__)
    digits = matching(value, "signature", "[0-9a-f]{16,160}", where)
    return Signature(whole(value, "entry", where), matching(value, "public", PUBLIC, where), digits)


def _wrong(path: Path, number: int, expected: str, found: str) -> InputError:
    return bad_input(path, f"signature {number}", expected, found)
