"""What was undone, for people and for machines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Undone:
    """One thing that was undone.

    Attributes:
        what: "renamed", "permuted", "rescaled", "signs flipped", "merged", ...
        count: how many.
        of: what they are: "tensors", "channels", "layers".
    """

    what: str
    count: int
    of: str

    def __str__(self) -> str:
        of = self.of.removesuffix("s") if self.count == 1 else self.of
        return f"{self.count} {of} {self.what}"

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON."""
        return {"what": self.what, "count": self.count, "of": self.of}
