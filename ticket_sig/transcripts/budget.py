"""How many states of a training are kept for a budget of disk: fewer states, longer replays."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from ticket_sig.errors import bad_input
from ticket_sig.lottery.level import first_step
from ticket_sig.training.batches import batches_per_epoch
from ticket_sig.training.recorder import Plan

_UNITS = {"kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_ENTRY, _HEAD = 1000, 200  # bytes, at most: an entry of the chain, a tensor's line in the head of a state


def parse_keep(keep: int | str) -> int | Budget:
    """Reads `10` (every tenth state), or a size such as `500MB` or `2GiB`; InputError where it is neither."""
    number, unit = getattr(
        re.fullmatch(r"(\d+(?:\.\d+)?) ?([kKMGT]i?B)?", str(keep)), "groups", lambda: "??"
    )()
    if unit in _UNITS:
        return Budget(int(float(number) * _UNITS[unit]))
    if unit is None and number.isdigit() and int(number) >= 1:
        return int(number)
    expected = f"1 or more, for every N-th state, or a size in {', '.join(_UNITS)}"
    raise bad_input("", "--keep", expected, repr(keep)[:80])


@dataclass(frozen=True)
class Budget:
    """Bytes that a transcript may take on the disk."""

    size: int

    def keep(self, plan: Plan, every: int) -> int:
        """The smallest N with which a transcript that keeps every N-th state fits.

        It follows from recipe, data and network alone, so that it is the same after a kill.

        Args:
            every: steps from one boundary to the next.

        Raises:
            InputError: not even the first, the rewind and the last states fit, or it is not known how many
                rounds the search goes through.
        """
        fewest = plan_steps(plan) // every + 1
        if fits := next((n for n in range(1, fewest + 1) if disk(plan, every, n) <= self.size), None):
            return fits
        expected = f"{shown(disk(plan, every, fewest))} or more, for first, rewind and last states"
        raise bad_input("", "--keep", expected, shown(self.size))


def shown(size: int) -> str:
    """Bytes as `parse_keep` reads them; never fewer."""
    return f"{math.ceil(size / 10**3)}kB" if size < 10**7 else f"{math.ceil(size / 10**5) / 10:.1f}MB"


def plan_steps(plan: Plan) -> int:
    """Steps of one training, from step 0."""
    return plan.recipe.length.iterations(_per_epoch(plan))


def disk(plan: Plan, every: int, keep: int) -> int:
    """Bytes that a transcript takes at most, where every `keep`-th state is kept.

    Raises:
        InputError: it is not known how many rounds the search goes through.
    """
    weights = sum(t.numel() * t.element_size() + _HEAD for t in plan.initial.values())
    momentum, later = weights if plan.recipe.momentum else 0, levels(plan) - 1
    states, boundaries = (
        _boundaries(plan, step, dense=plan.search) + later * _boundaries(plan, step, dense=False)
        for step in (every * keep, every)
    )
    others = plan.mask.total + _ENTRY * (boundaries + 4 * (later + 4))  # mask, manifest, levels, signatures
    return states * weights + (states - later - 1) * momentum + others  # each level begins without momentum


def _boundaries(plan: Plan, step: int, *, dense: bool) -> int:
    """How many there are of a training every so many steps, with the first, the rewind and the last step."""
    first, last = first_step(plan.recipe, plan.data, dense=dense), plan_steps(plan)
    needed = {first, last, *([plan.recipe.rewind.iterations(_per_epoch(plan))] if dense else [])}
    return last // step - (first - 1) // step + sum(one % step != 0 for one in needed)


def levels(plan: Plan) -> int:
    """Of how many trainings a search consists; exact, as pruning takes round(rate * kept) weights.

    Raises:
        InputError: it is the search for the extreme ticket, which goes on while it wins.
    """
    recipe, done = plan.recipe, 0
    if not plan.search:
        return 1
    if recipe.extreme:
        expected = (
            "a number of states, as nobody knows how many rounds the search for the extreme ticket takes"
        )
        raise bad_input("", "--keep", expected, "a size", hint="or give --rounds or --density")
    sizes = [layer.numel() for layer in plan.mask.values()]
    kept = sizes if recipe.scope == "layerwise" else [sum(sizes)]
    count, density = recipe.rounds, recipe.density or 0.0
    while done < count if count is not None else sum(kept) > density * sum(sizes):
        fewer = [weights - round(recipe.rates[0] * weights) for weights in kept]
        if fewer == kept:
            break
        kept, done = fewer, done + 1
    return 1 + done


def _per_epoch(plan: Plan) -> int:
    training, _ = plan.data.hold_out(plan.recipe.validation)
    return batches_per_epoch(len(training), plan.recipe.batch_size)
