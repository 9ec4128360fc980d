"""A head start: forged momentum at the first boundary alone, and honest training at no learning rate from it.

Every segment follows, bit for bit, from the one before it. What gives it away is that a training begins
without momentum.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from ticket_sig.options import above_0, option
from ticket_sig.transcripts.replay import threads
from ticket_sig.transcripts.spoofs.forged_momentum import momentum, pull_of, slowed
from ticket_sig.transcripts.spoofs.forgery import Forgery
from ticket_sig.transcripts.spoofs.spoof import Scene, Spoof, steps_per_epoch, stolen_state
from ticket_sig.transcripts.transcript import thread_count


@dataclass(frozen=True, kw_only=True)
class HeadStart(Spoof):
    """Begins with the momentum that leads to a stolen model, and really trains from there; it needs data."""

    needs: ClassVar[tuple[str, ...]] = ("stolen", "data")

    lr: float = option("Learning rate of the forged recipe.", default=1e-8, check=above_0(1e-3))

    def forge(self, forgery: Forgery, scene: Scene) -> None:
        """Momentum into the first state, and a training from it."""
        assert scene.stolen is not None
        forgery.manifest["recipe"] = slowed(forgery, self.lr)
        places = forgery.boundaries()
        start, end = forgery.state(places[0]), stolen_state(forgery, scene.stolen)
        pull = pull_of(forgery.recipe, steps_per_epoch(forgery), places[0][1], places[-1][1])
        with threads(thread_count(forgery.source)):
            forgery.train_on(
                scene.run(forgery, forgery.kept()),
                places[0],
                replace(start, optimizer=momentum(start, end, pull)),
            )
