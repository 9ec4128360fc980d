"""What a secret matrix reads in a layer, and how surprising that is."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from scipy.special import log_ndtr

from ticket_sig.marks.bits import BitsRead
from ticket_sig.statistics import corrected, format_p
from ticket_sig.verdict import Rows, Verdict


@dataclass(frozen=True, kw_only=True)
class Decoded(BitsRead):
    """What a secret matrix reads in a layer.

    In a network that has nothing to do with the secret, every margin is standard normal, and independent of
    the others. Two tests follow: that so many bits are right, and that the margins sum to so much.
    Signs alone do not suffice: 64 bits are all right by chance once in 2^64, as often as a claimant could
    try secrets.

    Attributes:
        margins: for each bit how far it stands on the claimed side: its logit, negative where it reads
            otherwise, over the length of the mean filter.
        size: that length, |w_bar|; 0 where there is nothing to be read.
    """

    mark: str = "uchida"
    margins: tuple[float, ...]
    size: float

    @property
    def logits(self) -> tuple[float, ...]:
        """X w_bar of every bit, positive where it reads as claimed."""
        return tuple(self.size * margin for margin in self.margins)

    @property
    def log10_p_of_margins(self) -> float:
        """Chance of margins that sum to as much: their sum over sqrt(bits) is standard normal."""
        score = sum(self.margins) / math.sqrt(len(self.margins))
        return float(log_ndtr(-score) / math.log(10))

    @property
    def log10_p_here(self) -> float:
        """Chance to do as well in the better of the two tests, for one secret."""
        return corrected(min(self.log10_p_of_bits, self.log10_p_of_margins), math.log10(2))

    def rows(self) -> Rows:
        """Both tests, and the bit error rate."""
        return [
            ("  for one secret, by bits alone", format_p(self.log10_p_of_bits)),
            ("  for one secret, by their margins", format_p(self.log10_p_of_margins)),
            *super().rows()[1:],
        ]

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {
            **super().to_json(),
            "least_margin": min(self.margins),
            "mean_margin": sum(self.margins) / len(self.margins),
            "signed_logits": [float(f"{logit:.6g}") for logit in self.logits],
            "log10_p_of_bits": round(self.log10_p_of_bits, 3),
            "log10_p_of_margins": round(self.log10_p_of_margins, 3),
        }

    def verdict(self) -> Verdict:
        """Verified by the p-value alone; the bit error rate is in the evidence."""
        made, mean = super().verdict(), sum(self.margins) / len(self.margins)
        return replace(
            made,
            statistic=f"{made.statistic}, on average by {mean:.2f} standard deviations of chance",
            does_not_prove=f"{made.does_not_prove}: filters can be negated before a batch norm",
        )
