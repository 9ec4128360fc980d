"""Free attacks undone: layers under any name, storage, channels; the whole of `align`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import pytest
import torch
from recovery.thefts import SHIPPED, check_recovered, shipped, small, stolen
from support.free import NETWORKS, SOME_SLOW
from torch import Tensor, nn

from ticket_sig import InputError, Mask, Ticket
from ticket_sig.attacks import Scene, attack
from ticket_sig.attacks.free import KINDS
from ticket_sig.formats import load
from ticket_sig.models import build, build_for
from ticket_sig.recovery import Reference, align


@pytest.mark.parametrize("network", SOME_SLOW)
@pytest.mark.parametrize("kind", KINDS)
def test_each_free_attack_is_undone(network: str, kind: str) -> None:
    of = small(network)
    found = align(stolen(of, [kind]), of.reference)
    if (network, kind) == (
        "densenet",
        "split-norms",
    ):  # one of its norms without a bias is not told from others
        assert found.ticket.mask == of.ticket.mask
    else:
        check_recovered(found, of)


@pytest.mark.parametrize("network", NETWORKS)
def test_several_free_attacks_are_undone_and_told(network: str) -> None:
    of = small(network)
    found = align(stolen(of, ["permuted", "rescaled", "renamed", "reordered"]), of.reference)
    check_recovered(found, of)
    assert {one.what for one in found.undone} >= {"renamed", "permuted"}


@pytest.mark.parametrize(
    "network, kinds",
    [("densenet", "split-norms+rescaled+flipped-signs"), ("mobilenet", "fused+permuted+flipped-signs")],
)
@pytest.mark.parametrize("seed", range(2))
def test_signs_are_found_behind_norms_that_were_split_or_fused(network: str, kinds: str, seed: int) -> None:
    of = small(network)
    check_recovered(align(stolen(of, kinds.split("+"), seed), of.reference), of)


def wrong_bits(kinds: Sequence[str] = (), seed: int = 0) -> int:
    """How many bits of the mask of the shipped network do not come back."""
    of = shipped()
    found = align(stolen(of, kinds, seed=seed), of.reference)
    assert found.similarity > 0.98 and found.log10_choices > 500
    return sum(int((kept != of.ticket.mask[n]).sum()) for n, kept in found.ticket.mask.items())


@pytest.mark.parametrize("seed", [2, 5, *(pytest.param(n, marks=pytest.mark.slow) for n in (0, 14))])
def test_random_compositions_on_the_shipped_network_are_undone(seed: int) -> None:
    assert wrong_bits(seed=seed) < 10  # a factor's rounding hides some weights


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3, 30))
def test_more_random_compositions(seed: int) -> None:
    assert wrong_bits(seed=seed) < 10


def test_the_norm_of_another_layer_does_not_stand_in_for_one_that_was_fused() -> None:
    before, signed = (load(SHIPPED.with_name(f"resnet20-cifar10{end}")).ticket for end in ("", "-spread"))
    network = build_for("resnet20", signed.weights)
    network.load_state_dict(dict(signed.weights))
    done = attack("free", size=32).carry_out(signed, Scene(model=network.eval(), seed=17))
    assert {"fused", "split-norms"} <= set(done.did)
    assert align(done.ticket, Reference.of(before, "resnet20")).similarity > 0.8


@pytest.mark.parametrize(
    "kinds",
    [
        "cliques",
        "larger-kernels+noisy-split",
        "fused+zero-neurons+split-norms",
        *(pytest.param(alone, marks=pytest.mark.slow) for alone in ("zero-neurons", "noisy-split")),
    ],
)
def test_dead_channels_of_the_network_itself_take_no_place_of_dummies(kinds: str) -> None:
    assert wrong_bits(kinds.split("+")) == 0


@pytest.mark.parametrize(
    "on_top",
    [("magnitude-pruning", {"rate": 0.2}), ("gaussian-noise", {"scale": 0.1})],
    ids=lambda one: one[0],
)
def test_layers_are_found_with_pruning_or_noise_on_top(on_top: tuple[str, dict[str, float]]) -> None:
    of = shipped()
    theft = stolen(of, ["permuted", "renamed", "reordered", "larger-kernels", "fused"])
    name, options = on_top
    found = align(attack(name, **options)(theft, Scene(seed=0)), of.reference)
    assert found.similarity > 0.9
    shared = sum(int((kept & of.ticket.mask[n]).sum()) for n, kept in found.ticket.mask.items())
    assert shared == found.ticket.mask.kept


@pytest.mark.parametrize(
    "seed", [21, pytest.param(0, marks=pytest.mark.slow), pytest.param(33, marks=pytest.mark.slow)]
)
def test_a_wrong_batch_norm_is_given_up_for_the_next_likely_one(seed: int) -> None:
    """Noise makes the norm of another layer look more alike; where it leads nowhere, another one is tried."""
    of = shipped()
    theft = attack("gaussian-noise", scale=0.1)(stolen(of, seed=seed), Scene(seed=seed))
    assert align(theft, of.reference).similarity > 0.6


def flat(weights: Mapping[str, Tensor], kind: str) -> dict[str, Tensor]:
    """Tensors under names that tell nothing, in an order."""
    named = {f"m.part{n}": t for n, t in enumerate(weights.values())}
    orders = {"as it was": list(named), "as texts": sorted(named), "backwards": list(named)[::-1]}
    return {name: named[name] for name in orders[kind]}


@pytest.mark.parametrize("order", ["as it was", "as texts", "backwards"])
@pytest.mark.parametrize("network", ["resnet20", "mobilenet", "perceptron"])
def test_names_that_tell_nothing_are_no_hindrance(network: str, order: str) -> None:
    of = small(network)
    found = align(flat(stolen(of, ["permuted"]).weights, order), of.reference)
    assert found.ticket.mask == of.ticket.mask and found.similarity > 0.99


@pytest.mark.parametrize("network", NETWORKS)
def test_tensors_in_any_order_without_names_are_read_or_refused_in_one_line(network: str) -> None:
    of = small(network)
    for order in ("as it was", "as texts", "backwards"):
        try:
            align(flat(stolen(of, ["reordered"]).weights, order), of.reference)
        except InputError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("value", [0.0, 1e200])
def test_the_order_of_the_reference_s_file_decides_nothing(value: float) -> None:
    # Nobody hashes it. Here all ways to assign are as good, so that an order could be chosen for a secret.
    same = {f"block.{n}.weight": torch.full((4, 4), value, dtype=torch.float64) for n in range(12)}
    torch.manual_seed(0)
    suspect = {f"net.{n}.kernel": torch.randn(4, 4, dtype=torch.float64) for n in range(12)}
    found = []
    for order in (list(same), list(same)[::-1]):
        weights = {name: same[name] for name in order}
        reference = Reference.of(
            Ticket(weights=weights, mask=Mask.of_own({n: t != 0 for n, t in same.items()}))
        )
        found.append(align(suspect, reference).ticket.weights)
    assert all(torch.equal(found[0][name], found[1][name]) for name in same)


def test_nothing_of_the_reference_is_read_as_the_suspect_s() -> None:
    of = small("resnet20")
    made = torch.randint(0, 2, (4, 4, 3, 3), dtype=torch.uint8)
    ticket = replace(of.ticket, weights={**of.ticket.weights, "normalize.made": made})
    reference = replace(of.reference, ticket=ticket)
    with pytest.raises(InputError, match="tensors: expected all of the reference, found none for normalize"):
        align(stolen(of, ["renamed"]), reference)


def test_names_that_were_swapped_are_found_out() -> None:
    of = shipped()
    weights = dict(of.ticket.weights)
    one, other = "layer2.1.conv1.weight", "layer2.2.conv1.weight"
    weights[one], weights[other] = weights[other], weights[one]
    for stage in (1, 3):
        one, other = f"layer{stage}.1", f"layer{stage}.2"
        weights = {_swapped(n, one, other): t for n, t in weights.items()}
    mask = Mask({n: weights[n] != 0 for n in of.ticket.mask})
    found = align(Ticket(weights=weights, mask=mask), of.reference)
    assert found.ticket.mask == of.ticket.mask


def _swapped(name: str, one: str, other: str) -> str:
    for mine, theirs in ((one, other), (other, one)):
        if name.startswith(f"{mine}."):
            return theirs + name.removeprefix(mine)
    return name


def test_nothing_that_is_handed_in_is_changed() -> None:
    of = small("vgg16")
    theft = stolen(of, ["noisy-split", "factored", "rescaled"])
    before = {n: t.clone() for n, t in theft.weights.items()}
    known = {n: t.clone() for n, t in of.reference.ticket.weights.items()}
    align(theft, of.reference)
    assert all(torch.equal(t, before[n]) for n, t in theft.weights.items())
    assert all(torch.equal(t, known[n]) for n, t in of.reference.ticket.weights.items())


def test_a_network_and_tensors_are_taken_as_well() -> None:
    of = small("mobilenet")
    theft = stolen(of, ["permuted"])
    network = of.network()
    network.load_state_dict(theft.weights)
    for suspect in (network, dict(theft.weights)):
        check_recovered(align(suspect, of.reference), of)


def refused(suspect: object, reference: object, without: Collection[str] = ()) -> str:
    with pytest.raises(InputError) as error:
        align(suspect, reference, without=without)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_cannot_be_aligned_is_refused_in_one_line() -> None:
    of = small("resnet20")
    weights = dict(of.ticket.weights)
    name = "layer2.1.conv1.weight"
    broken = {**weights, name: torch.full_like(weights[name], torch.nan)}
    assert name in refused(broken, of.reference) and "finite" in refused(broken, of.reference)
    fewer = {f"net.{n}": t for n, t in weights.items() if not n.startswith("layer3.2")}
    assert "expected 20, as the reference, found 18" in refused(fewer, of.reference)
    many = {f"{n}.weight": torch.ones(2, 2) for n in range(10_000)}
    assert "layers: expected at most" in refused(many, of.reference)
    assert "expected a ticket, a module or tensors by name" in refused([1], of.reference)
    other = Reference.of(build("vgg16", 10))
    assert refused(of.ticket, other)


def test_layers_that_carry_the_mark_are_told_by_their_shapes_or_nothing_is_searched() -> None:
    of = small("vgg16")
    theft = stolen(of, ["permuted", "renamed", "reordered"])
    found = align(theft, of.reference, without=["fc"])
    check_recovered(found, of)
    # With other values in the layer the same is chosen.
    [name] = [n for n, t in theft.weights.items() if t.shape == of.ticket.weights["fc.weight"].shape]
    other = torch.rand(theft.weights[name].shape, dtype=torch.float64) + 0.5
    again = align({**theft.weights, name: other}, of.reference, without=["fc"])
    assert again.similarity == found.similarity and again.log10_choices == found.log10_choices
    for weight in set(of.ticket.weights) - {"fc.weight"}:
        assert torch.equal(again.ticket.weights[weight], found.ticket.weights[weight])
    second = {**theft.weights, "second.weight": other}
    assert "fc.weight: expected one layer of its shape" in refused(second, of.reference, ["fc"])
    message = refused(theft, of.reference, ["features.3"])
    assert "features.3.weight" in message and "a reference without the mark" in message
    assert align(of.ticket, of.reference, without=["features.3"]).similarity > 0.99


def test_a_reference_that_cannot_be_followed_serves_by_names_and_shapes() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(6, 6), nn.Linear(6, 6)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.two(self.one(x)) if float(x.sum()) > 0 else self.one(x)  # type: ignore[no-any-return]

    torch.manual_seed(0)
    network = Odd()
    reference = Reference.of(network)
    assert reference.graph is None
    weights = dict(network.state_dict())
    renamed = {f"x{n}": weights[name] for n, name in enumerate(reversed(weights))}
    found = align(renamed, reference)
    assert all(torch.equal(found.ticket.weights[n], t) for n, t in weights.items())
    assert [str(one) for one in found.undone] == ["4 tensors renamed"] and found.similarity > 0.99
    assert "expected one tensor of its shape" in refused(renamed, reference, ["one"])
    message = refused({n: t for n, t in renamed.items() if n != "x0"}, reference)
    assert ("channels not followed: " in message and "two.bias" in message) or "one.bias" in message


def test_an_innocent_network_is_aligned_and_not_alike() -> None:
    of = small("vgg16")
    torch.manual_seed(9)
    other = {f"net.{n}": t for n, t in NETWORKS["vgg16"]().double().state_dict().items()}
    assert align(other, of.reference).similarity < 0.6


def test_the_recipe_is_the_references() -> None:
    of = shipped()
    assert align(of.ticket.weights, of.reference).ticket.recipe == of.ticket.recipe
