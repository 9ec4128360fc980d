"""Boundaries in another order, or more of them than were trained."""

from __future__ import annotations

from dataclasses import dataclass

from ticket_sig.options import one_of, option, within
from ticket_sig.transcripts.spoofs.forgery import Forgery
from ticket_sig.transcripts.spoofs.spoof import Scene, Spoof

MORE = ("boundary", "level")


@dataclass(frozen=True, kw_only=True)
class Swap(Spoof):
    """Swaps the states of two neighbouring boundaries."""

    at: float = option(
        "The first of them: after this share of the last level.", default=0.5, check=within(0, 1)
    )

    def forge(self, forgery: Forgery, scene: Scene) -> None:
        """Swaps them."""
        places = forgery.boundaries()
        first = min(places.index(forgery.at(self.at)), len(places) - 2)
        one, other = places[first], places[first + 1]
        forgery.states[one], forgery.states[other] = forgery.states[other], forgery.states[one]


@dataclass(frozen=True, kw_only=True)
class Longer(Spoof):
    """Makes the chain longer than the training was, so that more seems to have been paid for."""

    by: str = option(
        "By a boundary behind the last, or by a level like the last.", default="boundary", check=one_of(MORE)
    )

    def forge(self, forgery: Forgery, scene: Scene) -> None:
        """Adds copies of what is there."""
        places = forgery.boundaries()
        if self.by == "boundary":
            level, last = places[-1]
            forgery.states[level, last + forgery.manifest["segment"]] = forgery.states[places[-1]]
            return
        forgery.levels.append(dict(forgery.levels[-1]))
        level = places[0][0]
        forgery.states |= {(level + 1, n): one for (of, n), one in forgery.states.items() if of == level}
        forgery.told |= {(level + 1, n): one for (of, n), one in forgery.told.items() if of == level}
