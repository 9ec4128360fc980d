"""A code goes where most of it outlives pruning."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ticket_sig import Ticket, embed, load
from ticket_sig.lottery.prune import prune_ticket
from ticket_sig.marks.qr_code import qr
from ticket_sig.marks.qr_code.mark import CodeMark, CodeOptions
from ticket_sig.marks.qr_code.placement import Worth, best_code, best_placement, most_similar
from ticket_sig.marks.qr_code.survival import RATES, worths

SECRET = b"the secret of the tests"
CHECKPOINTS = Path(__file__).parents[3] / "checkpoints"


@pytest.fixture(scope="module")
def ticket() -> Ticket:
    """The shipped dense parent, pruned once to the density of the shipped ticket."""
    return prune_ticket(load(CHECKPOINTS / "resnet20-cifar10-dense").ticket, 0.87)


def lost(ticket: Ticket, mark: CodeMark, rate: float) -> int:
    """How many modules are wrong once the signed ticket is pruned further."""
    return int(mark.read(prune_ticket(mark.embed(ticket), rate)).wrong.sum())


def test_more_outlives_pruning_than_at_the_most_similar_place(ticket: Ticket) -> None:
    mark = embed(ticket, "signature", version=3, secret=SECRET).mark
    assert isinstance(mark, CodeMark)
    maps = {name: ticket.mask.kernel_map(name).numpy() for name in ticket.mask}
    place, code = most_similar(maps, qr.encode("signature", 3, "H"))
    shape = tuple(ticket.mask[place.layer].shape)
    similar = CodeMark("signature", 3, "H", code.data_mask, place, shape, secret=SECRET)
    for rate in (0.05, 0.1, 0.2, 0.3):
        assert lost(ticket, mark, rate) < lost(ticket, similar, rate) / 2
    assert mark.read(prune_ticket(mark.embed(ticket), 0.1)).message == "signature"


def test_the_same_ticket_gives_the_same_place(ticket: Ticket) -> None:
    made = [CodeMark.make(ticket, CodeOptions(message="again"), SECRET) for _ in range(2)]
    assert made[0] == made[1]


def test_a_module_is_worth_the_rates_that_it_outlives(ticket: Ticket) -> None:
    """A light module stands at a rate as long as its strongest weight is not pruned."""
    name = "layer3.0.conv1.weight"
    light, dark = worths(ticket, [name])[name].rows(slice(None))
    kept = ticket.mask.kernel_map(name).numpy()
    pruned = [prune_ticket(ticket, rate).mask.kernel_map(name).numpy() for rate in RATES]
    stands = np.sum(pruned, axis=0)
    # At a threshold between two weights a quantile is not exact.
    assert (np.abs(light.astype(int) - (stands + 1))[kept] <= 1).all()
    assert (light[kept] == stands[kept] + 1).mean() > 0.99
    assert (dark == len(RATES) + ~kept).all()
    assert (light[~kept] <= len(RATES)).all()


def test_the_best_place_by_worth_is_that_of_a_search_over_every_position() -> None:
    draw, codes = np.random.default_rng(3), qr.encode("abc", 1, "H")
    halves = [draw.integers(0, 12, (30, 40)).astype(np.uint8) for _ in range(2)]
    worth = Worth((30, 40), lambda rows: (halves[0][rows], halves[1][rows]))
    found = {
        (code.data_mask, row, column): int(
            np.where(code.light, *(h[row : row + 21, column : column + 21] for h in halves))[code.data].sum()
        )
        for code in codes
        for row in range(10)
        for column in range(20)
    }
    place, code = best_placement({"only": worth}, codes)
    best = max(found, key=lambda one: found[one])
    assert (code.data_mask, place.row, place.column) == best
    assert best_code(worth, codes, place) == code
