"""Reading and verdict: what stands in a suspect, and what that proves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ticket_sig.statistics import corrected, format_p

LOG10_THRESHOLD = -6.0

_NOT_INNOCENT = "that the network is innocent: a mark that was removed, or hidden, is not found"

_WITH_REFERENCE = "the model as it was before it was signed: --reference FILE"

Rows = Sequence[tuple[str, object]]  # of a table for people: what it is, and its value


@dataclass(frozen=True)
class Symbols:
    """A payload symbol by symbol, as it was claimed and as it is read.

    Attributes:
        claimed: the symbols that were put in.
        read: those that are read, as many; None where nothing can be read.
    """

    claimed: tuple[int, ...]
    read: tuple[int | None, ...]

    @property
    def errors(self) -> int:
        """How many are not as claimed."""
        return sum(a != b for a, b in zip(self.claimed, self.read, strict=True))


class Reading(Protocol):
    """What stands in a suspect, and how surprising that is."""

    @property
    def message(self) -> str | None:
        """What the mark says, as it is read; None where it says nothing, or nothing can be read."""

    @property
    def agreement(self) -> float:
        """Share of the claimed payload that is found, 0 to 1."""

    @property
    def log10_p(self) -> float:
        """log10 of the chance of as much in an unrelated network, with all the freedom a claimant had."""

    @property
    def symbols(self) -> Symbols | None:
        """The payload symbol by symbol; None where the mark carries nothing."""

    def rows(self) -> Rows:
        """What it rests on, for people."""

    def to_json(self) -> dict[str, Any]:
        """The same for machines, whole."""

    def verdict(self) -> Verdict:
        """What it proves."""


@dataclass(frozen=True, kw_only=True)
class Unread:
    """A reading of a suspect that has no tensor of the names or shapes that the claim gives.

    Attributes:
        mark: name of the mark, or of all.
        reason: what is lacking.
    """

    mark: str
    reason: str
    message: str | None = None
    agreement: float = 0.0
    log10_p: float = 0.0
    symbols: Symbols | None = None

    def rows(self) -> Rows:
        """Nothing: why, the verdict's remarks say."""
        return ()

    def to_json(self) -> dict[str, Any]:
        """The same."""
        return {"not_found": self.reason, "hint": _WITH_REFERENCE, "log10_p": self.log10_p}

    def verdict(self) -> Verdict:
        """Not verified."""
        return Verdict(
            mark=self.mark,
            reading=self,
            statistic="nothing is read",
            proves="nothing",
            does_not_prove=_NOT_INNOCENT,
            lacking="a layer of the claimed name or shape",
            remarks=[("not found", self.reason), ("what may help", _WITH_REFERENCE)],
        )


@dataclass(frozen=True, kw_only=True, repr=False)
class Verdict:
    """Verified or not, and why; a check that could not be made is an InputError instead.

    Attributes:
        mark: name of the mark in the registry.
        reading: everything that it rests on.
        statistic: what was measured, in words, with its value.
        proves, does_not_prove: what it means to be verified, and what that leaves open.
        lacking: what is required beside the p-value and is not there, in words; empty where nothing is.
        holds_if: a condition that nothing here shows, such as a date, in words; empty where there is none.
        tried: how many marks of the claim were, each of which is a chance to be verified.
        undated: whether all that is lacking is a date: nothing in the check says what is older.
        remarks: what is too long for a table.
    """

    mark: str
    reading: Reading
    statistic: str
    proves: str
    does_not_prove: str
    lacking: str = ""
    holds_if: str = ""
    tried: int = 1
    undated: bool = False
    remarks: Rows = ()

    @property
    def log10_p(self) -> float:
        """The reading's p-value, times the marks that were tried (Bonferroni)."""
        return corrected(self.reading.log10_p, math.log10(self.tried))

    @property
    def verified(self) -> bool:
        """Whether the p-value is below the threshold, and nothing else that is required is lacking."""
        return self.log10_p < LOG10_THRESHOLD and not self.lacking

    @property
    def detected(self) -> bool:
        """Whether it is verified, for one who knows himself that the mark is older than the suspect."""
        return self.log10_p < LOG10_THRESHOLD and (self.undated or not self.lacking)

    @property
    def outcome(self) -> str:
        """The verdict in the words of the vocabulary."""
        return "verified" if self.verified else "not verified"

    @property
    def condition(self) -> str:
        """Under which it holds, where it is verified; empty where none is needed."""
        return self.holds_if if self.verified else ""

    @property
    def headline(self) -> str:
        """What is said first: the outcome, and the condition under which it holds."""
        return f"{self.outcome}; {self.condition}" if self.condition else self.outcome

    @property
    def leaves_open(self) -> str:
        """What the verdict, as it is, does not prove."""
        return self.does_not_prove if self.verified else _NOT_INNOCENT

    def __str__(self) -> str:
        return f"{self.headline}; {self.mark}: {self.statistic}; p-value {format_p(self.log10_p)}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self}>"  # the whole reading is very long

    def rows(self) -> Rows:
        """What decides, then what it rests on, for people."""
        return [
            ("mark", self.mark),
            ("statistic", self.statistic),
            *([("lacking", self.lacking)] if self.lacking else []),
            *([("condition", self.holds_if)] if self.verified and self.holds_if else []),
            ("p-value", f"{format_p(self.log10_p)} (threshold {format_p(LOG10_THRESHOLD)})"),
            *self.reading.rows(),
        ]

    def to_json(self) -> dict[str, Any]:
        """The verdict as JSON."""
        return {
            "verdict": self.outcome,
            "mark": self.mark,
            "statistic": self.statistic,
            "p_value": format_p(self.log10_p),
            "log10_p": round(self.log10_p, 3),
            "log10_threshold": LOG10_THRESHOLD,
            **({"lacking": self.lacking} if self.lacking else {}),
            **({"condition": self.condition} if self.condition else {}),
            "evidence": self.reading.to_json(),
            "proves": self.proves if self.verified else "nothing",
            "does_not_prove": self.leaves_open,
        }
