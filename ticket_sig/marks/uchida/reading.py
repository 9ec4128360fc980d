"""What a secret matrix reads in a layer, and how surprising that is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from scipy.stats import norm

from ticket_sig.marks.uchida.bits import Bits, digits_of, text_of
from ticket_sig.statistics import LOG10_SECRETS, corrected, format_p, log10_tails
from ticket_sig.verdict import Rows, Verdict


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """What a secret matrix reads in a layer.

    In a network that has nothing to do with the key, every margin is standard normal, and independent of
    the others. Two tests follow: that so many bits are right, and that the margins sum to so much.
    Signs alone do not suffice: 64 bits are all right by chance once in 2^64, as often as a claimant could
    try keys.

    Attributes:
        payload: the claimed bits.
        margins: for each bit how far it stands on the claimed side: its logit, negative where it reads
            otherwise, over the length of the mean filter.
        size: that length, |w_bar|; 0 where there is nothing to be read.
        layers: tensors of the network that the claimant could have chosen.
    """

    payload: Bits
    margins: tuple[float, ...]
    size: float
    layers: int

    @property
    def bits(self) -> Bits:
        """The bits as they are read."""
        return tuple(bit == (margin > 0) for bit, margin in zip(self.payload, self.margins, strict=True))

    @property
    def logits(self) -> tuple[float, ...]:
        """X w_bar of every bit, positive where it reads as claimed."""
        return tuple(self.size * margin for margin in self.margins)

    @property
    def wrong(self) -> int:
        """Bits that do not read as claimed."""
        return sum(margin <= 0 for margin in self.margins)

    @property
    def error_rate(self) -> float:
        """BER: wrong bits over all."""
        return self.wrong / len(self.payload)

    @property
    def log10_p_of_bits(self) -> float:
        """Chance of as many right bits: binomial, each 1/2."""
        return float(log10_tails(len(self.payload), 0.5)[len(self.payload) - self.wrong])

    @property
    def log10_p_of_margins(self) -> float:
        """Chance of margins that sum to as much: their sum over sqrt(bits) is standard normal."""
        score = sum(self.margins) / math.sqrt(len(self.margins))
        return float(norm.logsf(score) / math.log(10))

    @property
    def log10_p_here(self) -> float:
        """Chance to do as well in the better of the two tests, for one key."""
        return corrected(min(self.log10_p_of_bits, self.log10_p_of_margins), math.log10(2))

    @property
    def log10_p(self) -> float:
        """The p-value, corrected for every key and layer that a claimant could have tried."""
        return corrected(self.log10_p_here, LOG10_SECRETS, math.log10(max(1, self.layers)))

    @property
    def agreement(self) -> float:
        """Share of the bits that read as claimed."""
        return 1 - self.error_rate

    @property
    def message(self) -> str | None:
        """The bits as they are read: a text where the payload is one, else digits.

        None where the payload is a text, and what is read is none.
        """
        return digits_of(self.bits) if text_of(self.payload) is None else text_of(self.bits)

    def rows(self) -> Rows:
        """Both tests, and the bit error rate."""
        return [
            ("  for one key, by bits alone", format_p(self.log10_p_of_bits)),
            ("  for one key, by their margins", format_p(self.log10_p_of_margins)),
            ("bit error rate", f"{self.error_rate:.4f}"),
        ]

    def to_json(self) -> dict[str, Any]:
        """The reading as JSON."""
        return {
            "bits": digits_of(self.bits),
            "message": self.message,
            "wrong_bits": self.wrong,
            "length": len(self.payload),
            "bit_error_rate": self.error_rate,
            "least_margin": min(self.margins),
            "mean_margin": sum(self.margins) / len(self.margins),
            "signed_logits": [float(f"{logit:.6g}") for logit in self.logits],
            "log10_p": round(self.log10_p, 3),
            "log10_p_uncorrected": round(self.log10_p_here, 3),
            "log10_p_of_bits": round(self.log10_p_of_bits, 3),
            "log10_p_of_margins": round(self.log10_p_of_margins, 3),
            "layers": self.layers,
        }

    def verdict(self) -> Verdict:
        """Verified by the p-value alone; the bit error rate is in the evidence."""
        right, mean = len(self.payload) - self.wrong, sum(self.margins) / len(self.margins)
        return Verdict(
            mark="uchida",
            reading=self,
            statistic=f"{right} of {len(self.payload)} bits read as claimed, on average by {mean:.2f} "
            "standard deviations of chance",
            proves="these weights were made to carry the claimed bits under the claimed key; no unrelated "
            "network does, whatever key, bits and layer the claimant chose",
            does_not_prove="who put them there, or when: whoever holds the key, or makes one of his own, can "
            "write bits into any network. Compare with a record of the claim from before the dispute, and "
            "measure the accuracy. Not verified clears nobody: filters can be negated before a batch norm",
        )
