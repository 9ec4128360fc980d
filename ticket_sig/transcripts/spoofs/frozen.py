"""Frozen segments: a boundary is said to be the next one, too."""

from __future__ import annotations

from dataclasses import dataclass

from ticket_sig.errors import bad_input
from ticket_sig.options import one_or_more, option, within
from ticket_sig.transcripts.spoofs.forgery import Forgery
from ticket_sig.transcripts.spoofs.spoof import Scene, Spoof


@dataclass(frozen=True, kw_only=True)
class Frozen(Spoof):
    """Repeats a boundary, so that segments cost nothing."""

    at: float = option("Which boundary: after this share of the last level.", default=0.5, check=within(0, 1))
    segments: int = option("Segments in which nothing happens.", default=1, check=one_or_more)

    def forge(self, forgery: Forgery, scene: Scene) -> None:
        """Repeats it; InputError where so many do not follow."""
        places = forgery.boundaries()
        first = min(places.index(forgery.at(self.at)), len(places) - 2)
        if self.segments > len(places) - 1 - first:
            raise bad_input("spoof", "segments", f"at most {len(places) - 1 - first}", str(self.segments))
        for place in places[first + 1 : first + 1 + self.segments]:
            forgery.states[place] = forgery.states[places[first]]
