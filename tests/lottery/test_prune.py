"""Pruning against a plain reference that sorts every kept weight."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tickets import sparse_ticket
from torch import Tensor

from ticket_sig import InputError, Mask
from ticket_sig.lottery import prune
from ticket_sig.lottery.prune import prune_ticket

_SHAPES = st.one_of(
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
    st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3)),
)


@st.composite
def networks(draw: st.DrawFn) -> tuple[dict[str, Tensor], Mask]:
    """Weights, often with equal magnitudes, and a mask over some of them in an order of its own."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    shapes = draw(st.lists(_SHAPES, min_size=1, max_size=4))
    dtype = draw(st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16]))
    coarse, density = draw(st.booleans()), draw(st.sampled_from([0.0, 0.3, 0.8, 1.0]))
    weights, kept = {}, {}
    for index, shape in enumerate(shapes):
        tensor = torch.randn(shape, generator=generator, dtype=torch.float64)
        weights[f"layer{index}.weight"] = ((tensor * 2).round() if coarse else tensor).to(dtype)
        kept[f"layer{index}.weight"] = torch.rand(shape, generator=generator) < density
    order = draw(st.permutations(sorted(kept)))
    weights["bias"] = torch.full((3,), torch.nan)  # outside the mask: not looked at
    return weights, Mask({name: kept[name] for name in order})


def smallest(weights: dict[str, Tensor], mask: Mask, rate: float) -> dict[str, list[bool]]:
    """What is left of a mask: sorted by magnitude, then by the mask's order, then by index."""
    left = {name: mask[name].flatten().tolist() for name in mask}
    ranked = sorted(
        (abs(float(weights[name].flatten()[index])), layer, index, name)
        for layer, name in enumerate(mask)
        for index, kept in enumerate(left[name])
        if kept
    )
    for _, _, index, name in ranked[: round(rate * len(ranked))]:
        left[name][index] = False
    return left


def flat(mask: Mask) -> dict[str, list[bool]]:
    return {name: kept.flatten().tolist() for name, kept in mask.items()}


_RATES = st.floats(0, 1, exclude_min=True, exclude_max=True)


@given(network=networks(), rate=_RATES)
@settings(deadline=None, max_examples=150)
def test_the_smallest_go_and_of_equals_the_first(
    network: tuple[dict[str, Tensor], Mask], rate: float
) -> None:
    weights, mask = network
    before = {name: t.clone() for name, t in weights.items()}, flat(mask)
    pruned = prune(weights, mask, rate)
    assert list(pruned) == list(mask)
    assert flat(pruned) == smallest(weights, mask, rate)
    assert pruned.kept == mask.kept - round(rate * mask.kept)
    assert flat(mask) == before[1]
    assert all(torch.equal(before[0][name], t) for name, t in weights.items() if name != "bias")


@given(network=networks(), rate=_RATES)
@settings(deadline=None, max_examples=50)
def test_layerwise_takes_the_rate_from_each_layer(
    network: tuple[dict[str, Tensor], Mask], rate: float
) -> None:
    weights, mask = network
    pruned = prune(weights, mask, rate, scope="layerwise")
    for name, kept in mask.items():
        assert flat(pruned)[name] == smallest(weights, Mask({name: kept}), rate)[name]
    assert list(pruned) == list(mask)


@given(network=networks(), rate=_RATES, seed=st.integers(0, 2**31))
@settings(deadline=None, max_examples=50)
def test_random_removes_as_many_whatever_their_magnitude(
    network: tuple[dict[str, Tensor], Mask], rate: float, seed: int
) -> None:
    weights, mask = network
    pruned = prune(weights, mask, rate, scope="random", seed=seed)
    assert pruned.kept == mask.kept - round(rate * mask.kept)
    assert (pruned & mask) == pruned
    others = {name: torch.randn(t.shape) for name, t in weights.items()}
    torch.manual_seed(seed)
    assert prune(others, mask, rate, scope="random", seed=seed) == pruned


