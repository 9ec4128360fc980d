"""Suspects of a thief who has read the code: what keeps an arbiter from an answer, at no cost to him."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from recovery.networks import Concatenating, Depthwise, Perceptron, lived
from torch import Tensor, nn

from ticket_sig import InputError
from ticket_sig.attacks import Scene, attack
from ticket_sig.recovery import Reference, align, candidates, matching, walk

Weights = dict[str, Tensor]


def owned(make: type[nn.Module]) -> tuple[Reference, Weights]:
    """A reference, and the same network with its channels in another order."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = make()
    ticket = lived(network)
    permuted = attack("permute-channels", rescale=3.0)(ticket, Scene(model=network, seed=1))
    return Reference.of(network), dict(permuted.weights)


def one_by(name: str, change: Callable[[Tensor], Tensor]) -> Callable[[Weights], Weights]:
    return lambda weights: {**weights, name: change(weights[name])}


def huge(weights: Weights) -> Weights:
    """In float64, one layer by a factor that no other type holds, and its norm with it."""
    doubles = {n: t.double() if t.is_floating_point() else t for n, t in weights.items()}
    layers = {"conv1.weight": 1e120, "norm2.weight": 1.0}
    return {**doubles, **{n: doubles[n] * k for n, k in layers.items()}}


@pytest.mark.parametrize(
    "change",
    [
        one_by("conv1.weight", lambda t: t != 0),
        one_by("conv1.weight", lambda t: (t * 1000).to(torch.int32)),
        one_by("conv1.weight", lambda t: t.to(torch.float8_e5m2)),
        one_by("conv1.weight", torch.zeros_like),
        one_by("conv1.weight", torch.ones_like),
        one_by("norm2.running_var", lambda t: -t),
        lambda weights: {**weights, "more": torch.ones(3, 3, dtype=torch.complex64)},
        huge,
    ],
    ids=["bool", "int32", "float8", "zeros", "ones", "negative variances", "complex beside it", "1e120"],
)
def test_one_odd_layer_does_not_keep_the_others_from_coming_back(
    change: Callable[[Weights], Weights],
) -> None:
    reference, weights = owned(Concatenating)
    found = align(change(weights), reference)
    back, known = found.ticket.weights, reference.ticket.weights
    for name in ("stem.weight", "down.weight"):
        assert torch.equal(back[name] != 0, known[name] != 0), name


def test_a_layer_of_complex_numbers_is_none() -> None:
    reference, weights = owned(Concatenating)
    with pytest.raises(InputError, match="suspect: layers: expected 5, as the reference, found 4"):
        align({**weights, "conv1.weight": weights["conv1.weight"].to(torch.complex64)}, reference)


@pytest.mark.parametrize("scale", [1e-30, 1e37])
def test_a_channel_that_nothing_reads_may_have_any_scale(scale: float) -> None:
    """So an owner's network has some; a thief makes them as small, or as large, as he likes."""
    reference, weights = owned(Depthwise)
    at = "blocks.0."
    parts = [n for n in weights if n.startswith((f"{at}expand.", f"{at}depthwise.")) and weights[n].ndim]
    for name in parts:
        weights[name] = weights[name].clone()
        weights[name][3] = scale
    weights[f"{at}project.0.weight"] = weights[f"{at}project.0.weight"].clone()
    weights[f"{at}project.0.weight"][:, 3] = 0
    found = align(weights, reference)
    kept = found.ticket.weights["blocks.1.expand.0.weight"] != 0
    assert torch.equal(kept, reference.ticket.weights["blocks.1.expand.0.weight"] != 0)


def test_norms_that_a_thief_made_equal_and_stored_once_get_scales_of_their_own() -> None:
    reference, weights = owned(Depthwise)
    ones = torch.ones(30)
    for block in (0, 1):
        norm, reader = f"blocks.{block}.expand.1", f"blocks.{block}.depthwise.0.weight"
        scale = weights[f"{norm}.weight"]
        weights[f"{norm}.bias"] = weights[f"{norm}.bias"] / scale
        weights[reader] = weights[reader] * scale[:, None, None, None]
        weights[f"{norm}.weight"] = ones
    found = align(weights, reference).ticket.weights
    for name in ("blocks.0.expand.1.weight", "blocks.1.expand.1.weight"):
        torch.testing.assert_close(found[name], reference.ticket.weights[name], rtol=1e-4, atol=1e-4)


def test_names_of_long_numbers_are_in_the_order_of_the_numbers() -> None:
    reference, weights = owned(Perceptron)
    named = {f"x{'9' * 5000}{number}": t for number, t in enumerate(weights.values(), 95)}
    found = align({name: named[name] for name in sorted(named)}, reference)
    assert found.similarity > 0.999


def test_a_layer_of_very_many_channels_is_none() -> None:
    """All pairs of channels are compared: 100,000 take 80 GB."""
    reference, weights = owned(Perceptron)
    wide = {"f1.weight": 100_000, "f1.bias": 100_000}
    for name, width in wide.items():
        weights[name] = torch.zeros(width, *weights[name].shape[1:])
    weights["f2.weight"] = torch.zeros(20, 100_000)
    with pytest.raises(InputError, match=r"suspect: f1.weight: expected a layer of the shape \[24, 192\]"):
        align(weights, reference)


def test_spare_layers_are_not_multiplied_with_each_other_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    products, chain = list[int](), candidates._chain

    def counted(*given: Any) -> Any:
        products.append(1)
        return chain(*given)

    monkeypatch.setattr(candidates, "_chain", counted)
    monkeypatch.setattr(walk, "_MOST_PRODUCTS", 20)
    reference, weights = owned(Perceptron)
    draw = torch.Generator().manual_seed(2)
    noisy = {f"m.{n}": t + torch.randn(t.shape, generator=draw) / 9 for n, t in weights.items()}
    spare = {f"z{n}.weight": torch.randn(24, 24, generator=draw) for n in range(20)}
    align({**noisy, **spare}, reference)
    # Of the first layer under each symmetry, of all layers on other ways, and then on the first one.
    assert len(products) <= 20 * (8 + (matching._WAYS + 2) * 4)


def test_a_reference_whose_layers_are_no_floats_is_refused() -> None:
    reference, _ = owned(Perceptron)
    weights = {**reference.ticket.weights, "f2.weight": torch.ones(20, 24, dtype=torch.int8)}
    network = Perceptron()
    network.f2.weight = nn.Parameter(weights["f2.weight"], requires_grad=False)
    with pytest.raises(InputError, match=r"reference: f2.weight: expected floats, found int8"):
        Reference.of(network)


@pytest.mark.parametrize("size", [1e-45, 1e38])
def test_a_reference_may_have_the_smallest_and_the_largest_numbers(size: float) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Perceptron()
    lived(network)
    network.f2.weight.data.fill_(size)
    found = align({f"m.{n}": t for n, t in owned(Perceptron)[1].items()}, Reference.of(network))
    assert 0 < found.similarity < 1
