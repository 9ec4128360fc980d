"""Detectors that need no replay: what an honest segment does not do, seen in its two boundaries alone.

They prove nothing by themselves. A segment that one of them suspects is always trained again. Measured are
how far the weights moved, over what the momentum and the learning rates of the recipe can explain; whether
they moved as the momentum points; the loss, over that before; and the batches that norms have counted. A
segment is suspected where one of these lies more than `FAR` robust deviations (1.4826 median absolute
deviations) from the median of its level's segments.

Seen on digits (ResNet-20, preset demo, six searches of one round, segments of 5 and 10 steps): none of 728
honest segments was suspected. Of jumps from one run to another in one segment, 240 of 240 were; of such that
go 30 % of the way, 240 of 240; 10 %, 234; 3 %, 92; 1 %, 59.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ticket_sig.transcripts.states import State
from ticket_sig.transcripts.transcript import Segment, Transcript

FAR = 6.0
# Where honest segments vary less than that, they are few, or alike by chance.
_LEAST_SPREAD = {"step length": 0.15, "momentum": 0.08, "loss": 0.7, "batches": 1e-3}
_FEWEST = 8  # segments of a level that say what is usual there
_TINY = 1e-30


class Rates(Protocol):
    """What knows learning rates: a recipe."""

    def learning_rate(self, step: int, per_epoch: int) -> float:
        """Of one step, counted from 0."""


@dataclass(frozen=True)
class Seen:
    """What two boundaries say of the segment between them.

    Attributes:
        segment: that was looked at.
        update: l2 norm of the change of the parameters.
        measures: by name; NaN where there is nothing to measure.
        odd: what no honest training has, in words.
    """

    segment: Segment
    update: float
    measures: Mapping[str, float]
    odd: Sequence[str]


def look_at_all(
    transcript: Transcript, state: Callable[[int, int], State], recipe: Rates, per_epoch: int
) -> Iterator[Seen]:
    """Measures every segment; reads every boundary once, and holds two.

    Args:
        state: reads that of a level and step.
    """
    for level in transcript.levels:
        before: State | None = None
        for step, segment in zip(level.steps, [None, *level.segments()], strict=False):
            after = state(level.number, step)
            if before is not None and segment is not None:
                yield look(segment, before, after, recipe, per_epoch)
            before = after


def look(segment: Segment, before: State, after: State, recipe: Rates, per_epoch: int) -> Seen:
    """Measures one segment."""
    change = _flat({n: after.parameters[n].double() - t.double() for n, t in before.parameters.items()})
    momenta = [_flat(_momentum(state)) for state in (before, after)]
    rates = sum(recipe.learning_rate(step, per_epoch) for step in range(segment.first, segment.last))
    update, pull = float(change.norm()), max(float(one.norm()) for one in momenta)
    towards = momenta[1] if momenta[1].numel() == change.numel() else torch.zeros_like(change)
    cosine = float(-(change @ towards) / max(update * float(towards.norm()), _TINY))
    measures = {
        "step length": math.log(max(update / max(rates * pull, _TINY), _TINY)) if pull else math.nan,
        "momentum": cosine if pull else math.nan,
        "loss": _loss(before.losses, after.losses),
        "batches": _batches(before, after) / (segment.last - segment.first),
    }
    return Seen(segment, update, measures, _odd(after))


def suspects(seen: Sequence[Seen]) -> dict[Segment, str]:
    """The segments that stand out in their level, and by what."""
    levels: dict[int, list[Seen]] = {}
    for one in seen:
        levels.setdefault(one.segment.level, []).append(one)
    return {segment: why for own in levels.values() for segment, why in _suspects(own).items()}


def _suspects(seen: Sequence[Seen]) -> dict[Segment, str]:
    found = {one.segment: "; ".join(one.odd) for one in seen if one.odd}
    for name, least in _LEAST_SPREAD.items():
        values = np.array([one.measures[name] for one in seen])
        usual = values[np.isfinite(values)]
        if len(usual) < _FEWEST:
            continue
        middle = np.median(usual)
        spread = max(1.4826 * float(np.median(np.abs(usual - middle))), least)
        for one, value in zip(seen, values, strict=True):
            if np.isfinite(value) and abs(value - middle) > FAR * spread:
                found.setdefault(one.segment, f"{name}: {value:.3g}, {middle:.3g} in the middle segment")
    return found


def _loss(before: tuple[float, float], after: tuple[float, float]) -> float:
    """Logarithm of the segment's mean loss over that of the epoch before it; sums begin anew in an epoch."""
    total, count = (b - a for a, b in zip(before, after, strict=True))
    if count <= 0:
        total, count = after
    if not (count > 0 and before[1] > 0):
        return math.nan
    return math.log(max(total / count, _TINY)) - math.log(max(before[0] / before[1], _TINY))


def _batches(before: State, after: State) -> float:
    """By how much the counts of batches grew in all; NaN where no norm counts them."""
    grown = [int(after.buffers[n] - t) for n, t in before.buffers.items() if n.endswith("batches_tracked")]
    return float(sum(grown)) / len(grown) if grown else math.nan


def _odd(state: State) -> list[str]:
    groups = {"parameters": state.parameters, "buffers": state.buffers, "optimizer": state.optimizer}
    found = [
        f"{group}/{name}: not finite"
        for group, tensors in groups.items()
        for name, t in tensors.items()
        if t.is_floating_point() and not bool(torch.isfinite(t).all())
    ]
    negative = [n for n, t in state.buffers.items() if n.endswith("running_var") and bool((t < 0).any())]
    return found + [f"buffers/{name}: a variance under zero" for name in negative]


def _momentum(state: State) -> Mapping[str, Tensor]:
    return {n: t.double() for n, t in state.optimizer.items() if n.startswith("momentum_buffer/")}


def _flat(tensors: Mapping[str, Tensor]) -> Tensor:
    parts = [tensors[name].flatten() for name in sorted(tensors)]
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.float64)
