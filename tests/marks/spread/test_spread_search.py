"""Layers of a spread code under any names: found by shape, in the order that fits best, and paid for."""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch
from support.tickets import sparse
from torch import Tensor

from ticket_sig import Mask, Ticket, embed, verify
from ticket_sig.errors import NotThere
from ticket_sig.marks import Spread, claim_of
from ticket_sig.marks.carrier import CarrierReading, Layer, Payload
from ticket_sig.marks.embed import Embedded
from ticket_sig.marks.secret import Secret
from ticket_sig.marks.spread import mark, search

SECRET = bytes(range(32))
ORDERS = math.log10(math.factorial(5) * 2)


def layers(seed: int = 0) -> dict[str, Tensor]:
    """Five layers of one shape, two of another, and a bias."""
    alike = {f"a{n}.weight": sparse(32, 32, 3, 3, seed=seed + n) for n in range(5)}
    others = {f"b{n}.weight": sparse(64, 48, seed=seed + 10 + n) for n in range(2)}
    return {**alike, **others, "b.bias": torch.ones(64)}


@cache
def made() -> Embedded:
    weights = layers()
    return embed(Ticket(weights=weights, mask=Mask.of_zeros(weights)), "mine", mark="spread", secret=SECRET)


def renamed(weights: dict[str, Tensor], order: int = 7) -> dict[str, Tensor]:
    """Under names that say nothing, in another order."""
    names = sorted(weights, key=lambda name: hash((order, sum(map(ord, name)) * order % 11)))
    return {f"x{number}": weights[name] for number, name in enumerate(names)}


def read(weights: dict[str, Tensor]) -> CarrierReading:
    found = verify(weights, made().claim, **made().shown).reading
    assert isinstance(found, CarrierReading)
    return found


@pytest.mark.parametrize("order", [1, 5, 7])
def test_the_layers_are_found_and_all_orders_are_paid_for(order: int) -> None:
    signed = dict(made().ticket.weights)
    by_name, found = read(signed), read(renamed(signed, order))
    assert found.sigma == pytest.approx(by_name.sigma, abs=1e-9) and found.message == "mine"
    assert by_name.log10_choices == 0 and found.log10_choices == pytest.approx(ORDERS)
    assert found.log10_p == pytest.approx(by_name.log10_p + ORDERS)
    assert len(found.found_as) == 7 and len(set(found.found_as.values())) == 7
    assert dict(found.rows())["found under another name"].startswith("7 tensors renamed: ")  # type: ignore[attr-defined]
    assert found.to_json()["log10_readings_tried"] == pytest.approx(ORDERS, abs=1e-3)


def test_one_name_that_is_not_found_is_enough() -> None:
    signed = dict(made().ticket.weights)
    found = read({name.replace("a3", "c3"): w for name, w in signed.items()})
    assert found.found_as == {"a3.weight": "c3.weight"} and found.log10_p < -6


def test_other_layers_of_the_shape_are_more_to_choose_from() -> None:
    signed = dict(made().ticket.weights)
    more = {**renamed(signed), "own.weight": sparse(32, 32, 3, 3, seed=99)}
    assert read(more).log10_choices == pytest.approx(math.log10(math.factorial(6) * 2))
    assert read(more).message == "mine"


@pytest.mark.parametrize("seed", range(100, 106))
def test_innocents_are_not_found(seed: int) -> None:
    assert read(renamed(layers(seed))).log10_p == 0


def test_too_few_layers_or_too_many_are_not_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    signed = dict(made().ticket.weights)
    few = {name: w for name, w in renamed(signed).items() if name != "x0"}
    with pytest.raises(NotThere, match=r"model: layers: expected \d of shape \[.*\], found \d"):
        made().mark.read(few)
    monkeypatch.setattr(search, "_MOST_PAIRS", 28)
    with pytest.raises(NotThere, match="layers: expected at most 28 pairs of one shape to compare, found 29"):
        made().mark.read(renamed(signed))
    monkeypatch.undo()
    monkeypatch.setattr(search, "_MOST_WEIGHTS", 1000)
    assert not verify(renamed(signed), made().claim, **made().shown).verified


@pytest.mark.parametrize("name", ["a0.weight", "invented"])
def test_a_claim_on_a_layer_of_any_size_takes_no_memory(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn(*_: object) -> None:
        raise AssertionError("signs for 2^40 weights")

    monkeypatch.setattr(mark, "signs_of", drawn)
    huge = (Layer(name, (2**20, 2**20), 1),)
    claimed = Spread(payload=Payload("mine"), layers=huge, commitment=Secret(SECRET).commitment)
    assert not verify(layers(), claim_of([claimed], {}), secret=SECRET).verified
