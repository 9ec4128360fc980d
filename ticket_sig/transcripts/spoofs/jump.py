"""One forged jump among many segments: to a stolen model, and honest training from there on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from ticket_sig.options import above_0, option, within
from ticket_sig.transcripts.replay import threads
from ticket_sig.transcripts.spoofs.forgery import Forgery
from ticket_sig.transcripts.spoofs.spoof import Scene, Spoof, between, stolen_state
from ticket_sig.transcripts.transcript import thread_count


@dataclass(frozen=True, kw_only=True)
class Jump(Spoof):
    """Jumps to a stolen model in one segment, and really trains on from there; it needs data."""

    needs: ClassVar[tuple[str, ...]] = ("stolen", "data")

    at: float = option("Where: after this share of the last level.", default=0.5, check=within(0, 1))
    share: float = option("How much of the way to the stolen model.", default=1.0, check=above_0(1))

    def forge(self, forgery: Forgery, scene: Scene) -> None:
        """The jump, and a training from its end."""
        assert scene.stolen is not None
        places = forgery.boundaries()
        place = max(forgery.at(self.at), places[1])
        honest = forgery.state(place)
        landed = between(honest, stolen_state(forgery, scene.stolen), self.share, honest)
        with threads(thread_count(forgery.source)):
            forgery.train_on(scene.run(forgery, forgery.kept()), place, replace(landed, losses=honest.losses))
