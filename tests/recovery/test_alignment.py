"""Channels that a thief moved, scaled and flipped, brought back by the owner's reference."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from recovery.networks import Concatenating, Depthwise, Functional, Perceptron, answers, disguised, lived
from torch import nn

from ticket_sig import InputError, Mask, Ticket, embed, verify
from ticket_sig.attacks import Scene, attack
from ticket_sig.formats.load import load
from ticket_sig.models import build
from ticket_sig.recovery.alignment import Alignment, aligned
from ticket_sig.recovery.reference import Reference

SHIPPED = Path(__file__).parents[2] / "checkpoints" / "resnet20-cifar10"


@pytest.fixture(scope="module")
def shipped() -> Ticket:
    return load(SHIPPED).ticket


@pytest.fixture(scope="module")
def reference(shipped: Ticket) -> Reference:
    return Reference.of(shipped)


def of(suspect: Ticket, reference: Reference, **options: list[str]) -> Alignment:
    return aligned(suspect.weights, reference, **options)


def kept(found: Alignment, ticket: Ticket) -> Mask:
    """Which weights are not zero, of the tensors of a ticket's mask."""
    return Mask({name: found.weights[name] != 0 for name in ticket.mask})


def check_same(found: Alignment, ticket: Ticket, digits: float) -> None:
    """Every mask bit for bit, every weight up to rounding."""
    assert kept(found, ticket) == ticket.mask
    assert list(found.weights) == list(ticket.weights)
    for name, tensor in ticket.weights.items():
        if tensor.is_floating_point():
            near = digits * float(tensor.abs().max())
            torch.testing.assert_close(found.weights[name], tensor, rtol=digits, atol=near, msg=name)


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make().double()


SMALL = [Concatenating, Depthwise, Functional, Perceptron, lambda: build("resnet20-proj", 5)]
LARGE = [lambda: build("resnet18", 5), lambda: build("vgg16", 5)]


@pytest.mark.parametrize("make", [*SMALL, *(pytest.param(m, marks=pytest.mark.slow) for m in LARGE)])
def test_what_was_moved_scaled_and_flipped_comes_back(make: Callable[[], nn.Module]) -> None:
    network = seeded(make)
    ticket = lived(network)
    suspect = disguised(network, ticket)
    before = answers(network, ticket.weights)
    torch.testing.assert_close(answers(network, suspect.weights), before, rtol=1e-8, atol=1e-8)
    network.load_state_dict(dict(ticket.weights))
    found = of(suspect, Reference.of(network))
    check_same(found, ticket, 1e-9)
    assert found.similarity > 0.999999
    told = {undone.what: undone.count for undone in found.undone}
    assert set(told) == {"permuted", "rescaled", "signs flipped"}
    torch.testing.assert_close(answers(network, found.weights), before, rtol=1e-9, atol=1e-9)


def test_signs_come_back_where_norms_have_hardly_been_trained() -> None:
    """How the signs before and behind a batch norm go together then outweighs what tells each of them."""
    network = seeded(Depthwise)
    ticket = lived(network)
    weights = dict(ticket.weights)
    for prefix in [name.removesuffix("running_var") for name in weights if name.endswith("running_var")]:
        weights[f"{prefix}weight"] = 1 + weights[f"{prefix}weight"] / 100
        weights[f"{prefix}bias"] = weights[f"{prefix}bias"] / 100
    ticket = replace(ticket, weights=weights)
    network.load_state_dict(weights)
    check_same(of(disguised(network, ticket), Reference.of(network)), ticket, 1e-9)


def test_a_real_ticket_comes_back(shipped: Ticket, reference: Reference) -> None:
    found = of(attack("permute-channels", rescale=1000)(shipped, Scene(seed=3)), reference)
    assert kept(found, shipped) == shipped.mask
    assert found.similarity > 0.999
    live = [name for name in shipped.weights if "running" not in name]
    for name in live:
        near = 1e-4 * float(shipped.weights[name].abs().max())
        torch.testing.assert_close(found.weights[name], shipped.weights[name], rtol=1e-5, atol=near)
    # Sets of 16, 16, 16, 16, 32, 16, 32, 32, 64, 32, 64, 64 strands; the signs of those before batch norms;
    # and 64 bits for the scale of each of some 1,100 channels.
    assert 400 < found.log10_choices - 1136 * 64 * math.log10(2) < 800


def test_of_what_stands_in_place_nothing_is_touched(shipped: Ticket, reference: Reference) -> None:
    pruned = attack("magnitude-pruning", rate=0.2)(shipped, Scene())
    for suspect in (shipped, pruned):
        found = of(suspect, reference)
        assert found.undone == ()
        for name, tensor in suspect.weights.items():
            assert torch.equal(found.weights[name], tensor), name


@pytest.mark.parametrize(
    "further", [("magnitude-pruning", {"rate": 0.2}), ("gaussian-noise", {"scale": 0.1})], ids=lambda f: f[0]
)
def test_pruning_and_noise_on_top_do_not_matter(
    shipped: Ticket, reference: Reference, further: tuple[str, dict[str, float]]
) -> None:
    name, options = further
    changed = attack(name, **options)(shipped, Scene())
    found = of(attack("permute-channels", rescale=1000)(changed, Scene(seed=4)), reference)
    assert kept(found, changed) == changed.mask  # each channel where it was
    assert 0.85 < found.similarity < 0.99
    then = attack(name, **options)(attack("permute-channels", rescale=2)(shipped, Scene(seed=4)), Scene())
    assert (kept(of(then, reference), then) & shipped.mask).kept == then.mask.kept


