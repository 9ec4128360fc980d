"""Payloads of bits: texts and digits, and the reading of a mark whose every bit is right by chance or not."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ticket_sig.formats.names import json_of, rows_of
from ticket_sig.marks.mark import Mark, Model, as_weights
from ticket_sig.statistics import LOG10_SECRETS, corrected, format_p, log10_tails
from ticket_sig.verdict import Rows, Symbols, Verdict

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


def digits_of(bits: Iterable[bool]) -> str:
    """Bits as `0101`."""
    return "".join("01"[bit] for bit in bits)


@dataclass(frozen=True, kw_only=True)
class BitsRead:
    """How many claimed bits are right: a reading that marks can share.

    In a network that has nothing to do with the secret every bit must be right with chance 1/2 or less,
    independent of the others. So what is looked for has to follow from secret and payload: else whoever
    holds a network takes any secret, reads bits, and claims what he read.

    Attributes:
        mark: its name in the registry.
        payload: the claimed bits, one or more.
        right: for each whether it reads as claimed.
        layers: tensors of the network, which the claimant could have chosen.
        found_as: the layer's name in the network, where it is another than the claimed one.
    """

    mark: str
    payload: Bits
    right: Bits
    layers: int
    found_as: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, mark: Mark, message: str, right: Iterable[bool], suspect: Model) -> BitsRead:
        """The reading of a mark that says a text."""
        layers = len(as_weights(suspect).shapes)
        return cls(mark=mark.name, payload=bits_of(message), right=tuple(map(bool, right)), layers=layers)

    @property
    def bits(self) -> Bits:
        """The bits as they are read."""
        return tuple(bit == right for bit, right in zip(self.payload, self.right, strict=True))

    @property
    def wrong(self) -> int:
        """Bits that do not read as claimed."""
        return self.right.count(False)

    @property
    def error_rate(self) -> float:
        """BER: wrong bits over all."""
        return self.wrong / len(self.payload)

    @property
    def log10_p_of_bits(self) -> float:
        """Chance of as many right bits: binomial, each 1/2."""
        return float(log10_tails(len(self.payload), 0.5)[len(self.payload) - self.wrong])

    @property
    def log10_p_here(self) -> float:
        """Chance to do as well with one secret."""
        return self.log10_p_of_bits

    @property
    def log10_p(self) -> float:
        """Corrected for every secret and layer that a claimant could have tried."""
        return corrected(self.log10_p_here, LOG10_SECRETS, math.log10(max(1, self.layers)))

    @property
    def agreement(self) -> float:
        """Share of the claimed payload that is found, 0 to 1."""
        return 1 - self.error_rate

    @property
    def message(self) -> str | None:
        """The bits as they are read: a text, or None, where the payload is one; else digits."""
        return digits_of(self.bits) if text_of(self.payload) is None else text_of(self.bits)

    @property
    def symbols(self) -> Symbols:
        """The bits, claimed and read."""
        return Symbols(tuple(map(int, self.payload)), tuple(map(int, self.bits)))

    def rows(self) -> Rows:
        """What it rests on, for people."""
        one = ("  for one secret", format_p(self.log10_p_here))
        return [one, ("bit error rate", f"{self.error_rate:.4f}"), *rows_of(self.found_as)]

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "bits": digits_of(self.bits),
            "message": self.message,
            "wrong_bits": self.wrong,
            "length": len(self.payload),
            "bit_error_rate": self.error_rate,
            "log10_p": round(self.log10_p, 3),
            "log10_p_uncorrected": round(self.log10_p_here, 3),
            "layers": self.layers,
            **json_of(self.found_as),
        }

    def verdict(self) -> Verdict:
        """Verified by the p-value alone; the bit error rate is in the evidence."""
        right = self.right.count(True)
        return Verdict(
            mark=self.mark,
            reading=self,
            statistic=f"{right} of {len(self.payload)} bits read as claimed",
            proves="these weights were made to carry the claimed bits under the claimed secret; no unrelated "
            "network does, whatever secret, bits and layer the claimant chose",
            does_not_prove="who put them there, or when: whoever holds the secret, or makes one of his own, "
            "can write bits into any network. Compare with a record of the claim from before the dispute, "
            "and measure the accuracy. Not verified clears nobody",
        )
