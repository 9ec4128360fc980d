"""The payload of Uchida's mark: how many bits there can be, and bits that are written as digits."""

from __future__ import annotations

import math
from collections.abc import Iterable

from ticket_sig.errors import bad_input
from ticket_sig.marks.bits import Bits

MOST_ENTRIES = 2**26  # of the secret matrix: half a GiB, and seconds to draw
MOST_BITS = math.isqrt(MOST_ENTRIES)  # each takes a row of X, and a filter has as many weights or more


def bits_from(digits: str) -> Bits:
    """Reads bits that are written as `0101`; InputError for other characters, else as of `checked_bits`."""
    if set(digits) - {"0", "1"}:
        raise bad_input("uchida", "payload", "digits 0 and 1", repr(digits[:40]))
    return checked_bits([digit == "1" for digit in digits])


def checked_bits(payload: Iterable[bool]) -> Bits:
    """The bits; InputError for none, more than any layer can hold, or other values than 0 and 1."""
    bits = tuple(payload)
    if not 1 <= len(bits) <= MOST_BITS:
        raise bad_input("uchida", "payload", f"1 to {MOST_BITS} bits", str(len(bits)))
    if odd := [bit for bit in bits if bit not in (0, 1)]:
        raise bad_input("uchida", "payload", "bits, 0 or 1", repr(odd[0])[:80])
    return tuple(bool(bit) for bit in bits)
