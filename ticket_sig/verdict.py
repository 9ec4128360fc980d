"""The verdict: what was decided, on which statistic, against which threshold, with which evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ticket_sig.statistics import format_p

LOG10_THRESHOLD = -6.0


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Verified or not, and why; a check that could not be made is an InputError instead.

    Attributes:
        statistic: what was measured, in words, with its value.
        log10_p: log10 of the chance to measure as much where the code has nothing to do with the mask.
        evidence: everything the statistic was computed from, as JSON.
        proves, does_not_prove: what the verdict means and what it leaves open.
        lacking: what is required beside the p-value and is not there, in words; empty where nothing is.
    """

    statistic: str
    log10_p: float
    evidence: Mapping[str, Any]
    proves: str
    does_not_prove: str
    lacking: str = ""

    @property
    def verified(self) -> bool:
        """Whether the p-value is below the threshold, and nothing else that is required is lacking."""
        return self.log10_p < LOG10_THRESHOLD and not self.lacking

    @property
    def outcome(self) -> str:
        """The verdict in the words of the vocabulary."""
        return "verified" if self.verified else "not verified"

    def to_json(self) -> dict[str, Any]:
        """The verdict as JSON."""
        return {
            "verdict": self.outcome,
            "statistic": self.statistic,
            "p_value": format_p(self.log10_p),
            "log10_p": round(self.log10_p, 3),
            "log10_threshold": LOG10_THRESHOLD,
            **({"lacking": self.lacking} if self.lacking else {}),
            "evidence": dict(self.evidence),
            "proves": self.proves if self.verified else "nothing",
            "does_not_prove": self.does_not_prove,
        }
