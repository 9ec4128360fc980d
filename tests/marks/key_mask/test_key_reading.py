"""The key mask: who holds the key's weights, and how surprising that is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import binom
from support.tickets import sparse, sparse_ticket
from torch import Tensor

from ticket_sig import InputError, Mask, Ticket, load, verify
from ticket_sig.lottery.prune import prune_dense, prune_ticket
from ticket_sig.marks import claim_of
from ticket_sig.marks.key_mask.key import Key
from ticket_sig.marks.key_mask.mark import KeyMark
from ticket_sig.marks.key_mask.parts import locked_digest
from ticket_sig.marks.key_mask.reading import SHARE, kept_as, log10_p_overlap
from ticket_sig.marks.key_mask.split import Split, split
from ticket_sig.verdict import Verdict

CHECKPOINTS = Path(__file__).parents[3] / "checkpoints"


def parts(ticket: Ticket) -> Split:
    return split(ticket, 0.1, {name: ticket.weights[name].abs() for name in ticket.mask}, score="omp")


def verdict_on(suspect: Ticket, locked: Ticket, positions: dict[str, Tensor], **changes: Any) -> Verdict:
    """Of what a liar shows: any key for any locked ticket, with the digests that belong to them."""
    digest = locked_digest(locked)
    weights = {name: torch.ones(len(where)) for name, where in positions.items()}
    key = Key(positions, **{"weights": weights, "secret": bytes(32), "locked": digest, **changes})
    mark = KeyMark(key.commitment, digest, "omp", locked.mask.kept, len(key))
    return verify(suspect, claim_of([mark], {}), key=key, locked=locked)


def test_the_unlocked_ticket_is_verified_the_locked_one_is_not() -> None:
    ticket = sparse_ticket()
    made = parts(ticket)
    verdict = verify(ticket, made.claim, key=made.key, locked=made.locked)
    assert verdict.verified and verdict.log10_p < -100
    assert verdict.reading.found == verdict.reading.key_weights == len(made.key)
    assert "lacking" not in verdict.to_json()
    verdict = verify(made.locked, made.claim, key=made.key, locked=made.locked)
    assert verdict.log10_p == 0 and not verdict.verified
    assert verdict.to_json()["lacking"] == f"{-(-len(made.key) // 2)} weights of the key, kept"


@pytest.mark.parametrize("scope", ["global", "random"])
def test_trained_on_and_pruned_further_it_is_still_verified(scope: str) -> None:
    ticket = sparse_ticket()
    made = parts(ticket)
    thinned = prune_ticket(ticket, 0.4, scope=scope)
    trained = {name: 3 * w for name, w in thinned.weights.items()}
    suspect = Ticket(weights=trained, mask=thinned.mask)
    assert verify(suspect, made.claim, key=made.key, locked=made.locked).verified


@pytest.mark.parametrize("small", [1e-9, -1e-30, 1e-4])
def test_small_numbers_at_pruned_weights_hide_nothing(small: float) -> None:
    ticket = prune_ticket(sparse_ticket(), 0.3)
    made = parts(sparse_ticket())
    draw = torch.Generator().manual_seed(0)
    for noise in (torch.ones_like, lambda w: torch.rand(w.shape, generator=draw) + 0.5):
        weights = {n: torch.where(w == 0, small * noise(w), w) for n, w in ticket.weights.items()}
        suspect = Ticket(weights=weights, mask=Mask.of_zeros(weights))
        assert suspect.mask.density == 1
        verdict = verify(suspect, made.claim, key=made.key, locked=made.locked)
        assert verdict.verified and verdict.reading.found == len(made.key)


def test_innocent_networks_are_not_verified() -> None:
    made = parts(sparse_ticket())
    found = [
        verify(sparse_ticket(seed=seed), made.claim, key=made.key, locked=made.locked)
        for seed in range(1, 21)
    ]
    assert not any(verdict.verified or verdict.log10_p < 0 for verdict in found)
    for weights in (torch.ones, lambda *shape: sparse(*shape, density=1.0, seed=50)):
        dense = {name: weights(*k.shape) for name, k in sparse_ticket().mask.items()}
        verdict = verify(
            Ticket(weights=dense, mask=Mask.full(dense)), made.claim, key=made.key, locked=made.locked
        )
        assert not verdict.verified


@pytest.mark.parametrize("axis", ["tap", "in-channel", "out-channel"])
def test_a_bias_that_all_networks_share_is_no_evidence(axis: str) -> None:
    """Some taps, or channels, of every network are kept more often than others; a liar's key names those."""
    shape = {"tap": (1, 1, 3, 3), "in-channel": (1, 48, 1, 1), "out-channel": (64, 1, 1, 1)}[axis]
    rates = torch.linspace(0, 1, int(np.prod(shape))).view(shape).expand(64, 48, 3, 3) ** 2

    def network(seed: int) -> Ticket:
        draw = torch.Generator().manual_seed(seed)
        values = torch.randn(64, 48, 3, 3, generator=draw)
        weights = {"a.weight": values * (torch.rand(values.shape, generator=draw) < rates)}
        return Ticket(weights=weights, mask=Mask.of_matrices(weights))

    mine = network(0)
    made = split(mine, 0.1, {"a.weight": rates + 0.01 * torch.rand(rates.shape)})
    verdict = verify(network(1), made.claim, key=made.key, locked=made.locked)
    assert verdict.reading.log10_p_by["layer"] < -100
    assert verdict.log10_p == 0 and not verdict.verified
    assert verdict.reading.found > SHARE * len(made.key)


