"""Infinitesimal updates: so many segments of so small a learning rate that every tolerance holds.

Whoever chooses the hyper-parameters chooses how far a segment moves. On the line to a stolen model, cut into
pieces that are shorter than any threshold, training again at almost no learning rate stays where it began:
closer to the next boundary than the threshold. Source: the idea of Fang et al., EuroS&P 2023.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from ticket_sig.options import above_0, one_or_more, option
from ticket_sig.training.steps import Steps
from ticket_sig.transcripts.spoofs.forged_momentum import slowed
from ticket_sig.transcripts.spoofs.forgery import Forgery, Place
from ticket_sig.transcripts.spoofs.spoof import Scene, Spoof, between, stolen_state
from ticket_sig.transcripts.states import State


@dataclass(frozen=True, kw_only=True)
class Infinitesimal(Spoof):
    """Cuts the line to a stolen model into so many segments of one step that none moves far."""

    needs: ClassVar[tuple[str, ...]] = ("stolen",)

    lr: float = option("Learning rate of the forged recipe.", default=1e-8, check=above_0(1e-3))
    segments: int = option("Segments of the forged training.", default=100, check=one_or_more)

    def forge(self, forgery: Forgery, scene: Scene) -> None:
        """Another recipe, of as many steps as segments, and boundaries on the line."""
        assert scene.stolen is not None
        first, end = forgery.state(forgery.boundaries()[0]), stolen_state(forgery, scene.stolen)
        for n, place in enumerate(stretch(forgery, self.segments, 1, self.lr)):

            def moved(share: float = n / self.segments) -> State:
                state = between(first, end, share, first)
                return state if not share else replace(state, losses=(1.0, 1.0))

            forgery.states[place] = moved


def stretch(forgery: Forgery, segments: int, steps: int, lr: float) -> list[Place]:
    """Gives the last level another recipe, of so many segments; returns the boundaries that it is to have."""
    places = forgery.boundaries()
    level, begun = places[0]
    length = Steps(begun + segments * steps, "it")
    recipe = {**slowed(forgery, lr), "length": str(length)}
    forgery.manifest |= {"recipe": recipe, "segment": steps}
    for made in (forgery.states, forgery.told):
        for place in [place for place in made if place[0] == level]:
            del made[place]
    return [(level, begun + n * steps) for n in range(segments + 1)]
