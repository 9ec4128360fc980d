"""One boundary tampered with: weights that are not numbers, other buffers, another momentum, one weight."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ticket_sig.errors import bad_input
from ticket_sig.options import above_0, option
from ticket_sig.transcripts.spoofs.spoof import OneBoundary, Scene
from ticket_sig.transcripts.states import State

_OTHER = "choose another boundary: --at"


@dataclass(frozen=True, kw_only=True)
class NotANumber(OneBoundary):
    """Makes every weight of a boundary NaN, from which every distance is NaN, and more than no threshold."""

    def changed(self, state: State, scene: Scene) -> State:
        """All parameters but pruned weights."""
        tensors = {n: torch.where(t == 0, t, torch.nan) for n, t in state.parameters.items()}
        return replace(state, parameters=tensors)


@dataclass(frozen=True, kw_only=True)
class Buffers(OneBoundary):
    """Changes the buffers of a boundary, such as a batch norm's means: no gradient ever sees them."""

    rate: float = option("By this share of each value.", default=0.1, check=above_0(100))

    def changed(self, state: State, scene: Scene) -> State:
        """All buffers that are no counts."""
        return replace(state, buffers=_scaled("buffers", state, lambda t: t * (1 + self.rate)))


@dataclass(frozen=True, kw_only=True)
class Optimizer(OneBoundary):
    """Changes the momentum of a boundary."""

    rate: float = option("By this share of each value.", default=0.1, check=above_0(100))

    def changed(self, state: State, scene: Scene) -> State:
        """All of it."""
        return replace(state, optimizer=_scaled("optimizer", state, lambda t: t * (1 + self.rate)))


@dataclass(frozen=True, kw_only=True)
class OneWeight(OneBoundary):
    """Changes one weight of a boundary, drawn from those that are not zero."""

    by: float = option("By so much.", default=1e-3, check=above_0(1e6))

    def changed(self, state: State, scene: Scene) -> State:
        """The weight, and nothing else."""
        names = [name for name, t in state.parameters.items() if bool((t != 0).any())]
        if not names:
            raise bad_input("spoof", "weights", "one that is not zero", "none", hint=_OTHER)
        name = names[int(torch.randint(len(names), (), generator=scene.draw("tensor")))]
        places = (state.parameters[name] != 0).flatten().nonzero().flatten()
        tensor = state.parameters[name].clone()
        tensor.view(-1)[places[int(torch.randint(len(places), (), generator=scene.draw("place")))]] += self.by
        return replace(state, parameters={**state.parameters, name: tensor})


def _scaled(group: str, state: State, change: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """The tensors of a group, those of floating point changed; InputError where there are none."""
    tensors = dict(getattr(state, group))
    if not (names := [name for name, t in tensors.items() if t.is_floating_point()]):
        raise bad_input("spoof", group, "one tensor or more", "none", hint=_OTHER)
    return tensors | {name: change(tensors[name]) for name in names}