def test_a_significant_but_small_overlap_is_not_verified() -> None:
    """As networks of the same seed have it: beyond chance, and far from a copy."""
    mine, other = sparse_ticket(), sparse_ticket(seed=9)
    made = parts(mine)
    draw = torch.Generator().manual_seed(2)
    weights = {
        name: torch.where(torch.rand(w.shape, generator=draw) < 0.2, mine.weights[name], w)
        for name, w in other.weights.items()
    }
    verdict = verify(
        Ticket(weights=weights, mask=Mask.of_zeros(weights)), made.claim, key=made.key, locked=made.locked
    )
    assert verdict.log10_p < -6 and not verdict.verified
    assert verdict.reading.found < verdict.reading.needed
    assert "weights of the key, kept" in verdict.lacking


def test_the_shipped_ticket_and_networks_that_are_like_it() -> None:
    """The dense network that a ticket was pruned from cannot be told from a copy, which the verdict says."""
    ticket = load(CHECKPOINTS / "resnet20-cifar10").ticket
    dense = load(CHECKPOINTS / "resnet20-cifar10-dense").ticket
    made = split(ticket, 0.05, {name: ticket.weights[name].abs() for name in ticket.mask}, score="omp")
    verdict = verify(
        prune_dense(dense, 1 - ticket.mask.density), made.claim, key=made.key, locked=made.locked
    )
    assert verdict.verified and "pruned from one network" in verdict.does_not_prove
    draw = torch.Generator().manual_seed(0)
    weights = dict(dense.weights)
    for name in ticket.mask:  # another seed's, to a mask: its channels stand in another order
        weights[name] = weights[name][torch.randperm(len(weights[name]), generator=draw)]
    other = prune_dense(replace(dense, weights=weights), 1 - ticket.mask.density)
    verdict = verify(other, made.claim, key=made.key, locked=made.locked)
    assert verdict.log10_p == 0 and not verdict.verified


