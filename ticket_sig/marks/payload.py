"""A payload of bits for a mark of dense networks: how many there can be, as digits, and as options."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from ticket_sig.errors import bad_input
from ticket_sig.marks.bits import Bits, bits_of
from ticket_sig.options import Options, not_blank, option, within
from ticket_sig.prf import keyed_words

MOST_BITS = 2**13
BITS = 128  # 64 could not be verified: they are all right once in 2^64 secrets

_Own = TypeVar("_Own", bound="PayloadOptions")


@dataclass(frozen=True, kw_only=True)
class PayloadOptions(Options):
    """What decides the payload: a text, digits, or so many random bits."""

    message: str | None = option("Text to write, in UTF-8.", default=None, check=not_blank)
    bits: str | None = option("Bits to write, as 0101.", default=None)
    random: int | None = option(
        f"So many random bits; {BITS} where nothing is given, or as many as the layer holds.",
        default=None,
        check=within(1, MOST_BITS),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.message, self.bits, self.random).count(None) < 2:
            raise bad_input("", "payload", "one of --message, --bits and --random", "several")
        self.payload()

    @classmethod
    def of_size(cls: type[_Own], size: int) -> _Own:
        """So many random bits."""
        return cls(random=size)

    def payload(self) -> Bits | None:
        """The bits that are given; None where they are to be random."""
        if self.message is not None:
            return checked_bits(bits_of(self.message))
        return None if self.bits is None else bits_from(self.bits)


def random_bits(secret: bytes, mark: str, count: int) -> Bits:
    """Random bits for a mark; they follow from its secret."""
    return tuple((keyed_words(secret, f"{mark} payload", count) % 2 == 1).tolist())


def bits_from(digits: str) -> Bits:
    """Reads bits that are written as `0101`; InputError for other characters, else as of `checked_bits`."""
    if set(digits) - {"0", "1"}:
        raise bad_input("", "payload", "digits 0 and 1", repr(digits[:40]))
    return checked_bits([digit == "1" for digit in digits])


def checked_bits(payload: Iterable[bool]) -> Bits:
    """The bits; InputError for none, too many, or other values than 0 and 1."""
    bits = tuple(payload)
    if not 1 <= len(bits) <= MOST_BITS:
        raise bad_input("", "payload", f"1 to {MOST_BITS} bits", str(len(bits)))
    if odd := [bit for bit in bits if bit not in (0, 1)]:
        raise bad_input("", "payload", "bits, 0 or 1", repr(odd[0])[:80])
    return tuple(bool(bit) for bit in bits)