def test_random_differs_by_seed_and_by_round_and_spreads_evenly() -> None:
    weights = {"a": torch.randn(50, 40), "b": torch.randn(20, 50)}
    mask = Mask.full(weights)
    drawn = [prune(weights, mask, 0.5, scope="random", seed=seed) for seed in (0, 1)]
    assert drawn[0] != drawn[1]
    for pruned in drawn:
        assert [row.density for row in pruned.table()] == pytest.approx([0.5, 0.5], abs=0.08)
    # A second round of the same seed does not go on where the first one stopped in the same list.
    second = prune(weights, drawn[0], 0.5, scope="random", seed=0)
    first_half = prune(weights, mask, 0.75, scope="random", seed=0)
    assert second.kept == first_half.kept and second != first_half


def test_a_rate_too_small_for_one_weight_changes_nothing() -> None:
    weights = {"a": torch.randn(3, 3)}
    assert prune(weights, Mask.full(weights), 0.05) == Mask.full(weights)


def test_magnitudes_too_close_for_float32_are_told_apart() -> None:
    weights = {"a": torch.tensor([[1 + 2e-12, 1 + 1e-12, 1.0, 2.0]], dtype=torch.float64)}
    assert flat(prune(weights, Mask.full(weights), 0.5)) == {"a": [True, False, False, True]}


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, 1.5, float("nan"), float("inf")])
def test_a_rate_out_of_range_is_refused(rate: float) -> None:
    weights = {"a": torch.ones(2, 2)}
    with pytest.raises(
        InputError, match=f"rate: expected a share between 0 and 1, without both, found {rate}"
    ):
        prune(weights, Mask.full(weights), rate)


def test_an_unknown_scope_is_refused_with_the_known_ones() -> None:
    weights = {"a": torch.ones(2, 2)}
    with pytest.raises(InputError, match="scope: expected one of global, layerwise, random, found 'local'"):
        prune(weights, Mask.full(weights), 0.5, scope="local")


@pytest.mark.parametrize("scope", ["global", "layerwise", "random"])
def test_weights_that_do_not_fit_the_mask_are_all_named(scope: str) -> None:
    mask = Mask.full({"a": torch.ones(2, 2), "b": torch.ones(2, 2), "c": torch.ones(2, 2)})
    with pytest.raises(InputError, match=r"weights: a: expected, not found; b: .*found \[2, 3\]"):
        prune({"b": torch.ones(2, 3), "c": torch.ones(2, 2)}, mask, 0.5, scope=scope)


@pytest.mark.parametrize("scope", ["global", "layerwise", "random"])
@pytest.mark.parametrize("weights", [{}, {"a": torch.ones(0, 3)}])
def test_nothing_to_prune_is_named(scope: str, weights: dict[str, torch.Tensor]) -> None:
    with pytest.raises(InputError, match="mask: weights: expected some to prune, found none"):
        prune(weights, Mask.full(weights), 0.5, scope=scope)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_named_with_their_count(value: float) -> None:
    weights = {"a": torch.ones(2, 2), "b": torch.tensor([[1.0, value], [value, 1.0]])}
    with pytest.raises(InputError, match="weights: b: expected finite numbers, found 2 that are not"):
        prune(weights, Mask.full(weights), 0.5)


@pytest.mark.parametrize("scope", ["global", "layerwise", "random"])
@pytest.mark.parametrize("rewind", [False, True])
def test_a_pruned_ticket_has_its_zeros_and_says_so_in_its_history(scope: str, rewind: bool) -> None:
    ticket = replace(sparse_ticket(rewind=rewind), recipe={"seed": 1})
    pruned = prune_ticket(ticket, 0.1, scope=scope, seed=4)
    assert pruned.mask == prune(ticket.weights, ticket.mask, 0.1, scope=scope, seed=4)
    assert Mask.of_zeros(pruned.weights) == pruned.mask
    assert (pruned.rewind, pruned.recipe) == (ticket.rewind, ticket.recipe)
    entry = pruned.history[-1]
    assert (entry.step, entry.rate, entry.kept, entry.total) == (
        "prune",
        0.1,
        pruned.mask.kept,
        ticket.mask.total,
    )
    assert len(pruned.history) == len(ticket.history) + 1
