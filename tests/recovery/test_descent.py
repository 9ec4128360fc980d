"""Derived networks against independent ones."""

from __future__ import annotations

import json

import pytest
import torch
from recovery.networks import Concatenating, disguised, lived

from ticket_sig import InputError, Ticket
from ticket_sig.attacks import Scene, attack
from ticket_sig.recovery.alignment import aligned
from ticket_sig.recovery.descent import Null, descent
from ticket_sig.recovery.reference import Reference


def independent(seed: int) -> tuple[Concatenating, Ticket]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Concatenating()
    return network, lived(network, seed)


@pytest.fixture(scope="module")
def null() -> Null:
    networks = [independent(seed) for seed in range(8)]
    pairs = zip(networks, networks[1:] + networks[:1], strict=True)
    similarities = (aligned(ticket.weights, Reference.of(net)).similarity for (net, _), (_, ticket) in pairs)
    return Null("concatenating", tuple(similarities))


def test_a_derived_network_stands_out_and_an_independent_one_does_not(null: Null) -> None:
    network, ticket = independent(20)
    reference, scene = Reference.of(network), Scene(model=network)
    pruned = attack("magnitude-pruning", rate=0.3)(ticket, scene)
    derived = disguised(network, attack("gaussian-noise", scale=0.3)(pruned, scene))
    for suspect, from_it in ((derived, True), (independent(21)[1], False)):
        found = descent(aligned(suspect.weights, reference).similarity, null)
        assert (found.z > 10) is from_it and (found.log10_p < -4) is from_it
        assert from_it or abs(found.z) < 4


def test_a_table_is_kept_as_json(null: Null) -> None:
    again = Null.from_json(json.loads(json.dumps(null.to_json())))
    assert again.family == "concatenating" and len(again.similarities) == 8
    assert again.mean == pytest.approx(null.mean, abs=1e-6)
    assert again.deviation == pytest.approx(null.deviation, abs=1e-5)
    assert descent(null.mean, null).log10_p == pytest.approx(-0.30103, abs=1e-4)


@pytest.mark.parametrize(
    "wrong", [{}, {"family": "x", "similarities": [0.1, 0.2]}, {"family": "x", "similarities": ["a"] * 4}]
)
def test_other_tables_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError, match="null"):
        Null.from_json(wrong)
