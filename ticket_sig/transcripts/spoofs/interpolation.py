"""Interpolation: boundaries on the straight line from the initial weights to a stolen model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ticket_sig.transcripts.spoofs.forgery import Forgery
from ticket_sig.transcripts.spoofs.spoof import Scene, Spoof, between, stolen_state
from ticket_sig.transcripts.states import State


@dataclass(frozen=True, kw_only=True)
class Interpolation(Spoof):
    """Puts every boundary on the line to a stolen model; optimizer and losses are an honest training's."""

    needs: ClassVar[tuple[str, ...]] = ("stolen",)

    def forge(self, forgery: Forgery, scene: Scene) -> None:
        """Moves every boundary but the first."""
        assert scene.stolen is not None
        places = forgery.boundaries()
        start, end = forgery.state(places[0]), stolen_state(forgery, scene.stolen)
        for n, place in enumerate(places[1:], 1):
            share = n / (len(places) - 1)

            def moved(honest: State, share: float = share) -> State:
                return between(start, end, share, honest)

            forgery.change(place, moved)
