"""Payloads: texts, digits and tuples of bits."""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterable, Sequence

import numpy as np

from ticket_sig.errors import bad_input

MOST_ENTRIES = 2**26  # of the secret matrix: half a GiB, and seconds to draw
MOST_BITS = math.isqrt(MOST_ENTRIES)  # each takes a row of X, and a filter has as many weights or more

Bits = tuple[bool, ...]


def bits_of(text: str) -> Bits:
    """The bits of a text in UTF-8, of every byte the highest first."""
    # What the shell passed that is no UTF-8 stays the bytes it was.
    data = text.encode("utf-8", "surrogateescape")
    return tuple(bool(b) for b in np.unpackbits(np.frombuffer(data, dtype=np.uint8)))


def text_of(bits: Sequence[bool]) -> str | None:
    """The text whose `bits_of` these are; None where they are no UTF-8."""
    if len(bits) % 8:
        return None
    try:
        return np.packbits(np.array(bits, dtype=bool)).tobytes().decode()
    except UnicodeDecodeError:
        return None


def bits_from(digits: str) -> Bits:
    """Reads bits that are written as `0101`.

    Raises:
        InputError: none, more than any layer can hold, or other characters.
    """
    if set(digits) - {"0", "1"}:
        raise bad_input("uchida", "payload", "digits 0 and 1", repr(digits[:40]))
    return checked_bits([digit == "1" for digit in digits])


def digits_of(bits: Iterable[bool]) -> str:
    """Bits as `0101`."""
    return "".join("01"[bit] for bit in bits)


def random_bits(count: int) -> Bits:
    """So many secret bits."""
    return tuple(bool(secrets.randbits(1)) for _ in range(count))


def checked_bits(payload: Iterable[bool]) -> Bits:
    """The bits, if they are bits.

    Raises:
        InputError: none, more than any layer can hold, or other values than 0 and 1.
    """
    bits = tuple(payload)
    if not 1 <= len(bits) <= MOST_BITS:
        raise bad_input("uchida", "payload", f"1 to {MOST_BITS} bits", str(len(bits)))
    if odd := [bit for bit in bits if bit not in (0, 1)]:
        raise bad_input("uchida", "payload", "bits, 0 or 1", repr(odd[0])[:80])
    return tuple(bool(bit) for bit in bits)
