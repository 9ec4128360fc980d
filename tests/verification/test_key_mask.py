"""White box verification of scheme 1: who holds the key's weights, and how surprising that is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import sparse_ticket
from scipy.stats import binom

from ticket_sig import InputError, Mask, Ticket, verify
from ticket_sig.signatures.scheme1 import Split, split
from ticket_sig.verification.key_mask import log10_p_overlap


def parts(ticket: Ticket) -> Split:
    return split(ticket, 0.1, {name: ticket.weights[name].abs() for name in ticket.mask}, score="omp")


def test_the_unlocked_ticket_is_verified_the_locked_one_is_not() -> None:
    ticket = sparse_ticket()
    made = parts(ticket)
    verdict = verify(ticket, made.claim, made.key)
    assert verdict.verified and verdict.log10_p < -100
    assert verdict.evidence["key_weights_kept"] == verdict.evidence["key_weights"] == len(made.key)
    assert verify(made.locked, made.claim, made.key).log10_p == 0


def test_trained_on_and_pruned_further_it_is_still_verified() -> None:
    ticket = sparse_ticket()
    made = parts(ticket)
    draw = torch.Generator().manual_seed(1)
    thinned = {n: k & (torch.rand(k.shape, generator=draw) < 0.6) for n, k in ticket.mask.items()}
    trained = {name: 3 * w for name, w in ticket.weights.items()}
    suspect = Ticket(weights=Mask(thinned).apply(trained), mask=Mask(thinned))
    assert verify(suspect, made.claim, made.key).verified


def test_innocent_networks_are_not_verified() -> None:
    made = parts(sparse_ticket())
    found = [verify(sparse_ticket(seed=seed), made.claim, made.key) for seed in range(1, 21)]
    assert not any(verdict.verified for verdict in found)
    dense = {name: torch.ones(k.shape) for name, k in sparse_ticket().mask.items()}
    assert not verify(Ticket(weights=dense, mask=Mask.full(dense)), made.claim, made.key).verified


def test_a_forged_key_is_not_the_claim_s() -> None:
    ticket = sparse_ticket()
    made = parts(ticket)
    shifted = {name: p + 1 for name, p in made.key.positions.items()}
    with pytest.raises(InputError, match="key: digest"):
        verify(ticket, made.claim, replace(made.key, positions=shifted))
    with pytest.raises(InputError, match=r"^key: expected the key's file, to verify scheme 1, found none"):
        verify(ticket, made.claim)


def test_a_model_of_other_layers_cannot_be_judged() -> None:
    made = parts(sparse_ticket())
    weights = {"a.weight": torch.ones(4, 4)}
    with pytest.raises(InputError, match=r"a\.weight: expected more than"):
        verify(Ticket(weights=weights, mask=Mask.full(weights)), made.claim, made.key)
    weights = {"other.weight": torch.ones(4, 4)}
    with pytest.raises(InputError, match="model: layer: expected the key's"):
        verify(Ticket(weights=weights, mask=Mask.full(weights)), made.claim, made.key)


@pytest.mark.parametrize(
    ("n", "density", "found"), [(50, 0.1, 20), (50, 0.1, 50), (200, 0.5, 130), (30, 0.9, 28)]
)
def test_the_bound_is_never_less_than_the_truth_and_not_far_above(n: int, density: float, found: int) -> None:
    truth = binom.logsf(found - 1, n, density) / np.log(10)
    bound = log10_p_overlap([(n, density)], found)
    assert truth <= bound + 1e-9 and bound <= truth + 1.5


def test_innocent_p_values_are_no_smaller_than_they_say() -> None:
    """With layers of very different densities, as tickets have them."""
    draw = np.random.default_rng(0)
    layers = [(40, 0.05), (100, 0.3), (10, 0.95)]
    found = sum(draw.binomial(n, density, 20_000) for n, density in layers)
    table = {count: log10_p_overlap(layers, int(count)) for count in np.unique(found)}
    p = np.array([table[count] for count in found])
    for threshold in (-1, -2, -3):
        assert (p <= threshold).mean() <= 10.0**threshold
