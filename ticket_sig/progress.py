"""What a long run tells whoever waits for it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives the progress of one piece of work after the other."""

    def begin(self, label: str, total: int) -> None:
        """A piece of work of `total` iterations begins."""

    def advance(self, done: int, detail: str = "") -> None:
        """So many iterations of it are done; `detail` is a short text such as the loss."""

    def note(self, text: str) -> None:
        """Something worth a line of its own."""


class Silent:
    """Tells nobody anything."""

    def begin(self, label: str, total: int) -> None:
        """Says nothing."""

    def advance(self, done: int, detail: str = "") -> None:
        """Says nothing."""

    def note(self, text: str) -> None:
        """Says nothing."""


class Steps:
    """Work in steps of which nobody knows how long they take: tells which one is done now."""

    def __init__(self, progress: Progress | None = None, label: str = "", total: int = 0) -> None:
        self._progress, self._done = progress or Silent(), 0
        self._progress.begin(label, total)

    def next(self, what: str) -> None:
        """The next step begins."""
        self._progress.advance(self._done, what)
        self._done += 1
