"""Measured cells: what was asked and what came out; each a small file of its own.

A cell is found by the digest of what was asked: asked again it is read, not measured again; asked otherwise
it is another cell. Several processes can work on one list: each takes the next cell that nobody holds.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ticket_sig.digests import short_digest
from ticket_sig.fields import entry
from ticket_sig.files import make_folder, read_json, write_json
from ticket_sig.progress import Progress

Measured = Mapping[str, Any]


@dataclass(frozen=True)
class Cell:
    """One thing to measure.

    Attributes:
        name: for people and for the file's name.
        asked: everything that decides the outcome, as JSON.
        measure: does it; returns JSON.
    """

    name: str
    asked: Mapping[str, Any]
    measure: Callable[[], Measured]

    @property
    def file(self) -> str:
        """The cell's file: its name and the beginning of its digest."""
        words = re.sub(r"[^\w.-]+", "_", self.name)
        return f"{words}-{short_digest(self.asked, 8)}.json"


class Store:
    """The folder of measured cells, and one of locks beside the run."""

    def __init__(self, folder: Path, run: Path, progress: Progress) -> None:
        self.folder, self.locks, self.progress = folder, run / "locks", progress

    def measured(self, cell: Cell) -> Measured | None:
        """What was measured, or None; InputError where the cell's file is damaged."""
        path = self.folder / cell.file
        return entry(read_json(path), "measured", dict, path) if path.exists() else None

    def found(self, cells: Iterable[Cell]) -> list[Measured]:
        """What was measured of these cells, without those that were not."""
        return [values for cell in cells if (values := self.measured(cell)) is not None]

    def numbers(self, cells: Iterable[Cell], what: str = "accuracy") -> list[float]:
        """One number of every cell that was measured."""
        return [float(values[what]) for values in self.found(cells)]

    def differences(self, left: Iterable[Cell], right: Iterable[Cell]) -> list[float]:
        """Accuracy of `left` less that of `right`, cell by cell, where both were measured."""
        pairs = [(self.measured(a), self.measured(b)) for a, b in zip(left, right, strict=False)]
        return [a["accuracy"] - b["accuracy"] for a, b in pairs if a and b]

    def measure(self, cells: Iterable[Cell], deadline: float | None = None) -> None:
        """Measures every cell that is not there and nobody else is at; begins none after the deadline."""
        make_folder(self.locks)
        for cell in {cell.file: cell for cell in cells}.values():
            if deadline is not None and time.time() > deadline:
                return
            try:
                with FileLock(self.locks / f"{cell.file}.lock", timeout=0):
                    self._measure(cell)
            except Timeout:
                self.progress.note(f"{cell.name}: another process is at it")

    def once(self, cell: Cell) -> Measured:
        """What was measured of a cell; where it was not, it is measured now, or waited for."""
        if (found := self.measured(cell)) is not None:
            return found
        make_folder(self.locks)
        with FileLock(self.locks / f"{cell.file}.lock"):
            return self._measure(cell)

    def _measure(self, cell: Cell) -> Measured:
        """Measures a cell whose lock is held, unless another process did so before."""
        if (found := self.measured(cell)) is not None:
            return found
        start = time.monotonic()
        measured = cell.measure()
        seconds = round(time.monotonic() - start, 1)
        value = {"name": cell.name, "asked": cell.asked, "measured": measured, "seconds": seconds}
        write_json(self.folder / cell.file, value)
        self.progress.note(f"{cell.name}: measured in {seconds:.0f} s")
        return measured
