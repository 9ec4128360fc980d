"""What a classifier reads off the selected parameters of a network, and what that can prove."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ticket_sig.marks.bits import Bits, BitsRead
from ticket_sig.statistics import log10_p_agreement
from ticket_sig.verdict import Rows, Verdict


@dataclass(frozen=True, kw_only=True)
class Classified(BitsRead):
    """What a classifier says of the parameters of each bit.

    The p-value is that of a network which is younger than the classifier, and has nothing to do with it. One
    classifier reads all bits, and is not told which bit it reads. In such a network the vectors are in
    random order for it: given how many 1 it says, each choice of bits for them is equally likely. That is
    Fisher's exact test; a classifier that says 1 of everything gains nothing. Of a network that is older it
    says nothing: whoever had that could train the classifier for it.

    Attributes:
        labels: what it is to say.
        logits: what it says, positive for 1.
    """

    mark: str = "nct"
    labels: Bits
    logits: tuple[float, ...]

    @property
    def log10_p_of_bits(self) -> float:
        """Chance of as many right labels among as many 1 (Fisher)."""
        return log10_p_agreement(np.array(self.labels), np.array(self.logits) > 0)

    def rows(self) -> Rows:
        """What it rests on, and for which networks."""
        return [("  holds for", "a network that is younger than the classifier"), *super().rows()]

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        signed = [logit if label else -logit for label, logit in zip(self.labels, self.logits, strict=True)]
        return {**super().to_json(), "signed_logits": [float(f"{logit:.6g}") for logit in signed]}

    def verdict(self) -> Verdict:
        """Never verified by itself: the p-value holds for a dated classifier alone, and none has a date."""
        return replace(
            super().verdict(),
            lacking="a date of the classifier from before others had the network: whoever has it can train "
            "one",
            undated=True,
            proves="nothing by itself; beside such a date: the claimant had these weights then, or weights "
            "that they come from",
            does_not_prove="who trained the network. Nothing stands in it: whoever has any network can train "
            "a classifier that reads any message there, in a second. Not verified clears nobody",
        )
