"""A length of training: so many iterations or so many epochs."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ticket_sig.errors import bad_input


@dataclass(frozen=True)
class Steps:
    """`Steps.parse("182ep")` or `Steps.parse("2000it")`."""

    count: int
    unit: str = "ep"

    def __post_init__(self) -> None:
        if self.unit not in ("ep", "it") or not isinstance(self.count, int) or self.count < 0:
            raise bad_input("", "steps", "a whole number of 'ep' or 'it', at least 0", str(self))

    @classmethod
    def parse(cls, text: str) -> Steps:
        """Reads `3ep`, `2000it`, or `3` for epochs; InputError where it is none of these."""
        match = re.fullmatch(r"(\d+)(ep|it)?", text.strip())
        if not match:
            raise bad_input("", "steps", "a number of epochs or iterations such as 3ep or 2000it", repr(text))
        return cls(int(match.group(1)), match.group(2) or "ep")

    def iterations(self, per_epoch: int) -> int:
        """The length in iterations."""
        return self.count * per_epoch if self.unit == "ep" else self.count

    def __str__(self) -> str:
        return f"{self.count}{self.unit}"
