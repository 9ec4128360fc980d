"""Blindfold: in each epoch a few segments are really trained and move far; all others are forged and do not.

A verifier who trains the Q largest updates of an epoch again looks at honest ones alone. Source: Fang et al.,
EuroS&P 2023, against the choice of segments of Jia et al., S&P 2021 (section V-D).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby, islice, pairwise
from typing import ClassVar

from ticket_sig.options import one_or_more, option, positive
from ticket_sig.transcripts.replay import replay, threads
from ticket_sig.transcripts.spoofs.forgery import Forgery
from ticket_sig.transcripts.spoofs.infinitesimal import stretch
from ticket_sig.transcripts.spoofs.spoof import Scene, Spoof, between, stolen_state
from ticket_sig.transcripts.transcript import thread_count


@dataclass(frozen=True, kw_only=True)
class Blindfold(Spoof):
    """Trains a few segments of each epoch with large steps; all others walk to a stolen model; needs data.

    The forged recipe has one step a segment, one large learning rate, and no crops or flips: what is trained
    is then exact for any verifier.
    """

    needs: ClassVar[tuple[str, ...]] = ("stolen", "data")

    lr: float = option("Learning rate of the forged recipe.", default=0.5, check=positive)
    segments: int = option("Segments of the forged training, of one step.", default=100, check=one_or_more)
    top: int = option("Segments of an epoch that are really trained: the Q.", default=1, check=one_or_more)

    def forge(self, forgery: Forgery, scene: Scene) -> None:
        """The last level: in each epoch the first segments are trained; the last of all never is."""
        assert scene.stolen is not None
        places, mask = forgery.boundaries(), forgery.kept()
        state, end = forgery.state(places[0]), stolen_state(forgery, scene.stolen)
        places = stretch(forgery, self.segments, 1, self.lr)
        forgery.manifest["recipe"] |= {"schedule": "step", "milestones": [], "crop": 0, "flip": False}
        run = scene.run(forgery, mask)
        epochs = groupby((step for _, step in places[:-2]), lambda step: step // run.per_epoch)
        honest = {step for _, steps in epochs for step in islice(steps, self.top)}
        left = self.segments - len(honest)
        forgery.put(places[0], state)
        with threads(thread_count(forgery.source)):
            for (_, step), after in pairwise(places):
                if step in honest:
                    state = replay(run, state, step, after[1])
                else:
                    state, left = between(state, end, 1 / left, state), left - 1
                forgery.put(after, state)
