"""Forged momentum: with a learning rate near zero, the momentum alone moves the weights.

Without gradients worth mentioning, momentum m moves weights in k steps by -m sum(lr_j mu^j), j = 1..k. So the
momentum that leads from any weights to any others is known in advance, and no gradient is ever computed.
Against the verifier of Jia et al., S&P 2021, who never compares the optimizer's state.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, ClassVar

from torch import Tensor

from ticket_sig.options import above_0, option
from ticket_sig.training.recipe import Recipe
from ticket_sig.transcripts.spoofs.forgery import Forgery
from ticket_sig.transcripts.spoofs.spoof import Scene, Spoof, between, steps_per_epoch, stolen_state
from ticket_sig.transcripts.states import State


@dataclass(frozen=True, kw_only=True)
class ForgedMomentum(Spoof):
    """Walks to a stolen model by momenta that are made for it, at a learning rate near zero."""

    needs: ClassVar[tuple[str, ...]] = ("stolen",)

    lr: float = option("Learning rate of the forged recipe.", default=1e-8, check=above_0(1e-3))

    def forge(self, forgery: Forgery, scene: Scene) -> None:
        """Boundaries on the line to the stolen model, each with the momentum that leads to the next.

        The first boundary has no momentum yet: the second one stands where the first does.
        """
        assert scene.stolen is not None
        forgery.manifest["recipe"] = slowed(forgery, self.lr)
        places, per_epoch = forgery.boundaries(3)[1:], steps_per_epoch(forgery)
        start, end = forgery.state(forgery.boundaries()[0]), stolen_state(forgery, scene.stolen)
        shares = [n / (len(places) - 1) for n in range(len(places))]
        line = [
            between(start, end, share, forgery.state(place))
            for share, place in zip(shares, places, strict=True)
        ]
        pulled: dict[str, Tensor] = {}
        for n, (place, after) in enumerate(pairwise(places)):
            pull = pull_of(forgery.recipe, per_epoch, place[1], after[1])
            pulled = momentum(line[n], line[n + 1], pull)
            forgery.put(place, replace(line[n], optimizer=pulled))
        forgery.put(places[-1], replace(line[-1], optimizer=pulled))


def slowed(forgery: Forgery, lr: float) -> dict[str, Any]:
    """The recipe with another learning rate, and momentum where it has none."""
    return {**forgery.manifest["recipe"], "lr": lr, "momentum": forgery.recipe.momentum or 0.9}


def pull_of(recipe: Recipe, per_epoch: int, first: int, last: int) -> float:
    """How far a momentum of 1 moves a weight in steps `first` to `last` (excluded), without gradients."""
    return sum(
        recipe.learning_rate(step, per_epoch) * recipe.momentum ** (step - first + 1 + recipe.nesterov)
        for step in range(first, last)
    )


def momentum(start: State, end: State, pull: float) -> dict[str, Tensor]:
    """The momentum that leads from the parameters of one state to those of another."""
    return {
        f"momentum_buffer/{name}": ((tensor.double() - end.parameters[name].double()) / pull).to(tensor.dtype)
        for name, tensor in start.parameters.items()
    }