def test_a_mark_is_read_again_with_the_unsigned_reference(shipped: Ticket, reference: Reference) -> None:
    signed = embed(shipped, "owner-id1", mark="spread", secret=bytes(32))
    moved = attack("permute-channels", rescale=1000)(signed.ticket, Scene(seed=5))
    assert not verify(moved, signed.claim, **signed.shown).verified
    pruned = attack("magnitude-pruning", rate=0.2)(moved, Scene())
    for suspect in (moved, pruned):
        found = of(suspect, reference)
        assert found.similarity > 0.75
        mask = kept(found, suspect)
        assert (mask & signed.ticket.mask).kept == suspect.mask.kept  # each channel where it was
        again = replace(suspect, weights=found.weights, mask=mask)
        assert verify(again, signed.claim, **signed.shown).verified


def test_marked_layers_of_a_signed_reference_take_no_part(shipped: Ticket) -> None:
    signed = embed(shipped, "owner-id1", mark="spread", secret=bytes(32)).ticket
    moved = attack("permute-channels", rescale=1000)(signed, Scene(seed=6))
    marked = [name.removesuffix(".weight") for name in signed.mask]
    found = of(moved, Reference.of(signed), without=marked)
    assert kept(found, signed) == signed.mask
    # With other values in them the same order and signs are chosen.
    draw = torch.Generator().manual_seed(0)
    other = {n: torch.randn(mask.shape, generator=draw) * mask for n, mask in moved.mask.items()}
    again = aligned({**moved.weights, **other}, Reference.of(signed), without=marked)
    assert kept(again, signed) == signed.mask and again.undone == found.undone


def test_independent_networks_are_not_alike() -> None:
    mine, other = (build("resnet20", 10, seed=seed).double() for seed in (0, 1))
    reference, suspect = Reference.of(mine), lived(other, density=0.2)
    before = answers(other, suspect.weights)
    found = of(suspect, reference)
    assert 0 < found.similarity < 0.15
    torch.testing.assert_close(answers(other, found.weights), before, rtol=1e-6, atol=1e-6)


def test_channels_that_the_reference_has_not_are_dropped_and_others_are_zero() -> None:
    network = seeded(Perceptron)
    ticket = lived(network)
    wide, draw = dict(ticket.weights), torch.Generator().manual_seed(3)
    rows = torch.randn(4, 192, generator=draw, dtype=torch.float64)
    wide["f1.weight"] = torch.cat([rows, wide["f1.weight"]])
    wide["f1.bias"] = torch.cat([rows[:, 0], wide["f1.bias"]])
    wide["f2.weight"] = torch.cat([torch.zeros(20, 4, dtype=torch.float64), wide["f2.weight"]], 1)
    found = aligned(wide, Reference.of(network))
    check_same(found, ticket, 1e-9)
    assert "4 channels without counterpart" in map(str, found.undone)
    narrow = {**ticket.weights, "f1.weight": ticket.weights["f1.weight"][3:]}
    narrow |= {"f1.bias": ticket.weights["f1.bias"][3:], "f2.weight": ticket.weights["f2.weight"][:, 3:]}
    filled = aligned(narrow, Reference.of(network)).weights["f1.weight"]
    torch.testing.assert_close(filled[3:], ticket.weights["f1.weight"][3:], rtol=1e-9, atol=1e-9)
    assert not filled[:3].any()


def test_bad_suspects_are_refused(shipped: Ticket, reference: Reference) -> None:
    weights, name = shipped.weights, "layer1.0.conv1.weight"
    nan = {**weights, name: weights[name].clone().index_fill_(0, torch.tensor(3), torch.nan)}
    for wrong, said in (
        (nan, rf"suspect: {name}: expected finite numbers, found 144"),
        ({n: t for n, t in weights.items() if n != name}, rf"suspect: {name}: expected, not found"),
        (
            {**weights, name: weights[name][:, :, :1]},
            r"expected shape \[16, 16, 3, 3\], found \[16, 16, 1, 3\]",
        ),
        ({**weights, name: weights[name][:7]}, "suspect: .*channels"),
    ):
        with pytest.raises(InputError, match=said):
            aligned(wrong, reference)


def test_a_reference_that_cannot_be_followed_says_why(shipped: Ticket) -> None:
    for reference in (Reference.of(replace(shipped, recipe=None)), Reference.of(nn.LSTM(3, 4))):
        assert reference.graph is None
        with pytest.raises(
            InputError, match="reference: network: expected one whose channels can be followed"
        ):
            aligned(reference.ticket.weights, reference)


@torch.no_grad()
def test_shifts_that_are_almost_nothing_in_the_reference_do_not_decide() -> None:
    """By their own small spread, those of a suspect would be thousands."""
    network = seeded(
        lambda: nn.Sequential(nn.Conv2d(3, 32, 3, bias=False), nn.BatchNorm2d(32), nn.Conv2d(32, 4, 3))
    )
    norm = network[1]
    assert isinstance(norm, nn.BatchNorm2d)
    norm.running_var.uniform_(0.5, 2.0)
    norm.bias.normal_(std=1e-4)
    reference = Reference.of(network.eval())
    order = torch.randperm(32, generator=torch.Generator().manual_seed(1))
    suspect = {
        name: t[order] if name.startswith(("0", "1")) and t.ndim else t
        for name, t in network.state_dict().items()
    }
    suspect["2.weight"] = suspect["2.weight"][:, order]
    suspect["1.bias"] = torch.randn(32, dtype=torch.float64)
    assert aligned(suspect, reference).similarity > 0.6
