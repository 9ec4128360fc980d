"""Whether a suspect was trained from the reference: their similarity against that of independent networks.

In the manner of AWM (ICLR 2026): channels are aligned first, then layers are compared. A network that was
fine-tuned, pruned or rearranged stays far more like its origin than independent networks of its family are
like each other. That says nothing about who was first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy  # `scipy.stats` takes half a second to import, and is imported where it is first used

from ticket_sig.errors import bad_input

FEWEST = 3  # similarities that have a spread
SHIPPED = Path(__file__).with_name("independent.json")  # the tables that come with the package


@dataclass(frozen=True)
class Null:
    """How alike independent networks of a family are after alignment.

    Attributes:
        family: the architecture's name.
        similarities: of pairs of independent networks (`Alignment.similarity`), at least three.

    Raises:
        InputError: fewer than three, some that are no numbers from 0 to 1, or all the same.
    """

    family: str
    similarities: tuple[float, ...]

    def __post_init__(self) -> None:
        found = self.similarities
        if len(found) < FEWEST or not all(0 <= s <= 1 for s in found) or len(set(found)) == 1:
            expected = f"{FEWEST} or more different numbers from 0 to 1"
            raise bad_input(f"null of {self.family}", "similarities", expected, f"{len(found)}: {found[:4]}")

    @property
    def mean(self) -> float:
        """Of the similarities."""
        return float(np.mean(self.similarities))

    @property
    def deviation(self) -> float:
        """Standard deviation of the similarities, from their own mean."""
        return float(np.std(self.similarities, ddof=1))

    def to_json(self) -> dict[str, Any]:
        """The table as JSON."""
        return {"family": self.family, "similarities": [round(s, 6) for s in self.similarities]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Null:
        """Reads a table; InputError where it is none."""
        family, found = value.get("family"), value.get("similarities")
        if not isinstance(family, str) or not isinstance(found, list):
            raise bad_input(
                "null", "table", "family and similarities", ", ".join(map(str, value)) or "nothing"
            )
        numbers = tuple(float(s) if isinstance(s, int | float) else math.nan for s in found)
        return cls(family, numbers)


@dataclass(frozen=True)
class Descent:
    """How a suspect's similarity to a reference stands out among those of independent networks.

    Attributes:
        similarity: of suspect and reference after alignment, 0 to 1.
        z: how many standard deviations of the null it lies above the null's mean.
        log10_p: log10 of the chance that one more independent network is as alike, if their similarities are
            normally distributed: Student's t, because mean and deviation are those of a few networks.
    """

    similarity: float
    z: float
    log10_p: float
    null: Null


def descent(similarity: float, null: Null) -> Descent:
    """Judges the similarity of a suspect and a reference (`Alignment.similarity`)."""
    count = len(null.similarities)
    z = (similarity - null.mean) / null.deviation
    log_p = scipy.stats.t.logsf(z / math.sqrt(1 + 1 / count), count - 1)
    return Descent(similarity, z, min(0.0, float(log_p) / math.log(10)), null)
