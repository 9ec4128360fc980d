"""Does a suspect descend from the reference: was it trained from it, whatever was done to it since?

What decides is how alike they are when they are aligned, against independent networks of the family, whose
similarities are shipped (`independent.json`, measured by the experiment `descent`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ticket_sig.errors import about
from ticket_sig.files import read_json
from ticket_sig.formats import load
from ticket_sig.progress import Progress, Steps
from ticket_sig.recovery import align
from ticket_sig.recovery.descent import SHIPPED, Descent, Null, descent
from ticket_sig.recovery.reference import Reference
from ticket_sig.recovery.undone import Undone
from ticket_sig.ticket import Ticket
from ticket_sig.verdict import Rows, Verdict
from ticket_sig.verification.through import channel_rows, fitting, reference_in, reference_of

_ASSUMED = (
    "similarities of independent networks are normally distributed; those in the table are of few networks"
)
_CLEAR = 2.0  # times the largest similarity in the table: networks of other recipes are a little more alike


@dataclass(frozen=True, kw_only=True, repr=False)
class Descended(Verdict):
    """The verdict on a descent."""

    @property
    def headline(self) -> str:
        """The outcome, and what nobody has checked."""
        return f"{self.outcome}; which of both was first is open" if self.verified else self.outcome

    @property
    def leaves_open(self) -> str:
        """What it does not prove."""
        return self.does_not_prove if self.verified else "that the suspect is independent of the reference"


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """How alike suspect and reference are, as a reading of no mark.

    Attributes:
        found: against the independent networks that it stands out least from.
        family: of the reference; None where none of it is in the table, so that nothing is decided.
        undone: what was undone before they were compared.
        not_followed: why they were aligned by names and shapes alone; None where channels were followed, too.
    """

    found: Descent
    family: str | None
    undone: tuple[Undone, ...]
    not_followed: str | None = None
    message: None = None
    symbols: None = None

    @property
    def agreement(self) -> float:
        """The similarity, 0 to 1."""
        return self.found.similarity

    @property
    def log10_p(self) -> float:
        """Of an independent network as alike, if their similarities are normally distributed.

        Other families are no measure: small networks that are independent are as alike as 0.3.
        """
        return self.found.log10_p if self.family else 0.0

    @property
    def lacking(self) -> str:
        """What is required beside the p-value."""
        if self.family is None:
            return "a table of independent networks of the reference's family"
        least = _CLEAR * max(self.found.null.similarities)
        return "" if self.agreement >= least else f"a similarity of {least:.3f}"

    def rows(self) -> Rows:
        """For people."""
        null = self.found.null
        several = f"{len(null.similarities)} pairs of {null.family}"
        spread = f"{null.mean:.3f} \u00b1 {null.deviation:.3f}, at most {max(null.similarities):.3f}"
        return [
            ("independent networks", f"{spread} ({several})"),
            *([] if self.family else [("family", "not in the table")]),
            ("undone", ", ".join(map(str, self.undone)) or "nothing"),
            *channel_rows(self.not_followed),
        ]

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        null = self.found.null
        return {
            "similarity": round(self.found.similarity, 6),
            "z": round(self.found.z, 3),
            "family": self.family,
            "independent": {
                "of": null.family,
                "pairs": len(null.similarities),
                "mean": round(null.mean, 6),
                "deviation": round(null.deviation, 6),
                "largest": max(null.similarities),
            },
            "undone": [one.to_json() for one in self.undone],
            **({"not_followed": self.not_followed} if self.not_followed else {}),
        }

    def verdict(self) -> Verdict:
        """Whether the suspect descends from the reference."""
        return Descended(
            mark="none (descent)",
            reading=self,
            statistic=f"similarity {self.found.similarity:.3f}, z = {self.found.z:.1f}",
            proves="one of both networks was trained from the other, or both from a third (also from one "
            "initialization)",
            lacking=self.lacking,
            does_not_prove="which of them was first, and whose it is: that takes a mark with a dated claim",
            remarks=[("assumed", _ASSUMED)],
        )


def descended(
    suspect: Ticket | nn.Module | Mapping[str, Tensor], reference: Reference | Ticket | nn.Module
) -> Verdict:
    """Decides whether a suspect was trained from a reference, by their similarity when they are aligned.

    Raises:
        InputError: they cannot be aligned (`recovery.align`); a suspect of another architecture, for one.
    """
    known = reference_of(reference)
    done = align(suspect, known)
    nulls = shipped()
    arch = fitting(known.ticket) if known.graph is not None else None
    family = arch if any(_family_of(name) == arch for name in nulls) else None
    among = [null for name, null in nulls.items() if family is None or _family_of(name) == family]
    found = min((descent(done.similarity, null) for null in among), key=lambda one: one.z)
    alike = Likeness(found=found, family=family, undone=done.undone, not_followed=known.unread)
    return alike.verdict()


def descended_file(
    path: Path,
    reference: Path,
    mask: Path | None = None,
    arch: str | None = None,
    progress: Progress | None = None,
) -> Verdict:
    """The same of model files, which errors name; `progress` is told what is being done."""
    steps = Steps(progress, "verify", 2)
    steps.next("reading the models")
    owned = reference_in(reference, arch)
    with about(path):
        suspect = load(path, mask).ticket
        steps.next("aligning with the reference")
        return descended(suspect, owned)


@lru_cache(maxsize=1)
def shipped() -> Mapping[str, Null]:
    """The similarities of independent networks, by family and, in brackets, what they are."""
    tables = read_json(SHIPPED)["tables"]
    return {table["family"]: Null.from_json(table) for table in tables}


def _family_of(name: str) -> str:
    return name.partition(" (")[0]
