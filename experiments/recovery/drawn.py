"""The draws of free attacks, told: attacks by networks, and attacks by marks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from experiments.lib.sections import table
from experiments.recovery.owned import MIRROR, QR, SPREAD
from ticket_sig.cells import Measured

ORDER = (SPREAD, QR, MIRROR)


@dataclass(frozen=True)
class Drawn:
    """The draws of an attack on a network that it applies to.

    Attributes:
        marks: that the network has.
        used: draws after which the thief's network is of use to him.
        useless: how many others there are.
    """

    marks: Sequence[str]
    used: Sequence[Measured]
    useless: int

    @classmethod
    def of(cls, cells: Sequence[Measured], marks: Sequence[str]) -> Drawn:
        """From the cells of all draws."""
        there = [(cell, one) for cell in cells for one in cell["draws"] if one.get("applies", True)]
        used = [one for cell, one in there if of_use(cell, one)]
        return cls(marks, used, len(there) - len(used))

    def verified(self, mark: str, how: str = "verified") -> int:
        """In how many draws a mark is verified; `plain`: without the reference."""
        return sum(one["marks"][mark][how] for one in self.used)

    def lost(self, mark: str) -> list[int]:
        """The seeds of the draws in which a mark is not verified."""
        return [one["seed"] for one in self.used if not one["marks"][mark]["verified"]]

    def __str__(self) -> str:
        """In how many draws all marks are verified; bold, and mark by mark, where it is not in all."""
        through = [str(self.verified(mark)) if mark in self.marks else "-" for mark in ORDER]
        lost = any(self.lost(mark) for mark in self.marks)
        told = f"**{' / '.join(through)} of {len(self.used)}**" if lost else f"{len(self.used)}"
        return f"{told} ({self.useless} of no use)" if self.useless else told if self.used else ""


def of_use(cell: Measured, draw: Measured) -> bool:
    """Whether the thief has a network with half of the owner's accuracy or more."""
    if not draw.get("applies", True) or "destroyed" in draw:
        return False
    return bool(draw.get("accuracy", 0.0) >= cell.get("own", 0.0) / 2)


def by_networks(found: Mapping[str, Mapping[str, Drawn]], nets: Sequence[str]) -> list[str]:
    """Attacks by networks; attacks that came out alike on all of them share a row."""
    alike = dict[tuple[str, ...], list[str]]()
    for words, of in found.items():
        alike.setdefault(tuple(str(of.get(net, "")) for net in nets), []).append(words)
    return table(("with the reference", *nets), [(", ".join(words), *row) for row, words in alike.items()])


def by_marks(found: Mapping[str, Mapping[str, Drawn]]) -> list[str]:
    """Attacks by marks, without and with the reference, on all networks together."""
    rows = []
    for words, of in found.items():
        used = [draw for one in of.values() for draw in one.used]
        least = min((draw.get("similarity", 0.0) for draw in used), default=0.0)
        rows.append((words, len(used), *(_of_mark(mark, of.values()) for mark in ORDER), f"{least:.3f}"))
    return table(("all networks", "draws of use", *ORDER, "similarity"), rows)


def _of_mark(mark: str, several: Iterable[Drawn]) -> str:
    having = [one for one in several if mark in one.marks]
    through, plain = (sum(one.verified(mark, how) for one in having) for how in ("verified", "plain"))
    of = sum(len(one.used) for one in having)
    told = f"{plain} -> {through} of {of}"
    return told if through == of else f"**{told}**"