def test_a_forged_key_is_not_the_claim_s() -> None:
    ticket = sparse_ticket()
    made = parts(ticket)
    shifted = {name: p + 1 for name, p in made.key.positions.items()}
    with pytest.raises(InputError, match="key: digest"):
        verify(ticket, made.claim, key=replace(made.key, positions=shifted), locked=made.locked)
    with pytest.raises(InputError, match=r"^key: expected the key's file, to verify a key mask, found none"):
        verify(ticket, made.claim)
    with pytest.raises(InputError, match=r"^locked ticket: expected the one of the claim, .*--locked DIR"):
        verify(ticket, made.claim, key=made.key)
    with pytest.raises(InputError, match=r"^locked ticket: digest: expected the claim's sha256:"):
        verify(ticket, made.claim, key=made.key, locked=ticket)


def test_a_key_that_names_the_locked_ticket_s_own_weights_is_refused() -> None:
    """Every honest network trained from the locked ticket keeps those."""
    locked = parts(sparse_ticket()).locked
    own = locked.mask["a.weight"].flatten().nonzero().flatten()
    with pytest.raises(
        InputError, match=rf"key: a\.weight: .*outside the locked mask, found {len(own)} with"
    ):
        verdict_on(locked, locked, {"a.weight": own})


@pytest.mark.parametrize(
    ("positions", "says"),
    [
        ({"other.weight": [1]}, r"key: layer: expected one of the locked mask, found other\.weight"),
        ({"b.bias": [1]}, r"key: layer: expected one of the locked mask, found b\.bias"),
        ({"b.weight": [64 * 48]}, r"key: b\.weight: expected positions below 3072, found 3072"),
        ({"b.weight": []}, r"key: b\.weight: expected positions, ascending from 0 on"),
        ({"b.weight": [-1, 3]}, r"key: b\.weight: expected positions, ascending from 0 on"),
        ({"b.weight": [3, 3]}, r"key: b\.weight: expected positions, ascending from 0 on"),
        ({"b.weight": [[3, 4]]}, r"key: b\.weight: expected positions, ascending from 0 on"),
        ({}, r"key: layers: expected positions and weights of each, found none"),
    ],
    ids=["unknown", "a bias", "out of range", "empty", "negative", "twice", "a matrix", "none"],
)
def test_a_liar_s_key_is_one_line(positions: dict[str, list[int]], says: str) -> None:
    locked = parts(sparse_ticket()).locked
    indices = {name: torch.tensor(where, dtype=torch.int64) for name, where in positions.items()}
    with pytest.raises(InputError, match=says):
        verdict_on(locked, locked, indices)


def test_a_key_of_other_types_is_one_line() -> None:
    locked = parts(sparse_ticket()).locked
    free = {"b.weight": (~locked.mask["b.weight"]).flatten().nonzero().flatten()}
    count = len(free["b.weight"])
    for weights, says in (
        (torch.ones(count, dtype=torch.float64), "weights of float32, as the locked ticket's, found float64"),
        (torch.ones(count, dtype=torch.int64), rf"{count} weights, one for each position, found int64"),
        (torch.ones(count + 1), rf"{count} weights, one for each position, found float32 \[{count + 1}\]"),
    ):
        with pytest.raises(InputError, match=rf"key: b\.weight: expected {says}"):
            verdict_on(locked, locked, free, weights={"b.weight": weights})
    with pytest.raises(InputError, match="key: secret: expected 32 bytes, found 31"):
        verdict_on(locked, locked, free, secret=bytes(31))


def test_a_buffer_that_every_network_has_is_no_evidence() -> None:
    """A causal mask of floats holds the same zeros everywhere; a liar says that he pruned so."""
    causal = torch.ones(64, 64).tril()
    weights = {"layer": sparse(64, 64, seed=1), "causal": causal}
    innocent = Ticket(weights=weights, mask=Mask.of_zeros(weights))
    half = causal.bool() & (torch.arange(64) % 2 == 0)
    lie = {"causal": torch.where(half, 1.0, 0.0) * torch.rand(64, 64)}
    locked = Ticket(weights=lie, mask=Mask.of_matrices(lie))
    named = (causal.bool() & ~locked.mask["causal"]).flatten().nonzero().flatten()
    verdict = verdict_on(innocent, locked, {"causal": named})
    assert verdict.reading.found == 0 and not verdict.verified


