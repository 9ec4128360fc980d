"""One bad input, and what the command line answers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Build = Callable[[Path], list[Any]]
PROOF = "code-was-run"  # the folder that hostile files would make


@dataclass(frozen=True)
class Case:
    """One bad input.

    Attributes:
        topic, name: for people.
        build: makes the input in an empty folder; returns the command's arguments.
        says: what the one line must contain.
        code: expected exit code.
        during: what holds while the command runs (a full disk, a lock); given the folder.
        resumes: whether the command rightly leaves state behind, to go on from.
        has_verb: without a verb the help is printed, and --json means nothing.
    """

    topic: str
    name: str
    build: Build
    says: tuple[str, ...]
    code: int = 2
    during: Callable[[Path], AbstractContextManager[object]] = nullcontext
    resumes: bool = False
    has_verb: bool = True


@dataclass
class Topic:
    """Bad inputs of one kind; every file of this package has one."""

    name: str
    cases: list[Case] = field(default_factory=list)

    def case(self, *says: str, **options: Any) -> Callable[[Build], Build]:
        """Enters a builder under its own name."""

        def entered(build: Build) -> Build:
            self.enter(build.__name__.replace("_", " "), build, *says, **options)
            return build

        return entered

    def enter(self, name: str, build: Build, *says: str, **options: Any) -> None:
        """Enters one of a family."""
        self.cases.append(Case(self.name, name, build, says, **options))
