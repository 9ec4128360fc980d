"""The search for tickets against a plain count, with a training that is only pretended."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ticket_sig import Mask, Ticket
from ticket_sig.lottery import prune, search
from ticket_sig.ticket import HistoryEntry

_TOTAL = 400
_WEIGHTS = {"w": torch.randn(20, 20, generator=torch.Generator().manual_seed(0))}
_RATES = (0.2, 0.1, 0.05, 0.01)


class Step(NamedTuple):
    """One entry of a search as a plain count sees it."""

    rate: float
    kept: int
    winning: bool
    accepted: bool


def trained(mask: Mask, accuracy: float) -> Ticket:
    """A ticket whose weights have moved, so that the next round ranks them anew."""
    draw = torch.Generator().manual_seed(mask.kept)
    weights = mask.apply({"w": _WEIGHTS["w"] * torch.rand(20, 20, generator=draw)})
    entry = HistoryEntry(step="prune", kept=mask.kept, total=mask.total, validation=accuracy, test=0.0)
    return Ticket(weights=weights, mask=mask, history=(entry,))


def dense() -> Ticket:
    return trained(Mask.full(_WEIGHTS), 90.0)


def shrink(ticket: Ticket, rate: float) -> Mask:
    return prune(ticket.weights, ticket.mask, rate)


def run_extreme(accuracy: Callable[[int], float], rates: tuple[float, ...] = _RATES) -> list[search.Tried]:
    def train(mask: Mask, rate: float) -> Ticket:
        return trained(mask, accuracy(mask.kept))

    return list(search.extreme_ticket(dense(), train, shrink, rates=rates, tolerance=1.0))


def counted(wins: Callable[[int], bool], rates: tuple[float, ...] = _RATES) -> list[Step]:
    """The paper's search in whole numbers."""
    steps, best = [], _TOTAL
    for rate in rates:
        while round(rate * best) > 0:
            kept = best - round(rate * best)
            steps.append(Step(rate, kept, wins(kept), wins(kept)))
            if not wins(kept):
                break
            best = kept
    return steps


def steps_of(tries: list[search.Tried]) -> list[Step]:
    return [Step(t.rate, t.ticket.mask.kept, t.winning, t.accepted) for t in tries]


@given(threshold=st.integers(0, _TOTAL + 1), rates=st.lists(st.floats(0.01, 0.95), min_size=1, max_size=4))
@settings(deadline=None, max_examples=30)
def test_the_search_goes_back_one_round_and_takes_the_next_rate(threshold: int, rates: list[float]) -> None:
    tries = run_extreme(lambda kept: 95.0 if kept >= threshold else 10.0, tuple(rates))
    assert steps_of(tries) == counted(lambda kept: kept >= threshold, tuple(rates))


@given(losing=st.sets(st.integers(0, _TOTAL)))
@settings(deadline=None, max_examples=20)
def test_it_does_so_whatever_wins(losing: set[int]) -> None:
    tries = run_extreme(lambda kept: 10.0 if kept in losing else 95.0)
    assert steps_of(tries) == counted(lambda kept: kept not in losing)


@given(threshold=st.integers(1, _TOTAL))
@settings(deadline=None, max_examples=20)
def test_the_last_accepted_ticket_is_extreme(threshold: int) -> None:
    tries = run_extreme(lambda kept: 95.0 if kept >= threshold else 10.0)
    best = next((t.ticket.mask.kept for t in reversed(tries) if t.accepted), _TOTAL)
    assert best >= threshold
    assert best - round(0.01 * best) < threshold or round(0.01 * best) == 0


def test_a_mask_is_pruned_from_the_last_accepted_ticket_as_it_was_trained() -> None:
    tries = run_extreme(lambda kept: 95.0 if kept >= 150 else 10.0)
    best = dense()
    for tried in tries:
        assert tried.ticket.mask == shrink(best, tried.rate)
        best = tried.ticket if tried.accepted else best


def test_where_everything_wins_it_ends_when_nothing_is_left_to_prune() -> None:
    tries = run_extreme(lambda kept: 100.0)
    assert all(t.accepted for t in tries)
    assert tries[-1].ticket.mask.kept <= 2


def test_where_nothing_wins_every_rate_is_tried_once_on_the_dense_network() -> None:
    tries = run_extreme(lambda kept: 0.0)
    assert [(t.rate, t.ticket.mask.kept) for t in tries] == [(r, _TOTAL - round(r * _TOTAL)) for r in _RATES]
    assert not any(t.accepted for t in tries)


@pytest.mark.parametrize(("accuracy", "wins"), [(89.0, True), (88.99, False), (95.0, True)])
def test_a_ticket_wins_within_the_tolerance_of_the_dense_network(accuracy: float, wins: bool) -> None:
    assert run_extreme(lambda kept: accuracy)[0].winning is wins


@pytest.mark.parametrize(
    ("validation", "test", "decides"), [(50.0, 99.0, 50.0), (None, 99.0, 99.0), (0.0, 99.0, 0.0)]
)
def test_the_validation_split_decides_where_there_is_one(
    validation: float | None, test: float, decides: float
) -> None:
    entry = HistoryEntry(step="train", kept=1, total=1, validation=validation, test=test)
    assert search.accuracy_of(Ticket(weights={}, mask=Mask({}), history=(entry,))) == decides


def run_rounds(
    count: int | None, density: float | None, rate: float, accuracy: float = 95.0
) -> list[search.Tried]:
    return list(
        search.rounds(
            dense(),
            lambda mask, rate: trained(mask, accuracy),
            shrink,
            rate=rate,
            count=count,
            density=density,
            tolerance=1.0,
        )
    )


@given(count=st.integers(0, 8), rate=st.floats(0.05, 0.9))
@settings(deadline=None, max_examples=20)
def test_so_many_rounds_at_one_rate(count: int, rate: float) -> None:
    kept, wanted = _TOTAL, []
    while len(wanted) < count and round(rate * kept):
        kept -= round(rate * kept)
        wanted.append(Step(rate, kept, True, True))
    assert steps_of(run_rounds(count, None, rate)) == wanted


@given(density=st.floats(0.001, 0.999), rate=st.floats(0.05, 0.9))
@settings(deadline=None, max_examples=20)
def test_rounds_until_a_density_is_reached_and_no_further(density: float, rate: float) -> None:
    kept = [_TOTAL, *(t.ticket.mask.kept for t in run_rounds(None, density, rate))]
    assert all(before / _TOTAL > density for before in kept[:-1])
    assert kept[-1] / _TOTAL <= density or round(rate * kept[-1]) == 0


def test_rounds_go_on_with_tickets_that_do_not_win_and_say_so() -> None:
    tries = run_rounds(3, None, 0.2, accuracy=50.0)
    assert [(t.winning, t.accepted) for t in tries] == [(False, True)] * 3
