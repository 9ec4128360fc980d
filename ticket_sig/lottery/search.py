"""Which masks to try: rounds of iterative magnitude pruning, and the search for the extreme ticket.

Knows nothing of networks: what it needs is a way to train a mask and a way to prune what was trained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ticket_sig.mask import Mask
from ticket_sig.ticket import Ticket


@dataclass(frozen=True)
class Tried:
    """A mask that was trained: the ticket, the rate that led to it, whether it wins, whether it was kept."""

    ticket: Ticket
    rate: float
    winning: bool
    accepted: bool


Train = Callable[[Mask, float], Ticket]
Prune = Callable[[Ticket, float], Mask]


def accuracy_of(ticket: Ticket) -> float:
    """The accuracy (%) that decides: on the validation split, or the test split where none was held out."""
    last = ticket.history[-1]
    found = last.validation if last.validation is not None else last.test
    assert found is not None
    return found


def rounds(
    dense: Ticket,
    train: Train,
    prune: Prune,
    *,
    rate: float,
    count: int | None,
    density: float | None,
    tolerance: float,
) -> Iterator[Tried]:
    """IMP: prune, rewind, retrain, `count` times or until at most `density` of the weights are kept."""
    ticket = dense
    done = 0
    while done < count if count is not None else ticket.mask.density > (density or 0.0):
        mask = prune(ticket, rate)
        if mask.kept == ticket.mask.kept:
            return
        ticket, done = train(mask, rate), done + 1
        yield Tried(ticket, rate, accuracy_of(ticket) >= accuracy_of(dense) - tolerance, True)


def extreme_ticket(
    dense: Ticket, train: Train, prune: Prune, *, rates: tuple[float, ...], tolerance: float
) -> Iterator[Tried]:
    """The paper's search (section 3.1): each rate until the ticket no longer wins, then back one round.

    The last ticket that was accepted is extreme: it wins, and pruned by the last rate it does not.
    """
    best = dense
    for rate in rates:
        while (mask := prune(best, rate)).kept < best.mask.kept:
            candidate = train(mask, rate)
            winning = accuracy_of(candidate) >= accuracy_of(dense) - tolerance
            yield Tried(candidate, rate, winning, winning)
            if not winning:
                break
            best = candidate