@pytest.mark.parametrize("axis", [0, 1])
def test_a_table_that_every_network_computes_is_no_evidence(axis: int) -> None:
    """Sinusoids of positions are a buffer of many networks: a liar names the largest, long before."""
    angles = torch.arange(512.0)[:, None] * 10000 ** (-torch.arange(0, 64, 2) / 64)
    table = torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)
    table = (table if axis == 0 else table.T).contiguous()
    weights = {"layer": sparse(64, 64, seed=1), "positions": table}
    locked = Ticket(weights={"positions": 0 * table}, mask=Mask.of_matrices({"positions": 0 * table}))
    named = table.abs().flatten().argsort()[-2000:].sort().values
    verdict = verdict_on(Ticket(weights=weights, mask=Mask.of_zeros(weights)), locked, {"positions": named})
    assert verdict.reading.found == 0 and not verdict.verified


def test_a_rule_in_a_channel_that_nothing_reads_hides_no_other() -> None:
    ticket = sparse_ticket()
    made = parts(ticket)
    layer = ticket.weights["b.weight"].clone()
    layer[:, 0], layer[0] = 1e6 * torch.arange(64.0).sin(), 1e6 * torch.arange(48.0).cos()
    weights = {**ticket.weights, "b.weight": layer}
    suspect = Ticket(weights=weights, mask=Mask.of_zeros(weights))
    assert verify(suspect, made.claim, key=made.key, locked=made.locked).verified
    kept, without = kept_as(layer, 2000)[1:, 1:], kept_as(ticket.weights["b.weight"], 2000)[1:, 1:]
    assert torch.equal(kept, without)


def test_a_key_that_was_named_after_the_mask_was_seen_is_told_in_the_first_line() -> None:
    innocent = sparse_ticket(seed=50)
    empty = {name: torch.zeros_like(innocent.weights[name]) for name in innocent.mask}
    locked = Ticket(weights=empty, mask=Mask.of_matrices(empty))
    named = {name: kept.flatten().nonzero().flatten() for name, kept in innocent.mask.items()}
    found = verdict_on(innocent, locked, named)
    assert found.verified and found.headline == "verified; holds if the claim is older than the suspect"
    assert found.to_json()["condition"] == found.condition and ("condition", found.condition) in found.rows()
    assert verdict_on(sparse_ticket(seed=60), locked, named).headline == "not verified"


def test_tied_weights_count_once() -> None:
    ticket = sparse_ticket()
    weights = {**ticket.weights, "copy.weight": ticket.weights["b.weight"].clone()}
    suspect = Ticket(weights=weights, mask=Mask.of_zeros(weights))
    locked = prune_ticket(suspect, 0.5, scope="random")
    free = {n: (suspect.mask[n] & ~k).flatten().nonzero().flatten() for n, k in locked.mask.items()}
    verdict = verdict_on(suspect, locked, {n: free[n] for n in ("b.weight", "copy.weight")})
    assert verdict.reading.found == len(free["b.weight"])


@pytest.mark.parametrize("name", ["a.weight", "other.weight"])
def test_a_model_of_other_layers_is_not_verified(name: str) -> None:
    made, weights = parts(sparse_ticket()), {name: torch.ones(4, 4)}
    other = Ticket(weights=weights, mask=Mask.full(weights))
    assert not verify(other, made.claim, key=made.key, locked=made.locked).verified


def test_a_layer_is_read_as_its_largest_weights() -> None:
    weights = torch.tensor([[0.0, -3.0], [1e-9, 0.5]])
    assert kept_as(weights, 2).tolist() == [[False, True], [False, True]]
    assert kept_as(weights, 9).tolist() == [[False, True], [True, True]]
    assert not kept_as(torch.zeros(3, 3), 5).any()
    assert not kept_as(torch.tensor([[1.0, -1.0], [1.0, 0.0]]), 9).any()


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
