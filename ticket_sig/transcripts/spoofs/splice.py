"""Spliced runs: the first part of one training, the rest of another."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from ticket_sig.errors import bad_input
from ticket_sig.options import option, within
from ticket_sig.transcripts.spoofs.forgery import Forgery
from ticket_sig.transcripts.spoofs.spoof import Scene, Spoof


@dataclass(frozen=True, kw_only=True)
class Splice(Spoof):
    """Takes the last boundaries from another transcript, of as many steps; one segment is forged by it."""

    needs: ClassVar[tuple[str, ...]] = ("other",)

    at: float = option("Where: after this share of the last level.", default=0.5, check=within(0, 1))

    def forge(self, forgery: Forgery, scene: Scene) -> None:
        """Replaces the boundaries from there on; InputError where the other one lacks them."""
        assert scene.other is not None
        theirs = scene.other
        level, steps = len(theirs.levels) - 1, theirs.levels[-1].steps if theirs.levels else []
        for place in forgery.boundaries():
            if place >= forgery.at(self.at) and place != forgery.boundaries()[0]:
                if place[1] not in steps:
                    found = ", ".join(map(str, steps))[:80] or "none"
                    raise bad_input(theirs.folder, "boundaries", f"one at step {place[1]}", found)
                forgery.states[place] = partial(theirs.state, level, place[1])
